"""The judge against known truths: by hand where the answer is known, by simulation where only its error rates
are."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablation.judge.claims import CLAIMS, COMPOUND
from ablation.judge.contrasts import half_width
from ablation.judge.expected import tally, with_expected
from ablation.judge.findings import judge, table
from ablation.judge.frame import frame, sample
from ablation.judge.questions import scopes
from ablation.judge.simulate import WORLDS, World, coverage, drawn, measured, study, verdicts_on
from ablation.judge.verdicts import (
    CONTRADICTED,
    EQUIVALENT,
    INCONCLUSIVE,
    MEASURED,
    NO_VERDICT,
    NOT_THE_RULE,
    SUPPORTED,
    Finding,
)
from ablation.runs.answers import packed, unpacked
from ablation.runs.arms import Arm, Planned, expand
from ablation.show.answer import answer
from ablation.show.drawing import style
from ablation.show.forest import forest_figure
from ablation.show.tables import tables
from ablation.theory.baselines import BASELINES, MICRO, MINI
from ablation.theory.cost import cost
from ablation.theory.scaling import DIMENSIONS, RULES, Coefficients, Rule, direction
from tests.test_run_identity import DATA, RECIPE, some_record

Truth = Callable[[Planned], float]
FOUR = ("width", "depth", "resolution", "compound")
NOISE = 0.001  # of a run, as a fraction: a tenth of a point


def arms(
    rules: Sequence[str] = FOUR, phis: Sequence[float] = (0, 1, 2), kind: str = "matched"
) -> list[Arm]:
    return [Arm(rule, kind, RULES[rule], float(phi)) for rule in rules for phi in phis]


def plan(
    arms: Sequence[Arm], seeds: int = 4, setting: str = "", evaluate: bool = True
) -> list[Planned]:
    return expand(MINI, arms, RECIPE, DATA, range(seeds), evaluate, setting=setting)


def measure(
    planned: Sequence[Planned], truth: Truth, noise: float = NOISE, seed: int = 3
) -> pd.DataFrame:
    """The frame of runs whose accuracies are drawn around a truth."""
    rng = np.random.default_rng(seed)
    return frame(
        planned,
        {
            entry.run.id: some_record(entry.run, accuracy=truth(entry) + noise * rng.normal())
            for entry in planned
        },
    )


def concave(entry: Planned) -> float:
    """Every rule gains 5 points at twice the cost and 2 more at four times; compound 1 more than that at
    each."""
    phi = entry.arm.phi or 0
    return (
        0.6
        + 0.05 * min(phi, 1)
        + 0.02 * max(phi - 1, 0)
        + 0.01 * (entry.arm.name == "compound" and phi > 0)
    )


def verdicts(found: Sequence[Finding], claim: str) -> dict[str, str]:
    return {finding.subject: finding.verdict for finding in found if finding.claim == claim}


def one(found: Sequence[Finding], claim: str, subject: str) -> Finding:
    [finding] = [
        finding for finding in found if (finding.claim, finding.subject) == (claim, subject)
    ]
    return finding


QUICK = measure(plan(arms()), concave)


def test_a_truth_like_the_papers_is_supported_and_its_opposite_contradicted() -> None:
    found = judge(QUICK)
    assert (
        set(verdicts(found, "improves").values())
        == set(verdicts(found, "diminishing").values())
        == {SUPPORTED}
    )
    rivals = (*FOUR[:3], "all of them")
    # At twice the cost compound is a block and four pixels, and no width.
    assert verdicts(found, "compound") == {
        f"compound against {rule} at {times}x": verdict
        for times, verdict in ((2, NOT_THE_RULE), (4, SUPPORTED))
        for rule in rivals
    }
    assert "24 degrees off" in one(found, "compound", "compound against width at 2x").note
    against = judge(QUICK.assign(accuracy=1 - QUICK["accuracy"]))
    told = [each for each in against if each.unit != "x" and not math.isnan(each.effect)]
    assert {each.verdict for each in told if " at 2x" not in each.subject} == {CONTRADICTED}


def test_effects_are_differences_of_means_in_points_per_counted_doubling() -> None:
    found, means = judge(QUICK), QUICK.groupby(["rule", "phi"])[["accuracy", "macs"]].mean()
    gain = [
        100
        * (means["accuracy"]["depth", high] - means["accuracy"]["depth", low])
        / math.log2(means["macs"]["depth", high] / means["macs"]["depth", low])
        for low, high in ((0, 1), (1, 2))
    ]
    assert one(found, "diminishing", "depth").effect == pytest.approx(gain[0] - gain[1])
    lead = 100 * (means["accuracy"]["compound", 2] - means["accuracy"]["width", 2])
    assert one(found, "compound", "compound against width at 4x").effect == pytest.approx(lead)
    least = min(
        one(found, "compound", f"compound against {rule} at 4x").effect for rule in FOUR[:3]
    )
    assert one(found, "compound", "compound against all of them at 4x").effect == pytest.approx(
        least
    )


def test_equal_rules_are_equivalent_and_few_noisy_seeds_say_how_many_would_settle_it() -> None:
    def flat(entry: Planned) -> float:
        return 0.6

    def ahead(noise: float, margin: float = 0.5) -> list[Finding]:
        found = judge(measure(plan(arms()), flat, noise), margin)
        return [each for each in found if each.claim == "compound" and "at 4x" in each.subject]

    assert {finding.verdict for finding in ahead(NOISE)} == {EQUIVALENT}
    noisy = ahead(0.02)
    assert {finding.verdict for finding in noisy} == {INCONCLUSIVE}
    assert all(4 < finding.fewest <= finding.seeds <= finding.most for finding in noisy)
    assert all("equivalence within 0.5 is out of reach" in each.note for each in noisy[:-1])
    assert {finding.verdict for finding in ahead(0.02, margin=20)} == {EQUIVALENT}


def test_a_shared_run_counts_once_even_where_some_arms_ask_for_fewer_seeds() -> None:
    fewer = QUICK[(QUICK["rule"] == "width") | (QUICK["phi"] > 0) | (QUICK["seed"] < 2)]
    for rows in (QUICK, fewer):
        [scope] = scopes(rows)
        assert len(scope.sample.values) == rows["run_id"].nunique() == 36
        assert [*scope.sample.runs[scope.sample.runs > 0]] == [4] * 9
        assert len({arm.place for arm in scope.arms if arm.phi == 0}) == 1


def test_equal_values_at_the_ceiling_are_judged_alike_alone_and_together() -> None:
    """All rivals and compound at 100 % in every seed: what each pair is, all of them are."""
    rows = QUICK.copy()
    rows.loc[rows["phi"] == 2, "accuracy"] = 1.0
    found = verdicts(judge(rows), "compound")
    at_four = {name: verdict for name, verdict in found.items() if "at 4x" in name}
    assert len(at_four) == 4 and set(at_four.values()) == {EQUIVALENT}


def test_one_seed_gives_no_interval_and_no_verdict_and_says_so() -> None:
    judged = judge(measure(plan(arms(), seeds=1), concave))
    found = [each for each in judged if each.unit != "x" and not math.isnan(each.effect)]
    assert found
    for finding in found:
        assert finding.verdict == (NOT_THE_RULE if "at 2x" in finding.subject else NO_VERDICT)
        assert "one seed: no interval" in finding.note
        assert math.isnan(finding.low) and math.isfinite(finding.effect)


def test_diverged_runs_count_and_missing_ones_are_named() -> None:
    rows = QUICK.copy()
    rows.loc[
        (rows["rule"] == "depth") & (rows["phi"] == 2) & (rows["seed"] == 0), ["accuracy", "status"]
    ] = [0.1, "diverged"]
    rows.loc[
        (rows["rule"] == "width") & (rows["phi"] == 2) & (rows["seed"] < 2), ["accuracy", "status"]
    ] = [np.nan, "missing"]
    found = judge(rows)
    depth, width = one(found, "improves", "depth"), one(found, "improves", "width")
    assert depth.effect < 0 and "1 run diverged" in depth.note and depth.verdict == INCONCLUSIVE
    assert width.n == 2 and "2 runs missing" in width.note
    assert "1 run diverged; 2 runs missing" in one(found, "improves", "every dimension").note


def test_a_network_with_one_run_is_judged_by_the_variance_of_the_others() -> None:
    rows = measure(plan(arms()), concave, noise=0.08)
    rows.loc[
        (rows["rule"] == "width") & (rows["phi"] == 2) & (rows["seed"] > 0), ["accuracy", "status"]
    ] = [np.nan, "missing"]
    width = one(judge(rows), "improves", "width")
    assert (width.n, width.verdict) == (1, INCONCLUSIVE)
    assert width.error > one(judge(rows), "improves", "depth").error and 1 < width.seeds < math.inf


def test_a_network_without_runs_has_no_verdict_and_an_empty_frame_no_finding() -> None:
    rows = QUICK.copy()
    rows.loc[(rows["rule"] == "width") & (rows["phi"] == 2), ["accuracy", "status"]] = [
        np.nan,
        "missing",
    ]
    width = one(judge(rows), "improves", "width")
    assert (width.verdict, width.n, width.note) == (
        NO_VERDICT,
        0,
        "w=2.08: no run; w=1: 59.9 %; 4 runs missing",
    )
    assert judge(frame(plan(arms()), {})) == []


def test_networks_of_unequal_cost_are_not_compared() -> None:
    found = judge(measure(plan(arms(kind="nominal")), concave))
    unequal = one(found, "compound", "compound against depth")
    assert (
        unequal.verdict == NO_VERDICT
        and "no other network of equal cost" in unequal.note
        and "cost=matched" in unequal.note
    )
    assert math.isnan(unequal.effect)


def lines(truth: Callable[[float, float], float], widths: Sequence[float]) -> pd.DataFrame:
    """Width under four depths and resolutions, where d = r = 1 has these widths and the others go to 2;
    truth: of the network's MACs over the baseline's, and how much deeper or larger it is."""
    more = [
        Coefficients(d, w, r) for d, r in ((1, 1.25), (2, 1), (2, 1.25)) for w in (1, 2**0.5, 2)
    ]
    rows = [*(Coefficients(1, w, 1) for w in widths), *more]
    planned = plan([Arm("coefficients", "nominal", coefficients=row) for row in rows])
    base = cost(planned[0].run.network).macs

    def accuracy(entry: Planned) -> float:
        own = entry.arm.coefficients
        return truth(cost(entry.run.network).macs / base, own.depth * own.resolution)

    return measure(planned, accuracy)


def test_balance_compares_lines_at_equal_cost() -> None:
    """Every line gains alike with cost, and 0.3, 2 and -1 points lie between them: what each starts from says
    nothing of that."""

    def parallel(times: float, more: float) -> float:
        return 0.5 + 0.02 * math.log2(times) + {1: 0, 1.25: 0.003, 2: 0.02, 2.5: -0.01}[more]

    found = judge(lines(parallel, (1, 2**0.5, 2, 3, 4.25)))
    balance = [finding for finding in found if finding.claim == "balance"]
    assert [each.effect for each in balance] == pytest.approx([0.3, 2, -1], abs=0.15)
    assert {each.subject: each.verdict for each in balance} == {
        "width at d=1, r=1.25 against d=1, r=1": SUPPORTED,
        "width at d=2, r=1 against d=1, r=1": SUPPORTED,
        "width at d=2, r=1.25 against d=1, r=1": CONTRADICTED,
    }
    assert "within the margin" in balance[0].note


def test_what_a_straight_line_between_networks_favours_is_bounded() -> None:
    """One concave curve for all lines: the truth is 0, and the effect is what the chord leaves below the
    curve, less than the bound that the finding names."""

    def curve(times: float, more: float) -> float:
        return 0.8 - 0.3 / times

    found = judge(measure_exactly(lines(curve, (1, 2, 3, 4.25)), curve))
    for finding in (each for each in found if each.claim == "balance"):
        [bound] = re.findall(r"at most ([\d.]+) higher", finding.note)
        assert 0 < finding.effect <= float(bound) + 0.005


def measure_exactly(rows: pd.DataFrame, truth: Callable[[float, float], float]) -> pd.DataFrame:
    """The same with next to no noise."""
    times = rows["macs"] / rows["macs"].min()
    return rows.assign(accuracy=times.map(lambda each: truth(each, 1)) + 1e-6 * rows["seed"])


def test_lines_that_do_not_overlap_in_cost_are_not_compared() -> None:
    found = judge(lines(lambda times, more: 0.5, (1, 1.2)))
    balance = [finding for finding in found if finding.claim == "balance"]
    assert len(balance) == 3
    for finding in balance:
        assert finding.verdict == NO_VERDICT and "do not overlap in cost" in finding.note


def test_explicit_coefficients_of_one_dimension_are_judged_like_a_rule() -> None:
    """As in study=figure3, and the published comparison of Table 7 beside the matched one."""
    named = [
        Arm(name, "nominal", coefficients=Coefficients(**{name: value}))
        for name in ("depth", "width")
        for value in (1, 2, 3)
    ]
    found = judge(
        measure(
            plan(named),
            lambda entry: (
                0.5 + 0.05 * math.log2(entry.arm.coefficients.depth * entry.arm.coefficients.width)
            ),
        )
    )
    assert verdicts(found, "improves") == {
        "width": SUPPORTED,
        "depth": SUPPORTED,
        "every dimension": SUPPORTED,
    }
    published = [
        Arm(name, "nominal", coefficients=Coefficients(*triple))
        for name, triple in (("depth", (4, 1, 1)), ("baseline", (1, 1, 1)))
    ]
    both = judge(
        measure(
            plan([*published, *arms(("depth", "width"), (2,))]),
            lambda entry: 0.6 + 0.1 * (entry.arm.label != "baseline"),
        )
    )
    improved = {
        (finding.cost, finding.subject): finding.verdict
        for finding in both
        if finding.claim == "improves"
    }
    assert improved == {("nominal", "depth"): SUPPORTED} | {
        ("matched", name): SUPPORTED for name in ("width", "depth", "every dimension")
    }


def test_the_fitted_triple_is_judged_beyond_the_phi_that_it_was_fitted_at() -> None:
    fitted = [
        Arm("fitted", "matched", Rule("fitted", 1.5, 1.05, 1.1), phi) for phi in (0.0, 1.0, 2.0)
    ]
    found = judge(measure(plan([*arms(("width", "compound")), *fitted]), concave))
    assert list(verdicts(found, "transfer")) == [
        f"fitted against {name} at 4x" for name in ("width", "compound", "all of them")
    ]
    assert verdicts(found, "transfer")["fitted against compound at 4x"] == CONTRADICTED


def test_several_baselines_must_all_agree() -> None:
    other = measure(
        plan(arms()),
        lambda entry: concave(entry) - 0.03 * (entry.arm.name == "compound" and entry.arm.phi == 2),
    )
    other = other.assign(baseline="other", run_id="other " + other["run_id"])
    found = judge(pd.concat([QUICK, other]))
    assert verdicts(found, "baselines") == {
        "improves: mini, other": SUPPORTED,
        "compound: mini, other": CONTRADICTED,
        "improves: width": EQUIVALENT,
        "improves: depth": EQUIVALENT,
        "improves: resolution": EQUIVALENT,
        **{f"compound against {rule} at 4x": CONTRADICTED for rule in FOUR[:3]},
        **{f"compound against {rule} at 2x": NOT_THE_RULE for rule in FOUR[:3]},
    }
    differs = one(found, "baselines", "compound against width at 4x")
    assert differs.baseline == "other against mini"
    assert differs.effect == pytest.approx(-3, abs=0.3)
    worst = one(found, "baselines", "compound: mini, other")
    assert (worst.baseline, worst.note.split(";")[0]) == (
        "all",
        f"least: other, {worst.note.split(', ')[1].split(';')[0]}",
    )


def test_a_setting_that_changes_an_effect_is_told() -> None:
    def later(entry: Planned) -> float:
        return concave(entry) + 0.03 * (entry.arm.name == "compound" and entry.arm.phi > 0)

    second = measure(plan(arms()), later, seed=4)
    second["run_id"] = "2 epochs " + second["run_id"]
    found = judge(pd.concat([QUICK.assign(setting="8 epochs"), second.assign(setting="2 epochs")]))
    changes = {finding.subject: finding for finding in found if finding.claim == "settings"}
    assert changes["compound against width at 4x"].verdict == CONTRADICTED
    assert changes["compound against width at 4x"].effect == pytest.approx(3, abs=0.3)
    width = changes["improves: width"]
    assert (width.verdict, width.setting) == (EQUIVALENT, "2 epochs against 8 epochs")
    assert (
        width.note.startswith("supported at 2 epochs: +7")
        and "supported at 8 epochs: +7" in width.note
    )


def test_the_noise_of_a_run_that_two_settings_share_does_not_enter_their_difference() -> None:
    """Resolution on native and on enlarged pixels: the baseline is one network, and here its seeds are 5
    points apart."""
    native = QUICK[QUICK["rule"] == "resolution"].assign(setting="native")
    base = native["phi"] == 0
    native.loc[base, "accuracy"] += 0.05 * native.loc[base, "seed"]
    enlarged = native.assign(
        setting="enlarged", run_id=native["run_id"].where(base, "enlarged " + native["run_id"])
    )
    enlarged.loc[~base, "accuracy"] -= 0.02 + 0.001 * enlarged.loc[~base, "seed"]
    found = judge(pd.concat([native, enlarged]))
    change = one(found, "settings", "improves: resolution")
    assert one(found[:1], "improves", "resolution").error > 2
    assert change.error < 0.2 and change.effect == pytest.approx(-2.15)


def test_costs_are_exact_ratios_without_an_interval() -> None:
    planned = plan(arms())
    found = judge(measure(planned, concave))
    activations = {
        entry.arm.name: cost(entry.run.network).activations
        for entry in planned
        if entry.arm.phi == 2
    }
    finding = one(found, "costs", "activations at 4x")
    assert finding.effect == pytest.approx(max(activations.values()) / min(activations.values()))
    assert finding.verdict == MEASURED and math.isnan(finding.low)
    assert "counted, so no interval" in finding.note
    assert not any("time" in finding.subject for finding in found)
    seconds = QUICK["macs"] * np.where(QUICK["rule"] == "depth", 2.0, 1.0)
    timed = one(
        judge(QUICK.assign(step_seconds=seconds, step_device="a GPU")),
        "costs",
        "time of a training step at 4x",
    )
    assert timed.effect > 1.9 and "a median on a GPU, so no interval" in timed.note


# ---------------------------------------------------------------- what is asked of several networks


def at_costs(lead: Mapping[float, float], rules: Sequence[str] = FOUR) -> pd.DataFrame:
    """Rules at 1, 4 and 8 times the cost, where all gain 2 points a doubling and compound `lead` more."""

    def accuracy(entry: Planned) -> float:
        phi = entry.arm.phi or 0
        return 0.5 + 0.02 * phi + lead.get(phi, 0.0) * (entry.arm.name == rules[-1])

    return measure(plan(arms(rules, (0, 2, 3))), accuracy)


def test_a_gain_that_holds_up_is_told_from_a_lead_that_stays() -> None:
    growing = judge(at_costs({2: 0.01, 3: 0.03}))
    subject = "compound's gain against all of theirs, 4x to 8x"
    gains = {
        name.removeprefix("compound's gain against "): verdict
        for name, verdict in verdicts(growing, "sustained").items()
    }
    assert gains == {
        **{f"{rule}'s, 4x to 8x": SUPPORTED for rule in FOUR[:3]},
        "all of theirs, 4x to 8x": SUPPORTED,
    }
    assert one(growing, "sustained", subject).effect == pytest.approx(2, abs=0.3)
    level = judge(at_costs({2: 0.03, 3: 0.03}))
    assert one(level, "compound", "compound against all of them at 8x").verdict == SUPPORTED
    assert one(level, "sustained", subject).verdict == EQUIVALENT
    [none] = [finding for finding in judge(QUICK) if finding.claim == "sustained"]
    assert none.verdict == NO_VERDICT and "two costs with every rule in its direction" in none.note


def test_diminishing_must_hold_in_points_and_in_log_error() -> None:
    """Errors that halve with every doubling fall less and less in points, and as fast as ever in their
    logarithm."""
    halving = measure(plan(arms()), lambda entry: 1 - 0.4 * 0.5 ** (entry.arm.phi or 0))
    width = one(judge(halving), "diminishing", "width")
    assert width.verdict == INCONCLUSIVE and width.effect == pytest.approx(10, abs=1)
    assert "in log error" in width.note and "by itself inconclusive" in width.note
    assert one(judge(QUICK), "diminishing", "width").verdict == SUPPORTED


def test_all_doublings_count_towards_diminishing() -> None:
    """A parabola in doublings has gains that fall by the same at every step: here by 1 point a doubling, over
    two doublings from the middle of the first to that of the last."""

    def parabola(entry: Planned) -> float:
        doublings = math.log2(cost(entry.run.network).macs / cost(MINI.network).macs)
        return 0.5 + 0.04 * doublings - 0.005 * doublings**2

    planned = plan(arms(("width",), (0, 1, 2, 3)))
    width = one(judge(measure(planned, parabola, noise=1e-5)), "diminishing", "width")
    assert width.effect == pytest.approx(2, abs=0.05)


def test_a_rival_that_wins_does_not_silence_the_others() -> None:
    """Width is ahead of compound at the largest cost; depth and resolution are tested on, to the smaller
    ones."""

    def accuracy(entry: Planned) -> float:
        phi = entry.arm.phi or 0
        own = {"compound": 0.02, "width": 0.04}.get(entry.arm.name, 0.0)
        return 0.5 + own * (phi > 0) - 0.03 * (entry.arm.name == "width" and phi == 2)

    found = verdicts(judge(measure(plan(arms(FOUR, (0, 2, 3))), accuracy)), "compound")
    assert found["compound against width at 8x"] == CONTRADICTED
    assert found["compound against width at 4x"] == SUPPORTED
    assert found["compound against depth at 8x"] == SUPPORTED
    assert found["compound against all of them at 8x"] == CONTRADICTED
    assert found["compound against all of them at 4x"] == SUPPORTED


def test_fresh_seeds_are_judged_by_themselves() -> None:
    """The seeds that suggested it put compound two points ahead, fresh ones see nothing of it."""
    planned = plan(arms(FOUR, (0, 2)), seeds=8)
    rows = measure(
        planned,
        lambda entry: (
            0.6
            + 0.02 * (entry.arm.name == "compound" and entry.arm.phi == 2 and entry.run.seed < 4)
        ),
    )
    found = judge(rows.assign(confirms=rows["seed"] >= 4))
    width = one(found, "compound", "compound against width at 4x")
    assert (width.verdict, width.n) == (SUPPORTED, 4)
    assert width.confirmed.startswith("equivalent: ") and width.confirmed.endswith("n = 4")
    alone = one(judge(rows[rows["seed"] < 4]), "compound", "compound against width at 4x")
    assert replace(width, confirmed="") == alone
    assert {finding.confirmed for finding in judge(rows)} == {""}
    assert "with fresh seeds" in tables(found) and "with fresh seeds" not in tables(judge(rows))


def test_what_resolution_gains_is_taken_apart_into_compute_and_pixels() -> None:
    native = measure(plan(arms(("resolution",))), lambda entry: 0.6 + 0.03 * entry.arm.phi)
    base = native["phi"] == 0
    enlarged = native.assign(
        setting="enlarged",
        run_id=native["run_id"].where(base, "enlarged " + native["run_id"]),
        accuracy=native["accuracy"] - 0.01 * native["phi"],
        detail=np.where(base, math.nan, 32),
    )
    found = judge(pd.concat([native, enlarged]))
    parts = {each.subject: round(each.effect) for each in found if each.claim == "pixels"}
    assert parts == {
        "by compute at 2x": 2,
        "by pixels at 2x": 1,
        "by compute at 4x": 4,
        "by pixels at 4x": 2,
    }
    assert verdicts(found, "pixels")["by pixels at 4x"] == SUPPORTED
    assert not verdicts(found, "settings")


def test_a_recipe_is_held_against_every_other() -> None:
    parts = [
        measure(
            plan([Arm("compound", "nominal", RULES["compound"], 0.0)], setting=name), at, seed=k
        )
        for k, (name, at) in enumerate(
            [
                ("as it is", lambda entry: 0.7),
                ("slow", lambda entry: 0.65),
                ("fast", lambda entry: 0.72),
            ]
        )
    ]
    rows = pd.concat([part.assign(run_id=part["setting"] + part["run_id"]) for part in parts])
    assert verdicts(judge(rows), "recipe") == {
        "as it is against slow": SUPPORTED,
        "as it is against fast": CONTRADICTED,
        "as it is against all of them": CONTRADICTED,
    }


def test_pairs_and_the_predicted_optimum_are_held_against_the_rest() -> None:
    found = judge(at_costs({2: 0.01, 3: 0.03}, ("dw", "dWr", "compound")))
    assert verdicts(found, "pairs")["compound against all of them at 8x"] == SUPPORTED
    around = [Arm("optimum", "matched", Rule("optimum", 1.7, 1.05, 1.04), 2.0), *arms(phis=(2,))]
    best = judge(measure(plan(around), lambda entry: 0.6 + 0.02 * (entry.arm.name == "optimum")))
    assert verdicts(best, "optimum")["optimum against all of them at 4x"] == SUPPORTED


# ---------------------------------------------------------------- images


def answered(rows: pd.DataFrame, images: str = "the same", m: int = 600) -> pd.DataFrame:
    """The frame with answers to images, of which each is as hard for one network as for another."""
    rng = np.random.default_rng(5)
    chances = rng.beta(2, 1, m)
    answers, accuracies = {}, {}
    for run in rows["run_id"].unique():
        right = rng.random(m) < chances
        answers[run] = packed(right, images)
        accuracies[run] = right.mean()
    accuracy = rows["run_id"].map(accuracies)
    return rows.assign(answers=rows["run_id"].map(answers), accuracy=accuracy)


def test_the_variance_over_images_is_that_of_the_table_of_seeds_and_images() -> None:
    """By hand, from mean squares: seeds, images, and what is left."""
    rows = answered(QUICK)
    [scope] = scopes(rows)
    weights = np.eye(scope.sample.count)[0] - np.eye(scope.sample.count)[1]
    places = rows["run_id"].map(dict(zip(rows["run_id"], sample(rows)[1], strict=True)))
    cells = []
    for place in (0, 1):
        runs = rows[places == place].drop_duplicates("run_id").sort_values("seed")
        cells.append(np.stack([100.0 * unpacked(each) for each in runs["answers"]]))
    cell = cells[0] - cells[1]  # seeds x images
    n, m = cell.shape
    over_images = cell.mean(0).var(ddof=1) / m
    left = cell - cell.mean(0) - cell.mean(1, keepdims=True) + cell.mean()
    both = np.square(left).sum() / (n - 1) / (m - 1) / n / m
    estimate = scope.sample.contrast(weights)
    seeds = float(estimate.seeds[0]) ** 2
    assert estimate.effect == pytest.approx(cell.mean())
    expected = max(seeds + over_images - both, seeds, over_images)
    assert float(estimate.error) ** 2 == pytest.approx(expected)


def test_answers_to_other_images_or_none_leave_the_seeds_alone() -> None:
    rows = answered(QUICK)
    [width] = [each for each in judge(rows) if each.subject == "compound against width at 4x"]
    assert width.over == "seeds and images"
    assert width.low <= width.seeds_low < width.seeds_high <= width.high
    compound = rows["rule"] == "compound"
    others = rows.assign(
        answers=rows["answers"].where(~compound, answered(QUICK, "others")["answers"])
    )
    without = rows.assign(answers=rows["answers"].where(~compound, None))
    for frame_of in (others, without):
        found = judge(frame_of)
        width = one(found, "compound", "compound against width at 4x")
        assert (width.over, width.low) == ("seeds", width.seeds_low)
        assert one(found, "improves", "width").over == "seeds and images"
    assert "over seeds alone" in tables(judge(rows)) and "over seeds alone" not in tables(
        judge(QUICK)
    )


def test_one_image_tells_nothing_of_others() -> None:
    found = judge(answered(QUICK, m=1))
    assert {finding.over for finding in found} <= {"", "seeds"}


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("world", [WORLDS[-3], WORLDS[-1]], ids=lambda world: world.name)
def test_intervals_over_seeds_and_images_cover_the_truth(world: World, seeds: int) -> None:
    """95 % within 2.5, of 8 to 18 contrasts that share the studies; over seeds alone they miss it."""
    [scope] = scopes(study(seeds, world))
    truth = np.random.default_rng(seeds).normal(0, 2, scope.sample.count)
    batch = drawn(scope, world, truth, np.random.default_rng(seeds), replicates=150)
    covered = coverage(batch, truth)
    for kind in ("differences", "second differences"):
        assert 0.925 <= np.mean(covered[kind]) <= 0.985, kind
    if world.excess == 0.04 and seeds == 10:
        weights = [question.weights for question in COMPOUND.ask(scope).questions]
        estimates = [batch.sample.contrast(each) for each in weights]
        held = [
            np.mean(np.abs(one.effect - each @ truth) <= half_width(*one.seeds))
            for one, each in zip(estimates, weights, strict=True)
        ]
        assert np.mean(held) < 0.9


# ---------------------------------------------------------------- simulation


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("world", WORLDS[:3], ids=lambda world: world.name)
def test_intervals_cover_the_truth_and_null_effects_get_no_verdict(
    world: World, seeds: int
) -> None:
    """95 % within 2, and false verdicts on a claim in 5 % of studies, on a page of four claims in less than
    the sum of theirs. In the long run (make check-statistics) a claim's are 5.8 % at worst, and 6.6 % where
    deviations are 2 to 1; what is allowed here is three standard errors more."""
    covered, judged = measured(world, seeds, np.random.default_rng(seeds), replicates=1500)
    for kind in ("means", "differences", "second differences"):
        assert covered[kind] == pytest.approx(0.95, abs=0.02), kind
    claims = [value for name, value in judged.items() if name.startswith("false ")]
    rate = 0.058 if world.spread == 1 else 0.066
    assert len(claims) == 5 and max(claims) <= rate + 3 * math.sqrt(rate / 1500)
    assert max(claims) <= judged["false, page"] <= sum(claims)
    assert judged["power"] > {3: 0.15, 5: 0.5, 10: 0.9}[seeds]


def test_the_simulated_judge_is_the_judge() -> None:
    """Verdicts on a batch are those that `judge` gives to each of its frames."""
    empty = study(3)
    [scope] = scopes(empty)
    truth = np.random.default_rng(0).normal(60, 2, scope.sample.count)
    batch = drawn(scope, WORLDS[0], truth, np.random.default_rng(1), replicates=8)
    for values, expected in zip(
        batch.sample.values, verdicts_on(COMPOUND, batch, margin=0.5), strict=True
    ):
        accuracy = dict(zip(empty.drop_duplicates("run_id")["run_id"], values / 100, strict=True))
        found = judge(empty.assign(accuracy=empty["run_id"].map(accuracy)))
        assert list(verdicts(found, "compound").values()) == list(expected)


def test_the_negative_control_finds_nothing_beyond_chance() -> None:
    """One network under four names with seeds of their own, as in study=negative-control, in 4000 studies."""
    names = ("compound", "again", "once more", "and again")
    planned = []
    for place, name in enumerate(names):
        own = [Arm(name, "matched", Rule(name, 1.2, 1.1, 1.15), phi) for phi in (0.0, 1.0)]
        planned += expand(MINI, own, RECIPE, DATA, range(3 * place, 3 * place + 3))
    rows = measure(planned, lambda entry: 0.6, noise=0.02)
    found = [finding for finding in judge(rows) if finding.claim != "costs"]
    assert [finding.subject for finding in found] == [
        f"compound against {name} at 2x" for name in names[1:]
    ]
    assert all("no seeds in common" in finding.note for finding in found)
    [scope] = scopes(rows)
    batch = drawn(scope, WORLDS[0], np.zeros(scope.sample.count), np.random.default_rng(0))
    [control] = [claim for claim in CLAIMS if claim.key == "control"]
    told = verdicts_on(control, batch, margin=0.5)
    assert set(np.unique(told)) <= {CONTRADICTED, EQUIVALENT, INCONCLUSIVE}
    assert np.mean((told == CONTRADICTED).any(-1)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(told))


# ---------------------------------------------------------------- what a reader sees


def test_the_table_has_a_row_and_the_text_a_line_for_every_finding() -> None:
    found = judge(QUICK)
    rows, text = table(found), tables(found)
    assert list(rows["subject"]) == [finding.subject for finding in found]
    assert all(f"| {finding.subject} " in text and finding.statement in text for finding in found)
    assert list(table([]).columns) == list(rows.columns)
    assert "baseline" not in text.splitlines()[2] and "setting" in tables(
        judge(pd.concat([QUICK, QUICK.assign(setting="x")]))
    )


def test_the_forest_plot_shows_every_finding_in_points() -> None:
    rows = table(judge(QUICK))
    with style():
        figure = forest_figure(rows)
    shown = [
        float(line.get_xdata()[0])
        for ax in figure.axes
        for line in ax.lines
        if len(line.get_xdata()) == 1
    ]
    assert sorted(shown) == sorted(rows.loc[rows["unit"] != "x", "effect"].dropna())
    labels = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert labels == list(rows.loc[(rows["unit"] != "x") & rows["effect"].notna(), "subject"])
    with pytest.raises(ValueError, match="nothing to draw"):
        forest_figure(rows[rows["unit"] == "x"])


def test_a_network_that_twice_the_epochs_help_is_still_learning_and_its_findings_say_so() -> None:
    """Depth gains three points by training on; nothing else does, nor what differs in more than epochs."""
    chosen = arms(["width", "depth"], phis=[0, 1])
    recipes = {"short": RECIPE.epochs, "long": 2 * RECIPE.epochs, "other": 2 * RECIPE.epochs}
    planned = []
    for setting, epochs in recipes.items():
        rate = RECIPE.learning_rate * (2 if setting == "other" else 1)
        recipe = replace(RECIPE, epochs=epochs, learning_rate=rate)
        planned += expand(MINI, chosen, recipe, DATA, range(5), setting=setting)

    def truth(entry: Planned) -> float:
        late = entry.setting != "short" and entry.arm.name == "depth" and entry.arm.phi
        return concave(entry) + (0.03 if late else 0)

    found = judge(measure(planned, truth))
    longer = [finding for finding in found if finding.claim == "learning"]
    assert [(each.setting, each.subject.split(":")[0]) for each in longer] == [
        ("short", "baseline"),
        ("short", "width phi=1"),
        ("short", "depth phi=1"),
    ]
    assert [each.verdict for each in longer] == [EQUIVALENT, EQUIVALENT, CONTRADICTED]
    assert longer[-1].effect == pytest.approx(3, abs=0.3)
    said = {
        (each.setting, each.subject): "still learning: depth phi=1" in each.note
        for each in found
        if each.claim == "improves"
    }
    assert said[("short", "depth")] and not said[("short", "width")]
    assert not any(noted for (setting, _), noted in said.items() if setting != "short")


def test_what_a_study_expects_is_held_against_what_was_found() -> None:
    """Width gains, depth loses, resolution does nothing, and the file expected something else of depth and
    resolution."""

    def truth(entry: Planned) -> float:
        gains = {"width": 0.03, "depth": -0.03}
        return 0.6 + (gains.get(entry.arm.name, 0.0) if entry.arm.phi else 0.0)

    found = judge(measure(plan(arms(FOUR[:3], phis=[0, 2])), truth))
    expectations = [
        {"claim": "improves", "subject": "resolution", "sign": 0},
        {"claim": "improves", "subject": "depth", "sign": 0},
        {"claim": "improves", "sign": 1},
    ]
    held = with_expected(found, expectations)
    said = {finding.subject: finding.expected for finding in held if finding.claim == "improves"}
    assert said == {
        "width": "more: found",
        "depth": "none: told",
        "resolution": "none: none told",
        "every dimension": "more: the other way",
    }
    assert not any(finding.expected for finding in held if finding.claim != "improves")
    assert tally(held) == (
        "of 1 effects expected beforehand 1 found, 0 told the other way; of 2 where none was expected 1 told"
    )
    assert tally(found) == "" and "expected" not in tables(found)
    assert "more: found" in tables(held)


def several(bonus: float = 0.03) -> pd.DataFrame:
    """Three baselines in which each dimension gains so much in every doubling of counted MACs that is its
    share; beyond twice the cost compound adds a bonus to that."""
    gains = {"mini": (0.01, 0.01, 0.05), "midi": (0.01, 0.01, 0.03), "micro": (0.02, 0.02, 0.02)}
    planned = [
        entry for name in gains for entry in expand(BASELINES[name], arms(), RECIPE, DATA, range(4))
    ]

    def law(entry: Planned) -> float:
        row = entry.row()
        growth = direction(Coefficients(*(row[name] for name in DIMENSIONS)))
        doublings = math.log2(row["macs"] / cost(BASELINES[entry.baseline].network).macs)
        own = sum(map(operator.mul, growth, gains[entry.baseline])) / (sum(growth) or 1)
        beyond = entry.arm.name == "compound" and (entry.arm.phi or 0) > 1
        return 0.4 + doublings * own + bonus * beyond

    on_validation = measure(planned, law, seed=4)["accuracy"]
    return measure(planned, law).assign(val_accuracy=on_validation)


def test_gains_at_baselines_foretell_who_wins_where_that_is_the_truth() -> None:
    found = judge(several())
    told = {
        (each.baseline, each.subject): each.verdict for each in found if each.claim == "foretold"
    }
    for baseline, winner in (("mini", "resolution"), ("micro", "compound")):
        assert told[baseline, f"{winner} against all of them at 4x"] == SUPPORTED
    slope = one(found, "foretold", "leads found against leads foretold at 4x")
    assert slope.verdict == SUPPORTED and slope.effect == pytest.approx(1, abs=0.15)
    assert slope.unit == "points per point"
    said = answer(found, "foretold")
    assert said.startswith(
        "of 3 baselines the rule that gains foretell wins in 2 and does not in 1"
    )
    assert "a point of lead foretold is 1.0" in said
    otherwise = [each for each in judge(several(bonus=0.2)) if each.baseline == "mini"]
    wins = one(otherwise, "foretold", "resolution against compound at 4x")
    assert wins.verdict == CONTRADICTED


def test_what_gains_foretell_is_asked_of_several_baselines_on_validation_images_alone() -> None:
    rows = several()
    assert "foretold" not in {each.claim for each in judge(rows[rows["baseline"] == "mini"])}
    shuffled = rows.assign(val_accuracy=0.5)
    told = {each.subject for each in judge(shuffled) if each.claim == "foretold"}
    assert any("compound against all of them" in subject for subject in told)
    assert not any(subject.startswith("resolution") for subject in told)


def seen_from(more: Mapping[int, float], rules: Sequence[str] = FOUR) -> pd.DataFrame:
    """A baseline from several sides, where compound leads every dimension by so much."""
    planned = [
        entry
        for side in more
        for entry in expand(MICRO.at(side), arms(rules), RECIPE, DATA, range(4))
    ]

    def law(entry: Planned) -> float:
        side = entry.origin.network.pixels
        doublings = math.log2(cost(entry.run.network).macs / cost(MICRO.network).macs)
        return (
            0.4
            + 0.05 * doublings
            + more[side] * (entry.arm.name == "compound" and (entry.arm.phi or 0) > 0)
        )

    return measure(planned, law)


def test_a_lead_that_grows_with_the_baselines_side_is_told_at_each_cost() -> None:
    found = judge(seen_from({16: -0.02, 20: 0.0, 28: 0.03}))
    told = {each.subject: each for each in found if each.claim == "lead"}
    assert set(told) == {
        f"compound's lead over {rule} from 28 px instead of 16 px at {times}x"
        for rule in FOUR[:3]
        for times in (2, 4)
    }
    assert {each.verdict for each in told.values()} == {SUPPORTED}
    assert [each.effect for each in told.values()] == pytest.approx([5] * 6, abs=0.6)
    assert {each.baseline for each in told.values()} == {"micro at 28 px against micro at 16 px"}
    falling = judge(seen_from({16: 0.03, 28: -0.02}, rules=("depth", "compound")))
    assert set(verdicts(falling, "lead").values()) == {CONTRADICTED}
    assert not verdicts(judge(seen_from({16: 0.03})), "lead")


def test_other_networks_of_unknown_stages_are_not_one_baseline_from_several_sides() -> None:
    """A function's stages are not known: what tells its networks apart is how many parameters they have."""
    unknown = {"depths": "", "widths": ""}
    assert not verdicts(judge(several().assign(**unknown)), "lead")
    assert verdicts(judge(seen_from({16: -0.02, 28: 0.03}).assign(**unknown)), "lead")
