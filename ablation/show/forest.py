"""The forest plot: every finding with its interval."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablation.judge.verdicts import (
    CONTRADICTED,
    EQUIVALENT,
    INCONCLUSIVE,
    MARGIN,
    NO_VERDICT,
    NOT_THE_RULE,
    SUPPORTED,
    VERDICTS,
)
from ablation.runs.checks import counted
from ablation.show.drawing import BEHIND, Drawing
from ablation.show.words import listed

# Told apart by colour-blind readers, and in grey by the marker: a verdict is filled, what is open is not.
LOOKS = {
    SUPPORTED: {"color": "#0072B2", "marker": "o"},
    CONTRADICTED: {"color": "#D55E00", "marker": "X"},
    EQUIVALENT: {"color": "#009E73", "marker": "s"},
    INCONCLUSIVE: {"color": "0.4", "marker": "D", "markerfacecolor": "white"},
    NO_VERDICT: {"color": "0.4", "marker": "o", "markerfacecolor": "white"},
    NOT_THE_RULE: {"color": "0.4", "marker": "v", "markerfacecolor": "white"},
}


# What a study said beforehand of an effect (ablation.judge.expected), in the order of a figure.
EXPECTED = {
    "more": "An effect in the claim's direction was expected.",
    "less": "An effect against the claim's direction was expected.",
    "none": "No effect was expected.",
}
# The two parts of what resolution gains.
PARTS = {
    "compute": {"color": "#56B4E9"},
    "pixels": {"color": "#009E73"},
}
STEP = 0.34  # how wide one of them is drawn
PART_NAMES = {
    "compute": "by the compute alone\n(enlarged images)",
    "pixels": "by the pixels\n(finer images)",
}


def forest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The findings whose effect is in points."""
    return table[table["effect"].notna() & (table["unit"] != "x")]


def expected_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The findings in points of which the study said beforehand what they would be, each by itself; what was
    expected in place of the statement, in the order of the signs."""
    rows = forest_rows(table)
    rows = rows[(rows["expected"] != "") & (rows["members"] == 0)]
    signs = [said.partition(": ")[0] for said in rows["expected"]]
    named = rows.assign(statement=[EXPECTED[sign] for sign in signs])
    order = list(EXPECTED.values())
    return named.sort_values("statement", key=lambda said: said.map(order.index), kind="stable")


def expected_found(table: pd.DataFrame) -> list[str]:
    """What came of the expectations, sign by sign."""
    outcomes = table["expected"].map(lambda said: said.partition(": ")[2])
    found = []
    for statement, own in outcomes.groupby(table["statement"], sort=False):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in own.value_counts().items())
        found.append(f"{statement} {counted(len(own), 'comparison')}: {counts}.")
    return found


def decomposition_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The findings on what resolution gains by compute alone and by its pixels."""
    return table[(table["claim"] == "pixels") & table["effect"].notna()]


def decomposition_figure(table: pd.DataFrame) -> Figure:
    """Two steps for each cost: what enlarged images gain, and from there what the pixels add."""
    steps = table["subject"].str.extract(r"by (?P<part>\w+) (?P<at>.*)")
    table = table.assign(**{name: steps[name] for name in ("part", "at")})
    costs = list(dict.fromkeys(zip(table["baseline"], table["at"], strict=True)))
    figure = Figure(figsize=(2.2 * len(costs) + 4.4, 4.8), layout="constrained")
    ax = figure.subplots()
    for x, (baseline, at) in enumerate(costs):
        parts = table[(table["baseline"] == baseline) & (table["at"] == at)]
        start = 0.0
        for row in parts.itertuples():
            _decomposed(ax, x, start, row)
            start += row.effect
    ax.axhline(0, color="0.3", linewidth=1)
    several = table["baseline"].nunique() > 1
    names = [f"{baseline}\n{at}" if several else at for baseline, at in costs]
    ax.set_xticks(range(len(costs)), [f"{name} the FLOPs" for name in names])
    ax.set_xlim(-0.6, len(costs) - 0.4)
    ax.set_ylabel("points gained over the baseline")
    ax.grid(axis="x", visible=False)
    for part, look in PARTS.items():
        ax.add_patch(Rectangle((0, 0), 0, 0, label=PART_NAMES[part], **look))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), alignment="left")
    figure.suptitle("What higher resolution gains", fontweight="bold")
    over = " and ".join(dict.fromkeys(filter(None, table["over"]))) or "seeds"
    ours = f"bars: 95 % t intervals of each part, over other {over}; n = {table['n'].min()}"
    note = "\n".join([*table.attrs.get("note", []), ours])
    figure.supxlabel(note, fontsize=9, color="0.35")
    return figure


def _decomposed(ax: Axes, x: int, start: float, row: Any) -> None:
    """One step with its effect and its interval, which is drawn at its end; side by side, so that one against
    the other hides neither."""
    end, place = start + row.effect, x + list(PARTS).index(row.part) * STEP - STEP / 2
    ax.bar(place, row.effect, bottom=start, width=STEP, **PARTS[row.part])
    if row.low == row.low:
        reach = [[row.effect - row.low], [row.high - row.effect]]
        ax.errorbar(place + STEP / 4, end, yerr=reach, color="black", capsize=3.5, elinewidth=1.3)
    middle = (place - STEP / 6, (start + end) / 2)
    said = f"{row.effect:+.1f}"
    ax.annotate(said, middle, ha="center", va="center", fontsize=10, bbox=BEHIND)


def decomposition_found(table: pd.DataFrame) -> list[str]:
    """Each part with its interval and its verdict."""
    told = [
        f"{row.subject} {row.effect:+.1f} ({row.low:+.1f} to {row.high:+.1f}), {row.verdict}"
        if row.low == row.low
        else f"{row.subject} {row.effect:+.1f}, {row.verdict}"
        for row in table.itertuples()
    ]
    return [f"Points: {'; '.join(told)}."]


def forest_figure(table: pd.DataFrame, margin: float = MARGIN) -> Figure:
    """Every finding in points (findings.table) with its interval, one panel for each claim, zero in the
    middle of all.

    Raises ValueError where there is none.
    """
    table = forest_rows(table)
    if table.empty:
        raise ValueError("no finding has an effect in points: there is nothing to draw")
    groups = list(table.groupby("statement", sort=False))
    scoped = [name for name in ("baseline", "setting", "cost") if table[name].nunique() > 1]
    figure = Figure(
        figsize=(11.5, 0.27 * len(table) + 0.85 * len(groups) + 1.3), layout="constrained"
    )
    axes = figure.subplots(
        len(groups), 1, squeeze=False, height_ratios=[len(rows) + 0.6 for _, rows in groups]
    )[:, 0]
    for ax, (statement, rows) in zip(axes, groups, strict=True):
        _forest_panel(ax, rows, scoped, margin)
        ax.set_title(" ", fontsize=10)  # room for the statement, which starts at the figure's edge
        place = ("figure fraction", "axes fraction")
        above = {"xytext": (0, 5), "textcoords": "offset points"}
        ax.annotate(
            str(statement),
            (0.01, 1),
            xycoords=place,
            fontsize=10,
            fontweight="bold",
            color="0.2",
            annotation_clip=False,
            **above,
        )
    axes[-1].set_xlabel("effect (points of accuracy)")
    for verdict in (verdict for verdict in LOOKS if verdict in set(table["verdict"])):
        axes[0].plot([], [], linestyle="", label=verdict, **LOOKS[verdict])
    figure.legend(loc="outside upper right", ncols=len(LOOKS), frameon=False)
    over = " or ".join(dict.fromkeys(filter(None, table["over"]))) or "seeds"
    ours = (
        f"bars: 95 % t intervals over other {over}, each by itself; verdicts adjust for a claim's "
        f"comparisons; shaded: within {margin:g} points, counted as none"
    )
    figure.supxlabel("\n".join([*table.attrs.get("note", []), ours]), fontsize=9, color="0.35")
    return figure


def _forest_panel(ax: Axes, rows: pd.DataFrame, scoped: Sequence[str], margin: float) -> None:
    """The findings on one claim, from top to bottom."""
    reach = _reach(rows, margin)
    ax.axvspan(-margin, margin, color="0.93", zorder=0)
    ax.axvline(0, color="0.3", linewidth=1, zorder=1)
    for y, row in enumerate(rows.itertuples()):
        _forest_row(ax, y, row, reach)
    labels = [_label(row, scoped) for row in rows.to_dict("records")]
    ax.set_yticks(range(len(rows)), labels, fontsize=9.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(-reach, reach)
    ax.tick_params(axis="x", labelsize=9)
    ax.grid(axis="y", visible=False)


def _reach(rows: pd.DataFrame, margin: float) -> float:
    """How far an axis goes to both sides: as far as every effect, and most intervals, not the longest."""
    ends = rows[["low", "high"]].abs().stack()
    most = 1.05 * ends.quantile(0.9) if len(ends) else 0
    return max(1.2 * rows["effect"].abs().max(), 3 * margin, most)


def _label(row: Mapping[str, Any], scoped: Sequence[str]) -> str:
    """What is compared, and where."""
    where = [row[name] for name in scoped if row[name]]
    return ", ".join([row["subject"], *where])


def _forest_row(ax: Axes, y: int, row: Any, reach: float) -> None:
    """One effect: its marker, its interval, with an arrow where that leaves the axis, and both as numbers at
    the right."""
    colour = LOOKS[row.verdict]["color"]
    known = not math.isnan(row.low)
    if known:
        ax.hlines(
            y, max(row.low, -reach), min(row.high, reach), color=colour, linewidth=1.5, zorder=2
        )
        for end, tip in ((row.low, "<"), (row.high, ">")):
            if abs(end) > reach:
                ax.plot(
                    math.copysign(reach, end),
                    y,
                    marker=tip,
                    color=colour,
                    markersize=5,
                    clip_on=False,
                )
    ax.plot(row.effect, y, markersize=6.5, zorder=3, **LOOKS[row.verdict])
    interval = f" ({row.low:+.1f} to {row.high:+.1f})" if known else ""
    ax.annotate(
        f"{row.effect:+.1f}{interval}, n = {row.n}",
        (1.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8.5,
        color="0.25",
    )


def forest_found(table: pd.DataFrame) -> list[str]:
    """How many findings there are of each verdict, and how many intervals exclude 0."""
    table = forest_rows(table)
    counts = table["verdict"].value_counts()
    known = table.dropna(subset="low")
    aside = int(((known["low"] > 0) | (known["high"] < 0)).sum())
    verdicts = listed([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts])
    return [
        f"{counted(len(table), 'effect')} in points: {verdicts}. "
        f"{aside} of {len(known)} intervals exclude 0, each by itself."
    ]


DECOMPOSITION = Drawing(
    name="decomposition",
    title="Compute and pixels",
    says="what resolution gains by the compute alone, and what the finer images add",
    select=decomposition_rows,
    draw=decomposition_figure,
    found=decomposition_found,
    listed=False,
    place=7,
    folds=True,
)
OUTCOMES = Drawing(
    name="expected",
    title="What was expected, and what the judge said",
    says="findings whose truth was known or predicted before training, with intervals",
    select=expected_rows,
    draw=forest_figure,
    found=expected_found,
    listed=False,
    place=8,
)
FOREST = Drawing(
    name="findings",
    title="Findings, forest plot",
    says="what the runs say of each claim, with intervals",
    select=forest_rows,
    draw=forest_figure,
    found=forest_found,
    listed=False,  # its rows say all that a table would
)
# Figures of findings, in the order of the report.
OF_FINDINGS = (OUTCOMES, DECOMPOSITION, FOREST)
