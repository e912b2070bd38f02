"""Intervals against a simulated truth, and frames and figures from records."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablation.baselines import MINI
from ablation.figures import DRAWINGS, PALETTE, gain_table, look, style
from ablation.frame import frame, summary
from ablation.scaling import RULES, Coefficients
from ablation.statistics import Spread, interval, pooled
from ablation.study import Arm, Planned, expand
from tests.test_run_identity import DATA, RECIPE, some_record


def test_interval_of_one_group_is_students() -> None:
    values = np.array([0.50, 0.53, 0.58, 0.51])
    ours = interval(values, pooled([values]))
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(expected)


def test_variance_is_pooled_over_groups() -> None:
    groups = [np.array([1.0, 3.0]), np.array([10.0, 10.0, 13.0]), np.array([5.0])]
    spread = pooled(groups)
    assert spread.freedom == 3
    assert spread.deviation == pytest.approx(math.sqrt((2 + 6) / 3))


def test_one_seed_gives_no_interval() -> None:
    alone = interval(np.array([0.5]), pooled([np.array([0.5])]))
    assert (alone.mean, alone.n) == (0.5, 1)
    assert math.isnan(alone.low)
    assert math.isnan(interval(np.array([]), Spread(0.1, 3)).mean)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_the_truth_95_times_in_100(seeds: int) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        groups = rng.normal(0.6, 0.02, (9, seeds))
        middle = interval(groups[0], pooled(list(groups)))
        hits += middle.low <= 0.6 <= middle.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def curves(truth: dict[tuple[str, float], float], deviation: float = 0.0, seeds: int = 3) -> tuple[list[Planned], pd.DataFrame]:
    """Plan and frame of rules at phi with known mean accuracies."""
    rng = np.random.default_rng(1)
    planned = expand(MINI, [Arm(rule, "matched", RULES[rule], phi) for rule, phi in truth], RECIPE, DATA, range(seeds))
    records = {
        entry.run.id: some_record(entry.run, accuracy=truth[entry.arm.name, entry.arm.phi] + deviation * rng.normal(), seed=entry.run.seed)
        for entry in planned
    }
    return planned, frame(planned, records)


TRUTH = {(rule, phi): 0.5 + gain * phi**0.5 for rule, gain in zip(PALETTE, (0.08, 0.05, 0.06, 0.10), strict=False) for phi in (0.0, 1.0, 2.0)}


def test_the_summary_holds_means_and_intervals() -> None:
    _, table = curves(TRUTH, deviation=0.01)
    means = summary(table)
    assert list(means["n"]) == [3] * 12
    assert (means["low"] < means["mean"]).all()
    assert means["high"].sub(means["low"]).std() < 1e-12  # one pooled variance, equal n
    assert means["mean"].to_numpy() == pytest.approx(list(TRUTH.values()), abs=0.02)


def test_gain_per_doubling_is_the_paired_difference_over_counted_doublings() -> None:
    _, table = curves(TRUTH)
    gains = gain_table(table, summary(table)).set_index(["rule", "to_phi"])
    one = table.set_index(["rule", "phi"])["macs"].groupby(level=[0, 1]).first()
    expected = (TRUTH["width", 2.0] - TRUTH["width", 1.0]) / math.log2(one["width", 2.0] / one["width", 1.0])
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


def test_runs_of_different_recipes_are_never_averaged() -> None:
    arm = [Arm("width", "matched", RULES["width"], 1.0)]
    planned = [e for epochs in (2, 3) for e in expand(MINI, arm, dataclasses.replace(RECIPE, epochs=epochs), DATA, range(2))]
    records = {e.run.id: some_record(e.run, accuracy=e.run.recipe.epochs / 10) for e in planned}
    means = summary(frame(planned, records))
    assert list(means["rule"]) == ["width (epochs=2)", "width (epochs=3)"]
    assert list(means["mean"]) == pytest.approx([0.2, 0.3])


def balance() -> pd.DataFrame:
    rows = [Coefficients(d, w, r) for d, r in ((1, 1), (1, 1.3), (2, 1), (2, 1.3)) for w in (1, 2**0.5, 2)]
    planned = expand(MINI, [Arm("coefficients", "nominal", coefficients=row) for row in rows], RECIPE, DATA, range(2))
    return frame(planned, {e.run.id: some_record(e.run, accuracy=0.4 + 0.05 * i / 12) for i, e in enumerate(planned)})


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.name)
def test_figures_show_their_table(drawing: object) -> None:
    table = balance() if drawing.name == "balance" else curves(TRUTH, deviation=0.01)[1]
    shown = drawing.tabulate(table, summary(table))
    before = dict(__import__("matplotlib").rcParams)
    with style():
        figure = drawing.draw(shown)
    assert dict(__import__("matplotlib").rcParams) == before
    labels = [text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel())]
    assert any("FLOPs" in label for label in labels)
    assert any("accuracy" in label for label in labels)
    heights = np.concatenate([line.get_ydata() for ax in figure.axes for line in ax.lines])
    for value in shown["mean"]:
        assert np.isclose(heights.astype(float), 100 * value).any()
    assert "95 % t interval" in figure._supxlabel.get_text()
    assert f"n = {int(shown['n'].iloc[0])}" in figure._supxlabel.get_text()


def test_figures_without_records_are_none() -> None:
    planned, _ = curves(TRUTH)
    table = frame(planned, {})
    assert [drawing.tabulate(table, summary(table)) for drawing in DRAWINGS] == [None] * len(DRAWINGS)


def test_colours_and_markers_are_one_per_rule() -> None:
    looks = [look(rule) for rule in PALETTE]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(PALETTE)
    assert look("mine", ["mine", "width"]) not in looks
