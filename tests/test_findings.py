"""The judge against known truths: by hand where the answer is known, by simulation where only its error rates
are."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from ablation.judge.claims import CLAIMS, COMPOUND, scopes
from ablation.judge.findings import (
    CONTRADICTED,
    EQUIVALENT,
    INCONCLUSIVE,
    NO_VERDICT,
    SUPPORTED,
    Finding,
    judge,
    table,
)
from ablation.judge.frame import frame
from ablation.judge.simulate import WORLDS, World, drawn, measured, study, verdicts_on
from ablation.runs.arms import Arm, Planned, expand
from ablation.show.drawing import style
from ablation.show.forest import forest_figure
from ablation.show.tables import tables
from ablation.theory.baselines import MINI
from ablation.theory.cost import cost
from ablation.theory.scaling import RULES, Coefficients, Rule
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
    pairs = [f"compound against {rule} at {times}x" for times in (2, 4) for rule in FOUR[:3]]
    assert list(verdicts(found, "compound")) == [*pairs, "compound against all of them at 4x"]
    assert set(verdicts(found, "compound").values()) == {SUPPORTED}
    against = judge(QUICK.assign(accuracy=1 - QUICK["accuracy"]))
    assert {finding.verdict for finding in against if finding.unit != "x"} == {CONTRADICTED}


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

    assert set(verdicts(judge(measure(plan(arms()), flat)), "compound").values()) == {EQUIVALENT}
    noisy = [
        finding
        for finding in judge(measure(plan(arms()), flat, noise=0.02))
        if finding.claim == "compound"
    ]
    assert {finding.verdict for finding in noisy} == {INCONCLUSIVE}
    assert all(finding.seeds > 4 for finding in noisy)
    assert {
        finding.verdict
        for finding in judge(measure(plan(arms()), flat, noise=0.02), margin=20)
        if finding.claim == "compound"
    } == {EQUIVALENT}


def test_a_shared_run_counts_once_even_where_some_arms_ask_for_fewer_seeds() -> None:
    fewer = QUICK[(QUICK["rule"] == "width") | (QUICK["phi"] > 0) | (QUICK["seed"] < 2)]
    for rows in (QUICK, fewer):
        [scope] = scopes(rows)
        assert len(scope.sample.values) == rows["run_id"].nunique() == 36
        assert [*scope.sample.runs[scope.sample.runs > 0]] == [4] * 9
        assert len({arm.place for arm in scope.arms if arm.phi == 0}) == 1


def test_one_seed_gives_no_interval_and_no_verdict_and_says_so() -> None:
    found = [
        finding for finding in judge(measure(plan(arms(), seeds=1), concave)) if finding.unit != "x"
    ]
    assert found
    for finding in found:
        assert finding.verdict == NO_VERDICT
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


def balance(width_pays: Callable[[float, float], float]) -> pd.DataFrame:
    """Width 1 to 2 under four depths and resolutions."""
    rows = [
        Coefficients(d, w, r)
        for d, r in ((1, 1), (1, 1.25), (2, 1), (2, 1.25))
        for w in (1, 2**0.5, 2)
    ]
    planned = plan([Arm("coefficients", "nominal", coefficients=row) for row in rows])
    return measure(
        planned,
        lambda entry: (
            0.5
            + math.log2(entry.arm.coefficients.width)
            * width_pays(entry.arm.coefficients.depth, entry.arm.coefficients.resolution)
        ),
    )


def test_balance_is_a_difference_of_width_gains() -> None:
    found = judge(
        balance(lambda depth, resolution: 0.02 + 0.03 * (depth == 2) - 0.02 * (resolution > 1))
    )
    effects = {
        finding.subject: (round(finding.effect), finding.verdict)
        for finding in found
        if finding.claim == "balance"
    }
    assert effects == {
        "width at d=1, r=1.25 against d=1, r=1": (-2, CONTRADICTED),
        "width at d=2, r=1 against d=1, r=1": (3, SUPPORTED),
        "width at d=2, r=1.25 against d=1, r=1": (1, SUPPORTED),
    }


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
    }
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
    assert (
        finding.verdict == CONTRADICTED
        and math.isnan(finding.low)
        and "counted, so no interval" in finding.note
    )
    assert one(found, "costs", "training FLOPs of an image at 4x").verdict == SUPPORTED
    assert not any("time" in finding.subject for finding in found)
    seconds = QUICK["macs"] * np.where(QUICK["rule"] == "depth", 2.0, 1.0)
    timed = one(
        judge(QUICK.assign(step_seconds=seconds, step_device="a GPU")),
        "costs",
        "time of a training step at 4x",
    )
    assert (
        timed.verdict == CONTRADICTED
        and timed.effect > 1.9
        and "a median on a GPU, so no interval" in timed.note
    )


# ---------------------------------------------------------------- simulation


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("world", WORLDS[:3], ids=lambda world: world.name)
def test_intervals_cover_the_truth_and_null_effects_get_no_verdict(
    world: World, seeds: int
) -> None:
    """95 % within 2, and false verdicts in 5 % of studies. In the long run (16,000 studies each) these are
    5.4 % at worst, and 5.8 % where deviations are 2 to 1; what is allowed here is three standard errors
    more."""
    covered, judged = measured(world, seeds, np.random.default_rng(seeds), replicates=1500)
    for kind in ("means", "differences", "second differences"):
        assert covered[kind] == pytest.approx(0.95, abs=0.02), kind
    rate = 0.054 if world.spread == 1 else 0.058
    assert max(
        value for name, value in judged.items() if "power" not in name
    ) <= rate + 3 * math.sqrt(rate / 1500)
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
    assert sorted(shown) == sorted(rows.loc[rows["unit"] != "x", "effect"])
    labels = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert labels == list(rows.loc[rows["unit"] != "x", "subject"])
    with pytest.raises(ValueError, match="nothing to draw"):
        forest_figure(rows[rows["unit"] == "x"])
