"""Figures from what records keep of each image and each epoch: their tables and sentences state truths that
were put into the records."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ablation.images import stripes
from ablation.judge.findings import table as judgement
from ablation.judge.frame import frame, summary
from ablation.judge.verdicts import INCONCLUSIVE, Finding
from ablation.runs.answers import packed
from ablation.runs.arms import Arm, Planned, expand
from ablation.runs.config import Data
from ablation.show.comparisons import COMPARISONS
from ablation.show.drawing import GREY, PALETTE, key, look, moved, style, svg, write
from ablation.show.embedding import NARROW, NIGHT, contrast, dark, folded, slim, svg_uri
from ablation.show.forest import DECOMPOSITION, OUTCOMES
from ablation.show.kinds import KINDS
from ablation.show.learning import LEARNING
from ablation.show.searches import SEARCHES
from ablation.theory.baselines import MICRO
from ablation.theory.scaling import RULES
from tests.test_findings import several
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


LEARNED = (0.2, 0.5, 0.6, 0.7)


def learned(looks: Mapping[int, float]) -> pd.DataFrame:
    """The table of curves of networks that learned LEARNED, and on validation images what was seen there;
    a tenth more with the second seed."""
    entries = planned()
    records = {}
    for entry in entries:
        more = 0.1 * entry.run.seed
        rows = [
            {"epoch": epoch, "train/accuracy": it + more}
            | ({"val/accuracy": looks[epoch] + more} if epoch in looks else {})
            for epoch, it in enumerate(LEARNED, 1)
        ]
        records[entry.run.id] = some_record(entry.run, history=tuple(rows))
    table = frame(entries, records)
    return LEARNING.tabulate(table, LEARNING.select(summary(table)))


def test_learning_curves_are_the_means_of_histories() -> None:
    shown = learned({2: 0.4, 3: 0.5, 4: 0.58})
    width = shown[shown["rule"] == "width"]
    largest = width[width["macs"] == width["macs"].max()]
    training, validation = (
        largest[largest["images"] == images] for images in ("training", "validation")
    )
    assert np.allclose(training["mean"], np.add(LEARNED, 0.05))
    assert np.allclose(training["low"], LEARNED)
    assert np.allclose(training["high"], np.add(LEARNED, 0.1))
    assert list(validation["epoch"]) == [2, 3, 4]
    assert np.allclose(validation["mean"], [0.45, 0.55, 0.63])
    with style():
        figure = LEARNING.draw(shown)
    first, second, *_ = figure.axes
    assert [first.get_title(), second.get_title()] == ["width", "resolution"]
    thin, dotted, *_ = first.lines
    assert np.allclose(thin.get_ydata(), 100 * np.add(LEARNED, 0.05))
    assert np.allclose(dotted.get_ydata(), [45, 55, 63]) and dotted.get_marker() == "o"
    assert "networks still rise at the end" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        (
            {2: 0.4, 3: 0.5, 4: 0.58},
            "from epoch 3 to 4, by more than 0.5 points of validation accuracy",
        ),
        ({}, "from epoch 3 to 4, by more than 0.5 points of training accuracy"),
        ({4: 0.58}, "from epoch 3 to 4, by more than 0.5 points of training accuracy"),
    ],
)
def test_curves_that_rise_in_their_last_quarter_are_told(
    looks: dict[int, float], told: str
) -> None:
    """Of validation images where they were looked at before the end, else of training images."""
    shown = learned(looks)
    networks = shown["label"].nunique()
    rise = "+8.0" if len(looks) > 1 else "+10.0"
    first, *others = LEARNING.found(shown)
    assert first.startswith(f"{networks} of {networks} networks still rise at the end, {told}: ")
    assert first.count(f"({rise})") == networks
    assert any("validate_every=1" in text for text in others) == (len(looks) == 1)
    assert "study=schedule" in others[-1]


def test_curves_that_are_flat_at_the_end_do_not_rise() -> None:
    shown = learned({2: 0.4, 3: 0.5, 4: 0.503})
    networks = shown["label"].nunique()
    assert LEARNING.found(shown)[0].startswith(f"0 of {networks} networks still rise at the end")
    assert LEARNING.found(shown)[0].endswith("points of validation accuracy.")


def test_one_epoch_does_not_tell_what_rises() -> None:
    shown = learned({4: 0.6})
    last = shown[shown["epoch"] == 4]
    assert LEARNING.found(last)[0] == "Too few epochs to tell whether a curve still rises."
    with style():
        assert "rise" not in LEARNING.draw(last).get_supxlabel()


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


# ---------------------------------------------------------------- as a page holds them


def drawn(labels: Sequence[str] = ("width", "compound")) -> Figure:
    """Two panels with a line of each look, a legend, and words below."""
    with style():
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax in axes:
            for label in labels:
                colour, marker = look(label, labels)
                ax.errorbar([1, 2], [3, 4], yerr=[1, 1], fmt=marker, color=colour, label=label)
        axes[0].set_ylabel("accuracy (%)")
        key(axes[1], "rule")
        figure.suptitle("A title")
        figure.supxlabel(
            "a note that is longer than a phone is wide, and has to be broken into lines there"
        )
    return figure


def styled(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Rules by class of an SVG, by day and by night."""
    day, _, night = text.partition("@media(prefers-color-scheme:dark)")
    return dict(re.findall(r"\.(s\d+)\{([^}]*)\}", day)), dict(
        re.findall(r"\.(s\d+)\{([^}]*)\}", night)
    )


def test_leads_found_are_drawn_against_leads_foretold() -> None:
    """Where dimensions gain as foretold, compound's lead is 3 points more than that."""
    rows = several()
    [foretold] = [drawing for drawing in SEARCHES if drawing.name == "foretold"]
    shown = foretold.tabulate(rows, foretold.select(summary(rows)))
    assert list(shown["baseline"]) == ["mini", "midi", "micro"] and set(shown["at"]) == {"at 4x"}
    assert list(shown["against"])[:2] == ["resolution", "resolution"]
    assert (shown["mean"] - shown["foretold"]).to_numpy() == pytest.approx(0.03, abs=0.004)
    assert (shown["foretold_low"] < shown["foretold"]).all()
    with style():
        [ax] = foretold.draw(shown).axes
    assert ax.get_title() == "at 4x the baseline's FLOPs"
    assert foretold.found(shown)[0].startswith("mini at 4x: over resolution, which gains most")
    smallest = (rows["phi"] == 0) & (rows["seed"] == 0)
    diverged = rows.assign(status=rows["status"].mask(smallest, "diverged"))
    told = foretold.tabulate(diverged, foretold.select(summary(diverged)))
    assert list(told["diverged"]) == [1, 1, 1] and set(told["missing"]) == {0}
    for fewer in (rows[rows["baseline"] == "mini"], rows[rows["phi"] < 2]):
        assert foretold.select(summary(fewer)) is None


def test_a_figure_of_a_page_has_the_same_marks_in_fewer_bytes() -> None:
    with style():
        whole = svg(drawn())
    small = slim(whole)
    assert len(small) < 0.5 * len(whole)
    before, after = ElementTree.fromstring(whole), ElementTree.fromstring(small)
    for tag in ("text", "use"):
        name = f"{{http://www.w3.org/2000/svg}}{tag}"
        assert len(list(after.iter(name))) == len(list(before.iter(name))) > 4
    day, _ = styled(small)
    used = set(re.findall(r"class='(s\d+)'", small))
    assert used == set(day)
    named = set(re.findall(r" id='(\w+)'", small))
    assert set(re.findall(r"#(n\d+)", small)) == named
    with style():
        assert slim(svg(drawn())) == small


def test_a_figure_of_a_page_is_drawn_for_dark_screens_too() -> None:
    with style():
        day, night = styled(slim(svg(drawn())))
    ground = next(name for name, rule in day.items() if rule == "fill:#ffffff")
    assert night[ground] == "fill:#0d1117"
    black = [
        name for name, rule in day.items() if "stroke:#000000" in rule and "fill:#000000" in rule
    ]
    assert black and all(night[name].count("#e6edf3") == 2 for name in black)
    colours = [colour for colour, _ in PALETTE.values()]
    assert all(contrast(rgb(dark(colour)), NIGHT) >= 3 for colour in colours)
    assert len({dark(colour) for colour in colours}) == len(colours)
    assert dark("#ffffff") == "#0d1117"


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))


def test_images_and_odd_letters_stay_what_they_are() -> None:
    with style():
        figure = drawn()
        figure.axes[0].imshow(np.zeros((3, 3)))
        figure.axes[0].set_title("a\x01<b> & 'c' \"d\" #e")
        text = slim(svg(figure))
    assert " href='data:image/png;base64" in text
    assert styled(text)[1] == {}  # what is an image has no other colours
    root = ElementTree.fromstring(text)
    words = ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("text")]
    assert "a<b> & 'c' \"d\" #e" in words
    address = svg_uri(text)
    assert '"' not in address and "#" not in address
    assert ElementTree.fromstring(unquote(address.partition(",")[2])) is not None


def test_a_figure_for_a_phone_has_its_panels_one_below_the_other() -> None:
    with style():
        figure = folded(drawn())
        figure.canvas.draw()
    above, below = (ax.get_position() for ax in figure.axes)
    assert above.y0 > below.y1 and abs(above.x0 - below.x0) < 0.01
    assert figure.get_figwidth() == NARROW
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["width", "compound"]
    assert figure._suptitle is None and len(figure.get_supxlabel().splitlines()) == 2


def test_files_of_a_figure_are_the_same_bytes_twice(tmp_path: Path) -> None:
    [drawing] = [each for each in COMPARISONS if each.name == "compound"]
    table = drawing.select(summary(frame_of(planned())))
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        write(table, drawing, folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(written[0]) == {f"compound.{kind}" for kind in ("csv", "png", "svg", "pdf")}
    assert written[0] == written[1]
    pdf = written[0]["compound.pdf"]
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf


# ---------------------------------------------------------------- what the paper's line and other figures say


def test_the_papers_line_ends_at_all_right() -> None:
    line = ((1, 1.0, 70.0), (2, 2.0, 76.0), (4, 4.0, 82.0))
    rows = pd.DataFrame(
        {"depth": [1.0], "width": 1.0, "resolution": 1.0, "macs": 100, "mean": 0.91}
    )
    x, y = moved(line, rows)
    assert y == [91.0, 97.0, 100.0] and x == pytest.approx([100, 200, 200 * 2**0.5])
    assert moved(line, rows.assign(mean=0.8)) == ([100, 200, 400], [80, 86, 92])
    assert moved(line, rows.assign(depth=2.0)) == ([], [])


def test_settings_of_one_network_are_ranked() -> None:
    [drawing] = [each for each in COMPARISONS if each.name == "ranking"]
    entries = [entry for entry in planned() if entry.arm.phi == 0 and entry.arm.name == "width"]
    settings = {"as it is": 0.5, "longer": 0.9, "shorter": 0.3}
    several = [dataclasses.replace(entry, setting=name) for name in settings for entry in entries]
    several = [
        dataclasses.replace(
            each,
            run=dataclasses.replace(
                each.run, recipe=dataclasses.replace(RECIPE, epochs=place // 2 + 3)
            ),
        )
        for place, each in enumerate(several)
    ]
    records = {
        each.run.id: some_record(each.run, accuracy=settings[each.setting] + 0.01 * each.run.seed)
        for each in several
    }
    table = frame(several, records)
    rows = drawing.select(summary(table))
    shown = drawing.tabulate(table, rows)
    assert list(shown["setting"]) == ["longer", "as it is", "shorter"]
    assert next(iter(shown["runs"])) == pytest.approx((0.9, 0.91))
    with style():
        figure = drawing.draw(shown)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(shown["setting"])
    assert drawing.found(shown)[0].endswith(".") and "longer 90.5" in drawing.found(shown)[0]
    assert drawing.select(summary(frame_of(planned()))) is None


def judged(*findings: Finding) -> pd.DataFrame:
    return judgement(findings)


def test_what_was_expected_stands_by_its_sign() -> None:
    told = {
        "statement": "s",
        "baseline": "micro",
        "setting": "",
        "cost": "matched",
        "unit": "points",
        "n": 3,
    }
    about = {"low": -1.0, "high": 3.0, "verdict": INCONCLUSIVE}
    table = judged(
        Finding("control", subject="a", effect=0.1, expected="none: none told", **told | about),
        Finding("improves", subject="b", effect=2.0, expected="more: found", **told | about),
        Finding(
            "improves", subject="all", effect=2.0, expected="more: found", members=2, **told | about
        ),
        Finding("improves", subject="c", effect=2.0, **told | about),
    )
    rows = OUTCOMES.select(table)
    assert list(rows["subject"]) == ["b", "a"]
    assert OUTCOMES.found(rows) == [
        "An effect in the claim's direction was expected. 1 comparison: 1 found.",
        "No effect was expected. 1 comparison: 1 none told.",
    ]
    assert OUTCOMES.select(table.assign(expected="")).empty


def test_what_resolution_gains_is_a_column_of_two_parts() -> None:
    told = {
        "statement": "s",
        "baseline": "micro",
        "setting": "",
        "cost": "matched",
        "unit": "points",
        "verdict": "supported",
        "n": 3,
    }
    parts = [("by compute at 2x", 1.5), ("by pixels at 2x", 2.0)]
    found = [
        Finding("pixels", subject=name, effect=gain, low=gain - 1, high=gain + 1, **told)
        for name, gain in parts
    ]
    table = judged(*found)
    with style():
        figure = DECOMPOSITION.draw(DECOMPOSITION.select(table))
    bars = [bar for bar in figure.axes[0].patches if bar.get_height()]
    assert [(bar.get_y(), bar.get_height()) for bar in bars] == [(0.0, 1.5), (1.5, 2.0)]
    assert "by pixels at 2x +2.0 (+1.0 to +3.0), supported" in DECOMPOSITION.found(table)[0]
