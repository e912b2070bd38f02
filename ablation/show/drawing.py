"""The parts that figures are made of: one colour a rule, one axis of cost, intervals, panels, and the line
below that says what is shown."""

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ablation.judge.frame import ARM
from ablation.judge.paper import Line
from ablation.runs.files import replacing, write_text
from ablation.show.words import as_csv, legend, percent

FLOPS = "FLOPs (multiply-adds)"

# Columns of a summary that say what a network costs, as axes name them.
COSTS = {
    "macs": FLOPS,
    "activations": "activations (elements)",
    "params": "parameters",
    "step_bytes": "memory of a step (bytes)",
    "step_seconds": "time of a step (s)",
}

# One colour and one marker for a rule everywhere; Okabe and Ito's palette, told apart by colour-blind readers
# and in grey by the marker.
PALETTE = {
    "width": ("#0072B2", "o"),
    "depth": ("#D55E00", "s"),
    "resolution": ("#009E73", "^"),
    "compound": ("#000000", "D"),
    "fitted": ("#882255", "X"),
    "dw": ("#CC79A7", "v"),
    "dr": ("#E69F00", "<"),
    "wr": ("#56B4E9", ">"),
    "dWr": ("#7F7F7F", "P"),
}
# As many as a check of the star has neighbours; Tol's muted and light colours.
SPARE = [
    *[("#332288", "*"), ("#999933", "h"), ("#44AA99", "p"), ("#AA4499", "d")],
    *[("#661100", "8"), ("#6699CC", ">"), ("#DDCC77", "H"), ("#AA4466", "<")],
]
# A label that a curve may cross.
BEHIND = {
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.8,
    "pad": 0.5,
}
GREY = "0.65"  # the paper's points


def look(rule: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """(colour, marker) of a rule; a rule of the user's own takes a spare one, by its place among `others`."""
    own = [name for name in others if name not in PALETTE]
    return PALETTE.get(rule) or SPARE[own.index(rule) % len(SPARE) if rule in own else 0]


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, for the time of drawing; reproducible SVG."""
    settings = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.95)
    ours = {
        "svg.hashsalt": "ablation",
        "svg.fonttype": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#E5E5E5",
        "text.parse_math": False,  # a name with $ in it is a name
    }
    with matplotlib.rc_context(settings | ours), warnings.catch_warnings():
        # A letter that no font of this machine has is a box in the PNG and itself in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def panels(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) of each baseline and setting of a table; the title names what differs."""
    differs = [name for name in ("baseline", "setting") if table[name].nunique() > 1]
    if not differs:
        return [("", table)]
    return [
        (", ".join(filter(None, key)), rows) for key, rows in table.groupby(differs, sort=False)
    ]


def over_seeds(values: pd.DataFrame, of: str, each: str, rows: pd.DataFrame) -> pd.DataFrame:
    """For each network and each value of a column `each`, the column `of`: its mean over seeds (`mean`) with
    the least and the most (`low`, `high`), beside what the rows of a summary say of the network."""
    network = [*ARM, "cost"]
    found = values.groupby([*network, each], sort=False)[of].agg(mean="mean", low="min", high="max")
    about = rows[[*network, "macs", "n", "diverged", "missing", "split"]]
    return found.reset_index().merge(about, on=network)


def row_of_panels(count: int, width: float = 5.6, height: float = 4.8) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes side by side that share their range of accuracy, and room for a legend at
    the right."""
    figure = Figure(figsize=(min(width, 15 / count) * count + 2.6, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def curve(
    ax: Axes,
    rows: pd.DataFrame,
    rule: str,
    label: str | None = None,
    others: Sequence[str] = (),
    x: str = "macs",
) -> None:
    """A rule's means over a cost, joined, with interval bars."""
    rows = rows.sort_values(x)
    colour, marker = look(rule, others)
    ax.plot(rows[x], percent(rows["mean"]), color=colour, linewidth=1.6)
    bars(ax, rows[x], rows, colour, marker, label)


def bars(
    ax: Axes,
    x: Sequence[float],
    rows: pd.DataFrame,
    colour: str,
    marker: str,
    label: str | None = None,
) -> None:
    """Means with 95 % intervals, in per cent; no bar where one seed gives no interval."""
    spread = [
        percent(rows["mean"] - rows["low"]).fillna(0),
        percent(rows["high"] - rows["mean"]).fillna(0),
    ]
    ax.errorbar(
        x,
        percent(rows["mean"]),
        yerr=spread,
        fmt=marker,
        color=colour,
        markersize=7,
        capsize=3.5,
        elinewidth=1.3,
        label=label and legend(label),
        zorder=3,
    )


def printed(
    ax: Axes, line: Line, rows: pd.DataFrame, marker: str, reference: Line | None = None
) -> bool:
    """The paper's points of one line in grey, where they lie on ours (see `moved`); whether they do."""
    x, y = moved(line, rows, reference)
    if x:
        dashed = {"color": GREY, "marker": marker, "markersize": 4, "linestyle": "--"}
        ax.plot(x, y, linewidth=1, zorder=1, **dashed)
    return bool(x)


def moved(
    line: Line, rows: pd.DataFrame, reference: Line | None = None
) -> tuple[list[float], list[float]]:
    """(FLOPs, accuracies in per cent) of the paper's points of one line, moved so that its baseline lies on
    ours: a multiple of FLOPs stays one, and a point a point, up to 100 %.

    reference: the paper's line that starts at its baseline, where `line` does not. None where our own
    baseline is not among `rows`, or labels were shuffled.
    """
    meant = rows[rows["chance"].isna()] if "chance" in rows else rows
    meant = meant.dropna(subset="mean")
    ours = meant[np.isclose(meant["depth"] * meant["width"] * meant["resolution"], 1)]
    if ours.empty:
        return [], []
    _, gflops, top1 = (reference or line)[0]
    x = [float(ours["macs"].iloc[0] * point[1] / gflops) for point in line]
    y = [float(percent(ours["mean"].iloc[0]) + point[2] - top1) for point in line]
    return _up_to_all(x, y)


def _up_to_all(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """A line as far as 100 %, beyond which no accuracy lies."""
    for place, (below, above) in enumerate(itertools.pairwise(y)):
        if above > 100:
            share = max(100 - below, 0) / (above - below)
            end = x[place] * (x[place + 1] / x[place]) ** share
            return [*x[: place + 1], end], [*y[: place + 1], 100.0]
    return x, y


def key(ax: Axes, title: str, paper: bool = False) -> None:
    """A legend outside the axes, where it hides no point; `paper` adds the grey line's entry."""
    if paper:
        ax.plot(
            [],
            [],
            color=GREY,
            linestyle="--",
            marker=".",
            label="the paper, ImageNet,\nits baseline on ours",
        )
    ax.legend(title=title, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), alignment="left")


def annotate(ax: Axes, row: object, text: str) -> None:
    """A small label beside a point."""
    ax.annotate(
        text,
        (row.macs, percent(row.mean)),
        xytext=(7, -12),
        textcoords="offset points",
        fontsize=9,
        color="0.25",
        bbox=BEHIND,
        zorder=4,
    )  # type: ignore[attr-defined]


def cost_axis(ax: Axes, values: pd.Series, label: str) -> None:
    """A logarithmic cost with ticks at doublings of the smallest value shown, and room for labels."""
    least, most = values.min(), values.max()
    ax.set_xscale("log")
    ticks_at_doublings(ax.xaxis, least, most)
    ax.set_xlim(least / 1.15, most * 1.3)
    ax.set_xlabel(label)


def ticks_at_doublings(axis: Axis, least: float, most: float) -> None:
    """Ticks of a logarithmic axis at doublings of the least value, as many as fit."""
    doublings = math.floor(math.log2(most / least) + 0.15)
    axis.set_ticks(least * 2.0 ** np.arange(0, doublings + 1, 1 + doublings // 5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))


def si(value: float) -> str:
    """1144448 -> 1.14 M, 0.0042 -> 4.2 m."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}".rstrip()
    return f"{value:.3g}"


def accuracy_label(table: pd.DataFrame) -> str:
    """The name of an accuracy axis, with the split that it is of."""
    return f"{table['split'].iloc[0]} accuracy (%)"


def accuracy_range(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """One range of accuracy for what was measured here: the paper's grey lines may leave it."""
    low = percent(table["low"].fillna(table["mean"]).min())
    high = percent(table["high"].fillna(table["mean"]).max())
    room = 0.07 * max(high - low, 1)
    for ax in axes:
        ax.set_ylim(low - room, high + room)


def headed(
    figure: Figure,
    title: str,
    table: pd.DataFrame,
    *notes: str,
    shows: str = "mean over seeds with 95 % t interval",
) -> Figure:
    """Title on top, and below what the points are: data, cost, n, kind of interval, what is missing."""
    figure.suptitle(title, fontweight="bold")
    seeds = sorted(set(table["n"]))
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    without = "no interval: one seed" if seeds[-1] < 2 else "no interval: no spread over seeds"
    shown = shows if table["low"].notna().any() else without
    parts = [f"cost={'/'.join(dict.fromkeys(table['cost']))}", f"{shown}, {n}"]
    parts += [
        f"{name}: {count}" for name in ("diverged", "missing") if (count := int(table[name].sum()))
    ]
    figure.supxlabel(
        "\n".join([*table.attrs.get("note", []), *notes, " · ".join(parts)]),
        fontsize=9,
        color="0.35",
    )
    return figure


# ---------------------------------------------------------------- a figure as one row

LAST = 20  # place of a figure that does not ask for one


def as_it_is(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A figure that shows the rows that it is about."""
    return rows


@dataclass(frozen=True)
class Drawing:
    """A figure: which rows it is about, its table, how that is drawn, what it says in words, and where it
    stands.

    says: what a reader looks for in it. select: summary -> the rows that it is about, None where a study (or
    what is left of it without its missing runs) has none. tabulate: (frame, selected rows with at least one
    run) -> table, by default the rows themselves, None where the runs do not suffice. draw: table -> Figure.
    found: table -> sentences. search: whether it is about a grid search, and about nothing else. place: on
    the page, least first. listed: whether the page shows its table, too. of_images: whether it shows images
    rather than lines. folds: whether its panels can stand one below the other, under their key.
    """

    name: str
    title: str
    says: str
    select: Callable[[pd.DataFrame], pd.DataFrame | None]
    draw: Callable[[pd.DataFrame], Figure]
    found: Callable[[pd.DataFrame], list[str]]
    tabulate: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame | None] = as_it_is
    search: bool = False
    place: int = LAST
    listed: bool = True
    of_images: bool = False
    folds: bool = False


def write(figure_table: pd.DataFrame, drawing: Drawing, folder: Path) -> Path:
    """One figure as PNG, SVG and PDF beside the CSV that it shows; returns the PNG's path."""
    write_text(folder / f"{drawing.name}.csv", as_csv(figure_table))
    with style():
        figure = drawing.draw(figure_table)
        path = folder / f"{drawing.name}.png"
        save(figure, path, dpi=144, metadata={"Software": None})
        figure.set_layout_engine(None)  # where all lies is known by now: else each is drawn twice
        write_text(path.with_suffix(".svg"), svg(figure))
        undated = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        save(figure, path.with_suffix(".pdf"), metadata=undated)
    return path


def svg(figure: Figure) -> str:
    """A figure as SVG, with the frames that it clips to numbered in order: matplotlib names them by the last
    bits of a layout, which differ from one time to the next. Places are written to a hundredth of a point,
    which makes the file a seventh smaller."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    frames = dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', text))
    places = {name: f"frame{place}" for place, name in enumerate(frames)}
    numbered = re.sub(r"\bp[0-9a-f]{10}\b", lambda found: places.get(found[0], found[0]), text)
    unturned = re.sub(r' transform="rotate\(-0 [^"]+"', "", numbered)
    return re.sub(r' (?:d|x|y)="[^"]+"', lambda found: _rounded(found[0]), unturned)


def _rounded(text: str) -> str:
    """Its numbers with two decimals at most."""
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{round(float(found[0]), 2):g}", text)


def save(figure: Figure, path: Path, **how: Any) -> Path:
    """A figure in its place, atomically, in the format of its suffix; raises OSError, see `replacing`."""
    with replacing(path, "results") as file:
        figure.savefig(file, format=path.suffix[1:], **how)
    return path
