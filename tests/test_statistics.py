"""Intervals against a simulated truth, and frames and figures from records."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablation.judge.contrasts import Sample, holm, in_sequence, least
from ablation.judge.frame import frame, summary
from ablation.judge.paper import FIGURE_8
from ablation.judge.power import detectable, power, seeds_needed
from ablation.judge.star import PowerLaws
from ablation.judge.surface import below_best, ranking, surface
from ablation.runs.arms import Arm, Planned, expand
from ablation.show.comparisons import COMPARISONS, all_curves, gain_table
from ablation.show.drawing import GREY, PALETTE, Drawing, look, style
from ablation.show.searches import SEARCHES
from ablation.theory.baselines import MINI
from ablation.theory.scaling import RULES, SINGLE, Coefficients, direction, triples
from tests.test_run_identity import DATA, RECIPE, some_record


def sample(values: np.ndarray) -> Sample:
    """Complete runs (networks, seeds)."""
    networks, seeds = np.indices(values.shape).reshape(2, -1)
    return Sample(values.ravel(), networks, seeds, len(values))


def pair(count: int, one: int = 0, other: int = 1) -> np.ndarray:
    return np.eye(count)[one] - np.eye(count)[other]


FOUR = np.array([0.50, 0.53, 0.58, 0.51])
OTHERS = np.array([0.47, 0.52, 0.54, 0.50])


def test_the_mean_of_one_network_has_students_interval() -> None:
    expected = stats.t.interval(0.95, 3, loc=FOUR.mean(), scale=stats.sem(FOUR))
    assert sample(FOUR[None]).mean(0).bounds() == pytest.approx(expected)


def test_two_networks_with_the_same_seeds_are_a_paired_t_test() -> None:
    ours, expected = (
        sample(np.array([FOUR, OTHERS])).contrast(pair(2)),
        stats.ttest_rel(FOUR, OTHERS),
    )
    assert (ours.paired, float(ours.freedom)) == (True, 3)
    assert (float(ours.different), *ours.bounds()) == pytest.approx(
        (expected.pvalue, *expected.confidence_interval())
    )


def test_two_networks_with_other_seeds_are_an_unpaired_t_test() -> None:
    runs = Sample(np.concatenate([FOUR, OTHERS]), np.repeat([0, 1], 4), np.arange(8), 2)
    ours, expected = runs.contrast(pair(2)), stats.ttest_ind(FOUR, OTHERS)
    assert (ours.paired, float(ours.freedom)) == (False, 6)
    assert (float(ours.different), *ours.bounds()) == pytest.approx(
        (expected.pvalue, *expected.confidence_interval())
    )


def test_unequal_variances_make_it_welchs_test() -> None:
    loud = 20 * (OTHERS - OTHERS.mean()) + 0.5
    ours, expected = (
        sample(np.array([FOUR, loud])).contrast(pair(2)),
        stats.ttest_ind(FOUR, loud, equal_var=False),
    )
    assert sample(np.array([FOUR, loud])).equality == pytest.approx(
        stats.bartlett(FOUR, loud).pvalue
    )
    assert (float(ours.different), float(ours.freedom)) == pytest.approx(
        (expected.pvalue, expected.df)
    )


def test_the_residual_of_a_complete_study_is_the_two_way_anovas() -> None:
    """Residual variance of networks x seeds with (networks - 1)(seeds - 1) degrees of freedom; what a seed
    shifts alike does not enter it."""
    values = np.random.default_rng(0).normal(0, 1, (5, 4))
    shifted = values + np.array([0.0, 30.0, -20.0, 5.0])
    residual = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    for table in (values, shifted):
        ours = sample(table).contrast(pair(5, 2, 4))
        assert float(ours.freedom) == 12
        assert float(ours.error) == pytest.approx(math.sqrt((residual**2).sum() / 12 * 2 / 4))
        assert float(ours.effect) == pytest.approx(values[2].mean() - values[4].mean())


def test_a_missing_run_is_not_a_shifted_mean() -> None:
    """Networks differ by exactly 1, seeds by 10: the seeds' shifts are taken out of what is left, plain means
    would not be."""
    values = (
        np.arange(3.0)[:, None]
        + 10 * np.arange(4.0)
        + 0.01 * np.random.default_rng(0).normal(size=(3, 4))
    )
    networks, seeds = np.indices(values.shape).reshape(2, -1)
    kept = np.arange(12) != 3
    ours = Sample(values.ravel()[kept], networks[kept], seeds[kept], 3).contrast(pair(3, 1, 0))
    assert float(ours.effect) == pytest.approx(1, abs=0.03)
    assert (ours.n, float(ours.freedom)) == (3, 5)


def test_a_second_difference_through_a_shared_network_has_its_own_variance() -> None:
    """(c - b) - (b - a) weighs the shared network twice: variance 1 + 4 + 1 of one run's. Variances are
    equal: every network has the same accuracies in another order."""
    rng = np.random.default_rng(2)
    runs = sample(np.array([rng.permutation(5) for _ in range(6)], float))
    one, second = runs.contrast(pair(6)), runs.contrast(np.array([1.0, -2.0, 1.0, 0, 0, 0]))
    assert not runs.unequal
    assert float(second.error / one.error) == pytest.approx(math.sqrt(6 / 2))


def test_no_variance_gives_no_interval() -> None:
    one_seed, alike = sample(FOUR[:, None]), sample(np.array([[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]]))
    for runs in (one_seed, alike):
        ours = runs.contrast(pair(runs.count))
        assert np.isnan([ours.error, ours.freedom, *ours.bounds()]).all()
        assert not np.isnan(ours.effect)
    nowhere = Sample(FOUR, np.zeros(4, int), np.arange(4), 2).contrast(pair(2))
    assert (nowhere.n, np.isnan(nowhere.effect)) == (0, True)


def test_a_network_that_shows_no_variance_of_its_own_is_judged_by_the_pooled_one() -> None:
    """Variances differ; one network has one run, another equal accuracies in all."""
    values, networks = (
        np.concatenate([FOUR, 20 * OTHERS, [0.5, 0.5, 0.5, 0.5], [0.5]]),
        np.repeat([0, 1, 2, 3], [4, 4, 4, 1]),
    )
    runs = Sample(values, networks, np.array([0, 1, 2, 3] * 3 + [0]), 4)
    assert runs.unequal
    pooled = math.sqrt((FOUR.var() + (20 * OTHERS).var()) * 4 / 9)
    assert float(runs.mean(2).error) == pytest.approx(pooled / 2)
    assert float(runs.mean(3).error) == pytest.approx(pooled)
    assert float(runs.mean(0).error) == pytest.approx(stats.sem(FOUR))


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([[0.5, 0.01, np.nan]]))[0] == pytest.approx(
        [1.0, 0.03, np.nan], nan_ok=True
    )


def test_equivalence_is_a_90_percent_interval_inside_the_margin() -> None:
    ours = sample(np.array([FOUR, OTHERS])).contrast(pair(2))
    edge = float(np.abs(ours.bounds(0.90)).max())
    assert float(ours.equivalent(edge)) == pytest.approx(0.05)


def test_least_covers_the_smallest_effect_and_no_further() -> None:
    estimates = [sample(np.array([FOUR, OTHERS - gap])).contrast(pair(2)) for gap in (0.0, 0.1)]
    effect, low, high = least(estimates)
    assert (float(effect), float(low)) == (
        float(estimates[0].effect),
        float(estimates[0].bounds()[0]),
    )
    assert float(high) == pytest.approx(float(estimates[0].bounds(0.975)[1]))


@pytest.mark.parametrize("freedom", [2, 16])
def test_power_is_what_simulation_finds(freedom: int) -> None:
    rng = np.random.default_rng(0)
    effect = detectable(1.0, freedom)
    error = np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
    found = (effect + rng.normal(size=40_000)) / error > stats.t.ppf(0.975, freedom)
    assert found.mean() == pytest.approx(0.80, abs=0.01)
    assert float(power(effect, 1.0, freedom)) == pytest.approx(0.80)


def test_seeds_needed_settle() -> None:
    """With that many seeds the effect is found with a power of 80 %, with one fewer it is not; a null effect
    is settled by the margin."""
    deviation, networks = 1.0, 4
    k = int(seeds_needed(0.8, deviation * math.sqrt(2 / 3), 3 * 2, 3, margin=0.0))
    reach = [
        detectable(deviation * math.sqrt(2 / seeds), (networks - 1) * (seeds - 1))
        for seeds in (k - 1, k)
    ]
    assert reach[0] > 0.8 >= reach[1]
    assert 3 < seeds_needed(0.0, 0.5, 6, 3, margin=1.0) < 20
    assert math.isinf(seeds_needed(0.01, 1.0, 6, 3, margin=0.02))


def curves(
    truth: dict[tuple[str, float], float], deviation: float = 0.0, seeds: int = 3
) -> tuple[list[Planned], pd.DataFrame]:
    """Plan and frame of rules at phi with known mean accuracies."""
    rng = np.random.default_rng(1)
    planned = expand(
        MINI,
        [Arm(rule, "matched", RULES[rule], phi) for rule, phi in truth],
        RECIPE,
        DATA,
        range(seeds),
    )
    records = {
        entry.run.id: some_record(
            entry.run,
            accuracy=truth[entry.arm.name, entry.arm.phi] + deviation * rng.normal(),
            seed=entry.run.seed,
        )
        for entry in planned
    }
    return planned, frame(planned, records)


TRUTH = {
    (rule, phi): 0.5 + gain * phi**0.5
    for rule, gain in zip(PALETTE, (0.08, 0.05, 0.06, 0.10), strict=False)
    for phi in (0.0, 1.0, 2.0)
}


def test_the_summary_holds_means_and_intervals() -> None:
    _, table = curves(TRUTH, deviation=0.01)
    means = summary(table)
    assert list(means["n"]) == [3] * 12
    assert (means["low"] < means["mean"]).all()
    bounds = means.loc[means["phi"] == 0, ["low", "high"]]
    assert len(bounds.drop_duplicates()) == 1  # one network, whichever rule asks for it
    assert means["mean"].to_numpy() == pytest.approx(list(TRUTH.values()), abs=0.02)


def test_gain_per_doubling_is_the_paired_difference_over_counted_doublings() -> None:
    _, table = curves(TRUTH)
    gains = gain_table(table, all_curves(summary(table))).set_index(["rule", "to_phi"])
    one = table.set_index(["rule", "phi"])["macs"].groupby(level=[0, 1]).first()
    expected = (TRUTH["width", 2.0] - TRUTH["width", 1.0]) / math.log2(
        one["width", 2.0] / one["width", 1.0]
    )
    assert gains.loc[("width", 2.0), "mean"] == pytest.approx(expected)
    assert (gains.loc["depth"].loc[2.0, "mean"]) < gains.loc["depth"].loc[1.0, "mean"]


def test_missing_and_diverged_runs_are_counted_and_not_hidden() -> None:
    planned, _ = curves(TRUTH)
    records = {entry.run.id: some_record(entry.run, accuracy=0.5) for entry in planned[:-2]}
    last = planned[-3].run
    records[last.id] = some_record(last, status="diverged", accuracy=0.05)
    means = summary(frame(planned, records))
    assert means["missing"].sum() == 2
    assert means["diverged"].sum() == 1
    assert means.iloc[-1]["n"] == 1


def parts(name: str) -> pd.DataFrame:
    """The four rules under two settings, told apart by a gap in accuracy."""
    arms = [Arm(rule, "matched", RULES[rule], phi) for rule, phi in TRUTH if rule in SINGLE]
    planned = [
        entry
        for epochs in (2, 3)
        for entry in expand(
            MINI,
            arms,
            dataclasses.replace(RECIPE, epochs=epochs),
            DATA,
            range(2),
            setting=f"{epochs} epochs",
        )
    ]
    truth = {
        entry.run.id: TRUTH[entry.arm.name, entry.arm.phi] + entry.run.recipe.epochs / 10
        for entry in planned
    }
    return frame(
        planned,
        {
            entry.run.id: some_record(
                entry.run, accuracy=truth[entry.run.id] + (entry.run.seed - 0.5) / 1000
            )
            for entry in planned
        },
    )


def test_runs_of_different_content_under_one_name_are_refused() -> None:
    """Else two recipes would count as seeds of one network."""
    arms = [Arm("width", "matched", RULES["width"], 1.0)]
    longer = dataclasses.replace(RECIPE, epochs=RECIPE.epochs + 1)
    both = expand(MINI, arms, RECIPE, DATA, range(2)) + expand(MINI, arms, longer, DATA, range(2))
    with pytest.raises(ValueError, match="width phi=1 seed=0: 2 different runs have this one name"):
        frame(both, {})


def test_runs_of_different_settings_are_never_averaged() -> None:
    means = summary(parts("settings")).set_index(["setting", "rule", "phi"])["mean"]
    for (rule, phi), value in TRUTH.items():
        if rule in SINGLE:
            assert means["2 epochs", rule, phi] == pytest.approx(value + 0.2)
            assert means["3 epochs", rule, phi] == pytest.approx(value + 0.3)


def balance() -> pd.DataFrame:
    rows = [
        Coefficients(d, w, r)
        for d, r in ((1, 1), (1, 1.3), (2, 1), (2, 1.3))
        for w in (1, 2**0.5, 2)
    ]
    planned = expand(
        MINI,
        [Arm("coefficients", "nominal", coefficients=row) for row in rows],
        RECIPE,
        DATA,
        range(2),
    )
    return frame(
        planned,
        {e.run.id: some_record(e.run, accuracy=0.4 + 0.05 * i / 12) for i, e in enumerate(planned)},
    )


def star_frame() -> pd.DataFrame:
    centre, truth = (1.5, 1.25, 1.25), PowerLaws(0.05, (0.10, 0.15, 0.08), (1.0, 0.7, 1.5))
    points = [
        (*centre[:k], x, *centre[k + 1 :])
        for k in range(3)
        for x in (0.75, 1.0, 2.0, 3.0)
        if k or x >= 1
    ]
    planned = expand(
        MINI,
        [
            Arm("coefficients", "nominal", coefficients=Coefficients(*point))
            for point in [centre, *points]
        ],
        RECIPE,
        DATA,
        range(3),
    )
    rng = np.random.default_rng(0)
    error = {
        e.run.id: float(truth([list(vars(e.point.realised).values())])[0]) + 0.002 * rng.normal()
        for e in planned
    }
    return frame(
        planned, {e.run.id: some_record(e.run, accuracy=1 - error[e.run.id]) for e in planned}
    )


FRAMES = {
    "balance": lambda name: balance(),
    "settings": parts,
    "grid": lambda name: searched(hill),
    "star": lambda name: star_frame(),
}
# Those of several baselines and of several recipes have frames of their own in tests/test_drawings.py.
OWN = ("lead", "ranking", "foretold")
DRAWN = [each for each in (*COMPARISONS, *SEARCHES) if each.name not in OWN]


@pytest.mark.parametrize("drawing", DRAWN, ids=lambda drawing: drawing.name)
def test_figures_show_their_table(drawing: Drawing) -> None:
    table = FRAMES.get(drawing.name, lambda name: curves(TRUTH, deviation=0.01)[1])(drawing.name)
    shown = drawing.tabulate(table, drawing.select(summary(table)))
    before = dict(matplotlib.rcParams)
    with style():
        figure = drawing.draw(shown)
    assert dict(matplotlib.rcParams) == before
    labels = [
        text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())
    ]
    assert any("accuracy" in label for label in labels)
    assert drawing.name in ("settings", "grid", "star") or any("FLOPs" in label for label in labels)
    below = figure._supxlabel.get_text()
    intervals = "simultaneous 95 % bounds" if drawing.name == "grid" else "95 % t interval"
    assert intervals in below and "n = " in below
    if drawing.name == "grid":
        cells = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert len(cells) == len(shown)  # of the map
    else:
        heights = np.concatenate(
            [line.get_ydata() for ax in figure.axes for line in ax.lines]
        ).astype(float)
        for value in shown["mean"]:
            assert np.isclose(heights, 100 * value).any()


@pytest.mark.parametrize("drawing", DRAWN, ids=lambda drawing: drawing.name)
def test_figures_without_records_show_nothing(drawing: Drawing) -> None:
    table = FRAMES.get(drawing.name, lambda name: curves(TRUTH)[1])(drawing.name).assign(
        accuracy=np.nan, status="missing"
    )
    means = summary(table)
    assert drawing.select(means) is not None
    assert drawing.select(means[means["n"] > 0]) is None


def test_the_papers_points_keep_their_ratios_and_differences() -> None:
    """Grey points are moved, not stretched: multiples of FLOPs and differences in points are the paper's."""
    _, table = curves(TRUTH)
    figure = next(d for d in COMPARISONS if d.name == "compound").draw(summary(table))
    grey = [
        line for line in figure.axes[0].lines if line.get_color() == GREY and len(line.get_xdata())
    ]
    by_marker = {line.get_marker(): line for line in grey}
    for rule in ("width", "depth", "resolution", "compound"):
        line = by_marker[look(rule)[1]]
        gflops, top1 = (
            np.array([point[1] for point in FIGURE_8[rule]]),
            np.array([point[2] for point in FIGURE_8[rule]]),
        )
        assert line.get_xdata() / line.get_xdata()[0] == pytest.approx(gflops / gflops[0])
        assert line.get_ydata() - line.get_ydata()[0] == pytest.approx(top1 - top1[0])
        assert line.get_xdata()[0] == table["macs"].min()


# ---------------------------------------------------------------- the grid search


Shares = Callable[[float, float, float], float]


def searched(truth: Shares, noise: float = 0.003, step: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """A search whose true accuracies follow from the shares of cost of what is built."""
    arms = [Arm(rule.name, "matched", rule, 1.0) for rule in triples(step)]
    planned = expand(MINI, arms, RECIPE, DATA, range(3), evaluate=False)
    rng = np.random.default_rng(seed)

    def accuracy(entry: Planned) -> float:
        parts = np.array(direction(entry.point.realised))
        return truth(*(parts / parts.sum())) + noise * rng.normal()

    runs = {entry.run.id: entry for entry in planned}
    records = {
        name: some_record(entry.run, val_accuracy=accuracy(entry)) for name, entry in runs.items()
    }
    return frame(planned, records)


def hill(depth: float, width: float, resolution: float) -> float:
    """A quadratic with its top inside."""
    return 0.5 + 0.4 * depth * width + 0.4 * depth * resolution + 0.5 * width * resolution


def wide(depth: float, width: float, resolution: float) -> float:
    return 0.5 + 0.1 * width


def test_a_quadratic_is_recovered_and_its_top_is_best() -> None:
    ranked = ranking(searched(hill, noise=1e-6))
    assert ranked["fitted"].to_numpy() == pytest.approx(
        [hill(*row) for row in ranked[["depth", "width", "resolution"]].to_numpy()], abs=1e-5
    )
    assert list(ranked["fitted"]) == sorted(ranked["fitted"], reverse=True)
    assert ranked["best"].iloc[0] and ranked["best"].sum() == ranked["region"].sum() == 1
    assert "a quadratic surface" in ranked.attrs["surface"]


def test_networks_that_candidates_share_count_once() -> None:
    rows = searched(hill)
    ranked = ranking(rows)
    assert len(ranked) == len(rows[["depths", "widths", "pixels"]].drop_duplicates())
    assert sorted(itertools.chain(*ranked["candidates"])) == sorted(set(rows["rule"]))


def corners() -> tuple[np.ndarray, np.ndarray]:
    """Shares of cost of twelve networks (12, 3), and the weights (12, 12) of the surface over them."""
    found = ranking(searched(hill))
    shares = found[["depth", "width", "resolution"]].to_numpy(float)
    weights, said = surface(sample(np.full((12, 3), 0.5)), np.arange(12), shares)
    assert "a quadratic surface" in said
    return shares, weights


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("unequal", [1.0, 3.0])
def test_the_best_is_left_out_and_bounds_fail_in_one_search_of_twenty(
    slope: float, unequal: float
) -> None:
    """On a flat surface, a gentle and a steep one; of many best that are alike the first. Judged by their own
    means, networks of three times the deviation are left out in 7 of 100: three seeds do not always show it.
    """
    shares, surface_weights = corners()
    truth = 0.5 + slope * (np.array([hill(*row) for row in shares]) - 0.5)
    behind = truth.max() - truth
    deviations = 0.005 * np.where(np.arange(12) % 3, 1.0, unequal)
    rng = np.random.default_rng(1)
    noise = deviations[:, None] * rng.normal(size=(800, 12, 3))
    values = truth[:, None] + noise + 0.01 * rng.normal(size=(800, 1, 3))
    networks, seeds = np.indices((12, 3)).reshape(2, -1)
    runs = Sample(values.reshape(800, -1), networks, seeds, 12)
    for weights, least_often in ((surface_weights, 0.95), (np.eye(12), 0.92)):
        _, able, low, high = below_best(runs, weights)
        assert able[:, truth.argmax()].mean() >= least_often
        held = (low <= behind + 1e-9) & (behind <= high + 1e-9)
        assert held.all(1).mean() >= 0.95
        assert (low[able] == 0).all()
        assert slope < 0.3 or able.mean() < 0.9


def test_missing_runs_and_seeds_that_shift_are_no_misfit() -> None:
    """The surface is told from the truth in one search of twenty, whichever runs are missing."""
    shares, _ = corners()
    networks, seeds = np.indices((12, 3)).reshape(2, -1)
    rng = np.random.default_rng(1)
    told = []
    for _ in range(300):
        left = np.sort(rng.permutation(36)[6:])
        values = (0.005 * rng.normal(size=(12, 3)) + 0.02 * rng.normal(size=3)).ravel()[left]
        runs = Sample(values, networks[left], seeds[left], 12)
        known = np.flatnonzero(runs.runs)
        told.append("does not fit" in surface(runs, known, shares[known])[1])
    assert np.mean(told) < 0.09


def test_a_corner_that_wins_is_told_beside_the_best_triple_inside(tmp_path: Path) -> None:
    rows = searched(wide)
    [drawing] = [d for d in SEARCHES if d.name == "grid"]
    found = drawing.tabulate(rows, drawing.select(summary(rows)))
    assert len(found) == len(triples(0.1))
    best = found[found["best"]]
    assert len(best) == 1 and best["beta"].iloc[0] == found["beta"].max()
    first, second = drawing.found(found)
    assert first.startswith(f"The best of 25 candidates is {best['rule'].iloc[0]}, 6")
    inside = found[found["interior"]].iloc[0]
    assert second.startswith("Here the method selects width alone; the best triple that grows")
    assert f"{inside['rule']}, is {100 * inside['behind']:.1f} points behind (" in second
    assert len(drawing.found(drawing.tabulate(*(lambda r: (r, summary(r)))(searched(hill))))) == 1


def test_the_network_of_the_best_triple_is_none_of_the_others() -> None:
    """Neither is a network lost whose shares another one has, nor the best counted where a candidate that is
    not the nearest to it comes first."""
    rows = searched(lambda depth, width, resolution: 0.5 + 0.1 * depth)
    [drawing] = [d for d in SEARCHES if d.name == "grid"]
    found = drawing.tabulate(rows, drawing.select(summary(rows)))
    assert found["network"].nunique() == len(ranking(rows)) == 12
    assert not found["best"].iloc[0] and found["network"].iloc[0] == "2/1/1"
    assert "; 0 of the 11 other networks may be as good." in drawing.found(found)[0]


def test_one_seed_gives_a_best_triple_and_no_bounds() -> None:
    rows = searched(wide)
    rows = rows[rows["seed"] == 0]
    [drawing] = [d for d in SEARCHES if d.name == "grid"]
    first, second = drawing.found(drawing.tabulate(rows, drawing.select(summary(rows))))
    assert "11 of the 11 other networks may be as good" in first
    assert second.endswith("points behind.")


def test_what_no_quadratic_fits_and_few_networks_are_judged_by_their_means() -> None:
    peak = ranking(searched(lambda d, w, r: 0.6 + 0.1 * (max(d, w, r) > 0.8), noise=1e-3))
    assert "does not fit: p = " in peak.attrs["surface"]
    assert peak["fitted"].to_numpy() == pytest.approx(peak["mean"])
    few = ranking(searched(wide, step=0.3))
    assert len(few) <= 6 and "too few for a surface" in few.attrs["surface"]
    one = searched(hill)
    assert "lack of fit" not in ranking(searched(hill, noise=0)).attrs["surface"]
    alone = ranking(one[one["seed"] == 0])
    assert alone["region"].all() and alone["low"].isna().sum() >= len(alone) - 1


def test_missing_runs_leave_the_rest_of_a_search() -> None:
    rows = searched(hill)
    gone = rows["rule"] == rows["rule"].iloc[0]
    rows.loc[gone, ["accuracy", "status"]] = [np.nan, "missing"]
    assert rows["rule"].iloc[0] not in set(itertools.chain(*ranking(rows)["candidates"]))
    rows.loc[~gone, ["accuracy", "status"]] = [np.nan, "missing"]
    [drawing] = [d for d in SEARCHES if d.name == "grid"]
    assert drawing.tabulate(rows, summary(rows)) is None
    rows.loc[0, "accuracy"] = 0.5
    found = drawing.tabulate(rows, drawing.select(summary(rows)))
    assert "no other network has a run" in drawing.found(found)[0]


def test_rivals_in_sequence_are_the_graph_of_bretz() -> None:
    """Against the procedure itself, test by test: of the tests that are open each has a share of the error,
    one that rejects opens the next of its chain, and a chain that is through leaves its share to the
    others."""
    chains = [[2, 1, 0], [5, 4, 3], [6, 7]]
    rng = np.random.default_rng(1)
    for _ in range(300):
        p = rng.random(8) ** 3
        adjusted = in_sequence(p, chains)
        for level in (0.01, 0.05, 0.2, 0.5):
            told = {place for place in range(8) if adjusted[place] <= level + 1e-12}
            assert told == rejected(p, chains, level)
    p = rng.random((5, 4))
    assert in_sequence(p, [[place] for place in range(4)]) == pytest.approx(holm(p))
    assert np.isnan(in_sequence(np.array([np.nan, 0.001]), [[0], [1]])[0])


def rejected(p: np.ndarray, chains: list[list[int]], level: float) -> set[int]:
    """What is rejected, one test after the other."""
    at = [0] * len(chains)
    told: set[int] = set()
    while True:
        left = [place for place, chain in enumerate(chains) if at[place] < len(chain)]
        able = [place for place in left if p[chains[place][at[place]]] <= level / len(left)]
        if not able:
            return told
        told.add(chains[able[0]][at[able[0]]])
        at[able[0]] += 1


def test_no_number_of_seeds_settles_what_the_images_leave_open() -> None:
    few = seeds_needed(1.0, 0.6, 8, 3, 0.5)
    assert 3 < few < 20
    assert seeds_needed(1.0, 0.6, 8, 3, 0.5, images=0.05) > few
    assert math.isinf(seeds_needed(1.0, 0.6, 8, 3, 0.5, images=0.5**2))


def test_triples_meet_the_constraint() -> None:
    for rule in triples(0.1):
        assert rule.product == pytest.approx(2)
        assert min(rule.alpha, rule.beta, rule.gamma) >= 1 - 1e-9
    assert len(triples(0.1)) == 25
    with pytest.raises(ValueError, match="study.grid.step=0"):
        triples(0)


def test_colours_and_markers_are_one_per_rule() -> None:
    looks = [look(rule) for rule in PALETTE]
    assert (
        len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(PALETTE)
    )
    assert look("mine", ["mine", "width"]) not in looks
