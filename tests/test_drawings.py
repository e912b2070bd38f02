"""Figures from what records keep of each image and each epoch: their tables and sentences state truths that
were put into the records."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablation.images import stripes
from ablation.judge.frame import frame, summary
from ablation.runs.answers import packed
from ablation.runs.arms import Arm, Planned, expand
from ablation.runs.config import Data
from ablation.show.comparisons import COMPARISONS
from ablation.show.drawing import GREY, style
from ablation.show.kinds import KINDS
from ablation.show.learning import LEARNING
from ablation.theory.baselines import MICRO
from ablation.theory.scaling import RULES
from tests.test_run_identity import RECIPE, some_record

EXAMPLES, BY_KIND = KINDS
STRIPES = Data("stripes", stripes.CLASSES, stripes.SIDE, generator=stripes.VERSION)
# Right of ten images of each kind, (fine, faint), at 1 and at 4 times the cost.
TRUTH = {"baseline": (5, 4), "width": (5, 9), "resolution": (10, 4)}


def planned(data: Data = STRIPES) -> list[Planned]:
    arms = [
        Arm(rule, "matched", RULES[rule], phi) for rule in ("width", "resolution") for phi in (0, 2)
    ]
    return expand(MICRO, arms, RECIPE, data, range(2))


def truth_of(entry: Planned) -> tuple[int, ...]:
    return TRUTH["baseline" if entry.arm.phi == 0 else entry.arm.name]


def frame_of(entries: list[Planned], count: int = 20, **told: Any) -> pd.DataFrame:
    """Records whose image i is right where i // 2 is below the truth of the kind i % 2."""
    records = {}
    for entry in entries:
        kinds = truth_of(entry)
        right = np.array([image // 2 < kinds[image % 2] for image in range(count)])
        answers = {"evaluation": packed(right, "some images")}
        records[entry.run.id] = some_record(
            entry.run, answers=answers, accuracy=right.mean(), **told
        )
    return frame(entries, records)


@pytest.fixture(autouse=True)
def _twenty_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "SIZES", {"train": 300, "evaluation": 20})


def test_each_kind_has_its_share_of_right_images() -> None:
    table = frame_of(planned())
    shown = BY_KIND.tabulate(table, BY_KIND.select(summary(table)))
    for row in shown.itertuples():
        truth = TRUTH["baseline" if row.macs == shown["macs"].min() else row.rule]
        assert row.mean == row.low == row.high == truth[list(stripes.KINDS).index(row.kind)] / 10
    assert len(shown) == 2 * 4
    assert BY_KIND.found(shown) == [
        "Fine images, 50.0 % at the smallest network; the largest adds: resolution +50.0, width +0.0.",
        "Faint images, 40.0 % at the smallest network; the largest adds: width +50.0, resolution +0.0.",
    ]
    with style():
        figure = BY_KIND.draw(shown)
    assert [ax.get_title() for ax in figure.axes] == list(stripes.KINDS)
    heights = [line.get_ydata()[-1] for line in figure.axes[1].lines if len(line.get_ydata()) == 2]
    assert {90.0, 40.0} <= set(heights)


def test_kinds_are_told_where_all_images_were_evaluated_and_of_sets_that_have_them() -> None:
    table = frame_of(planned(), count=19)
    assert BY_KIND.tabulate(table, BY_KIND.select(summary(table))) is None
    for other in (
        Data("shapes", 12, 96),
        Data("stripes", 6, 96, path="photos", files="0123456789ab"),
    ):
        assert BY_KIND.select(summary(frame_of(planned(other)))) is None
    closed = [
        dataclasses.replace(entry, run=dataclasses.replace(entry.run, evaluate=False))
        for entry in planned()
    ]
    assert BY_KIND.select(summary(frame_of(closed))) is None


def test_examples_are_of_each_kind() -> None:
    table = summary(frame_of(planned()))
    with style():
        figure = EXAMPLES.draw(EXAMPLES.select(table))
    images, _ = stripes.render("evaluation", 4, 0)
    assert [ax.get_title() for ax in figure.axes] == ["fine", "fine", "faint", "faint"]
    assert (figure.axes[3].images[0].get_array() == images[3]).all()
    assert EXAMPLES.found(table)[0].startswith("`stripes`: images made by the project")


def test_learning_curves_are_the_means_of_histories() -> None:
    entries = planned()
    learned = (0.2, 0.5, 0.6, 0.7)
    records = {
        entry.run.id: some_record(
            entry.run,
            history=tuple(
                {"epoch": epoch + 1, "train/accuracy": it + 0.1 * entry.run.seed}
                for epoch, it in enumerate(learned)
            ),
        )
        for entry in entries
    }
    table = frame(entries, records)
    shown = LEARNING.tabulate(table, LEARNING.select(summary(table)))
    width = shown[shown["rule"] == "width"]
    one = width[width["macs"] == width["macs"].max()]
    assert np.allclose(one["mean"], np.add(learned, 0.05))
    assert np.allclose(one["low"], learned) and np.allclose(one["high"], np.add(learned, 0.1))
    [sentence] = LEARNING.found(shown)
    assert sentence.endswith("training accuracy: width +10.0, resolution +10.0.")
    with style():
        figure = LEARNING.draw(shown)
    first, second, *_ = figure.axes
    assert [first.get_title(), second.get_title()] == ["width", "resolution"]
    assert np.allclose(first.lines[0].get_ydata(), 100 * np.add(learned, 0.05))


def test_records_without_histories_have_no_learning_curves() -> None:
    table = frame_of(planned(), history=())
    assert LEARNING.tabulate(table, LEARNING.select(summary(table))) is None


def test_the_papers_points_are_not_drawn_beside_labels_without_meaning() -> None:
    [drawing] = [each for each in COMPARISONS if each.name == "compound"]
    grey = []
    for data in (STRIPES, dataclasses.replace(STRIPES, permuted=True)):
        table = drawing.select(summary(frame_of(planned(data))))
        with style():
            figure = drawing.draw(table)
        grey.append(
            [
                line
                for line in figure.axes[0].lines
                if line.get_color() == GREY and len(line.get_xdata())
            ]
        )
    assert len(grey[0]) == 2 and not grey[1]


def test_a_setting_that_a_rule_lacks_is_a_gap_in_its_line() -> None:
    [drawing] = [each for each in COMPARISONS if each.name == "settings"]
    whole, longer = planned(), [dataclasses.replace(entry, setting="long") for entry in planned()]
    first = [dataclasses.replace(entry, setting="short") for entry in whole]
    width = [entry for entry in longer if entry.arm.name == "width"]
    last = [dataclasses.replace(entry, setting="last") for entry in whole]
    table = drawing.select(summary(frame_of([*first, *width, *last])))
    with style():
        figure = drawing.draw(table)
    dotted = [line.get_ydata() for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert sorted(int(np.isnan(heights).sum()) for heights in dotted) == [0, 1]


def test_compounds_lead_is_drawn_by_the_side_of_the_baseline() -> None:
    """The same lead at every baseline but one point more for every four pixels."""
    arms = [
        Arm(rule, "matched", RULES[rule], phi)
        for rule in ("resolution", "compound")
        for phi in (0.0, 1.0)
    ]
    recipe = dataclasses.replace(RECIPE, epochs=2)
    entries = [
        entry
        for side in (20, 28)
        for entry in expand(MICRO.at(side), arms, recipe, STRIPES, seeds=[0, 1])
    ]
    # Resolution alone makes the larger baseline of the smaller one.
    accuracies = {20: 0.5, 28: 0.6, 40: 0.7}
    records = {}
    for entry in entries:
        pixels = entry.run.network.pixels
        ahead = {23: 0.01, 32: 0.03}.get(pixels)
        accuracy = accuracies[pixels] if ahead is None else {23: 0.6, 32: 0.7}[pixels] + ahead
        record = some_record(entry.run, accuracy=accuracy + 0.001 * entry.run.seed)
        records[entry.run.id] = record
    table = frame(entries, records)
    [lead] = [drawing for drawing in COMPARISONS if drawing.name == "lead"]
    leads = lead.tabulate(table, lead.select(summary(table)))
    assert list(leads["side"]) == [20, 28]
    assert leads["mean"].to_numpy() == pytest.approx([0.01, 0.03])
    assert set(leads["against"]) == {"resolution"}
    with style():
        [axes] = lead.draw(leads).axes
    assert list(axes.get_xticks()) == [20, 28]
    assert lead.found(leads)[0].startswith("at 2 times the FLOPs compound leads resolution by +1.0")
    one = frame(entries[: len(entries) // 2], records)
    assert lead.select(summary(one)) is None
