"""Figures: each a pair of pure functions, summary -> the table it shows (None where no record answers) and table -> Figure."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ablation.statistics import interval, pooled

FLOPS = "FLOPs (multiply-adds)"
SINGLE = ("width", "depth", "resolution")
LETTER = {"width": "w", "depth": "d", "resolution": "r"}

# One colour and one marker for a rule everywhere; Okabe and Ito's palette, told apart by colour-blind readers and in grey by the marker.
PALETTE = {
    "width": ("#0072B2", "o"),
    "depth": ("#D55E00", "s"),
    "resolution": ("#009E73", "^"),
    "compound": ("#000000", "D"),
    "dw": ("#CC79A7", "v"),
    "dr": ("#E69F00", "<"),
    "wr": ("#56B4E9", ">"),
    "dWr": ("#7F7F7F", "P"),
}
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # behind a label that a curve may cross
SPARE = [("#882255", "X"), ("#332288", "*"), ("#999933", "h"), ("#44AA99", "p")]


def look(rule: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """(colour, marker) of a rule; a rule of the user's own takes a spare one, by its place among `others`."""
    own = [name for name in others if name not in PALETTE]
    return PALETTE.get(rule) or SPARE[own.index(rule) % len(SPARE) if rule in own else 0]


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, for the time of drawing; reproducible SVG."""
    settings = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.95)
    ours = {"svg.hashsalt": "ablation", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#E5E5E5"}
    with matplotlib.rc_context(settings | ours):
        yield


@dataclass(frozen=True)
class Drawing:
    """A figure of the report. says: what a reader looks for in it. tabulate: (frame, summary) -> table or None."""

    name: str
    title: str
    says: str
    tabulate: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame | None]
    draw: Callable[[pd.DataFrame], Figure]


def measured(summary: pd.DataFrame, rules: Sequence[str]) -> pd.DataFrame | None:
    """Rows of these rules with at least one run, in the order of cost; None unless some rule has a point besides the baseline."""
    chosen = summary[summary["rule"].isin(rules) & (summary["n"] > 0)]
    if chosen.empty or chosen["macs"].nunique() < 2:
        return None
    return chosen.sort_values(["rule", "macs"], kind="stable").reset_index(drop=True)


# ---------------------------------------------------------------- single dimensions (the paper's Fig. 3)


def single_table(frame: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame | None:
    return measured(summary, SINGLE)


def single_figure(table: pd.DataFrame) -> Figure:
    """One panel for each dimension, one range of accuracy."""
    present = [rule for rule in SINGLE if rule in set(table["rule"])]
    figure = Figure(figsize=(3.9 * len(present) + 0.6, 4.4), layout="constrained")
    axes = figure.subplots(1, len(present), sharey=True, sharex=True, squeeze=False)[0]
    for ax, rule in zip(axes, present, strict=True):
        rows = table[table["rule"] == rule]
        curve(ax, rows, rule)
        for row in rows.itertuples():
            annotate(ax, row, f"{LETTER[rule]}={getattr(row, rule):.3g}")
        ax.set_title(f"{rule} only")
        flops_axis(ax, table)
    axes[0].set_ylabel(accuracy_label(table))
    return headed(figure, "Scaling one dimension of the baseline", table)


# ---------------------------------------------------------------- gain per doubling


def gain_table(frame: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame | None:
    """For each rule and step along phi: mean paired difference over seeds per doubling of counted MACs, with a t interval whose
    variance is pooled over the steps of all rules."""
    known = frame[frame["accuracy"].notna() & frame["phi"].notna()]
    steps = []
    for rule, rows in known.groupby("rule", sort=False):
        by_phi = {phi: group.set_index("seed") for phi, group in rows.groupby("phi")}
        for low, high in zip(sorted(by_phi), sorted(by_phi)[1:], strict=False):
            doublings = math.log2(by_phi[high]["macs"].iloc[0] / by_phi[low]["macs"].iloc[0])
            if doublings > 0:
                gain = ((by_phi[high]["accuracy"] - by_phi[low]["accuracy"]) / doublings).dropna().to_numpy(float)
                steps.append(({"rule": rule, "from_phi": low, "to_phi": high, "macs": by_phi[high]["macs"].iloc[0], "doublings": doublings}, gain))
    steps = [step for step in steps if len(step[1])]
    if not steps:
        return None
    spread = pooled([gain for _, gain in steps])
    rows = []
    for step, gain in steps:
        middle = interval(gain, spread)
        faults = frame[(frame["rule"] == step["rule"]) & (frame["phi"] == step["to_phi"])]["status"].value_counts()
        counts = {name: int(faults.get(name, 0)) for name in ("diverged", "missing")}
        rows.append(step | {"mean": middle.mean, "low": middle.low, "high": middle.high, "n": middle.n} | counts)
    shared = {name: summary[name].iloc[0] for name in ("cost", "split")}
    return pd.DataFrame(rows).assign(**shared)


def gain_figure(table: pd.DataFrame) -> Figure:
    """Gain in points of each step, dimensions side by side; a falling sequence is a diminishing return."""
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    ax = figure.subplots()
    steps = sorted(set(zip(table["from_phi"], table["to_phi"], strict=True)))
    rules = list(dict.fromkeys(table["rule"]))
    ax.axhline(0, color="0.3", linewidth=1)
    for index, rule in enumerate(rules):
        colour, marker = look(rule, rules)
        rows = table[table["rule"] == rule]
        x = [steps.index(step) + (index - (len(rules) - 1) / 2) * 0.16 for step in zip(rows["from_phi"], rows["to_phi"], strict=True)]
        ax.plot(x, 100 * rows["mean"], color=colour, linewidth=0.8, linestyle=":", zorder=1)
        bars(ax, x, rows, colour, marker, label=rule)
    ax.set_xticks(range(len(steps)), [f"{2**low:.3g}x to {2**high:.3g}x" for low, high in steps])
    ax.set_xlim(-0.5, len(steps) - 0.5)
    ax.set_xlabel("budget, multiples of the baseline's FLOPs")
    ax.set_ylabel("accuracy per doubling (points)")
    ax.grid(axis="x", visible=False)
    beside(ax, "rule")
    return headed(figure, "What the next doubling of FLOPs pays", table)


# ---------------------------------------------------------------- balance (the paper's Fig. 4)


def balance_table(frame: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame | None:
    return measured(summary, ("coefficients",))


def balance_figure(table: pd.DataFrame) -> Figure:
    """Width scaled under several depths and resolutions: one line each."""
    figure = Figure(figsize=(8.2, 5.0), layout="constrained")
    ax = figure.subplots()
    settings = sorted(set(zip(table["depth"], table["resolution"], strict=True)))
    looks = [("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "s"), ("#000000", "D"), *SPARE]
    for (depth, resolution), (colour, marker) in zip(settings, looks, strict=False):
        rows = table[(table["depth"] == depth) & (table["resolution"] == resolution)].sort_values("macs")
        ax.plot(rows["macs"], 100 * rows["mean"], color=colour, linewidth=1.6)
        bars(ax, rows["macs"], rows, colour, marker, label=f"d={depth:.3g}, r={resolution:.3g}")
        for row in rows.itertuples():
            annotate(ax, row, f"w={row.width:.3g}")
    flops_axis(ax, table)
    ax.set_ylabel(accuracy_label(table))
    beside(ax, "depth, resolution")
    return headed(figure, "Scaling width under other depths and resolutions", table)


# ---------------------------------------------------------------- compound against single dimensions (the paper's Fig. 8)


def compound_table(frame: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame | None:
    rules = [rule for rule in dict.fromkeys(summary["rule"]) if rule != "coefficients" and not rule.startswith("published")]
    return measured(summary, rules) if len(rules) > 1 else None


def compound_figure(table: pd.DataFrame) -> Figure:
    """All rules on one logarithmic axis of cost."""
    figure = Figure(figsize=(8.2, 5.0), layout="constrained")
    ax = figure.subplots()
    order = [*SINGLE, *sorted(set(table["rule"]) - set(SINGLE))]
    for rule in order:
        rows = table[table["rule"] == rule]
        if len(rows):
            curve(ax, rows, rule, label=rule, others=order)
    flops_axis(ax, table)
    ax.set_ylabel(accuracy_label(table))
    beside(ax, "rule")
    return headed(figure, "Which way to spend FLOPs", table)


DRAWINGS = (
    Drawing("single", "Single dimensions (Fig. 3)", "each dimension alone: does its curve flatten?", single_table, single_figure),
    Drawing("gain", "Gain per doubling", "points gained by each doubling: does the next one pay less?", gain_table, gain_figure),
    Drawing("balance", "Balance (Fig. 4)", "width under other depths and resolutions: does it pay more there?", balance_table, balance_figure),
    Drawing("compound", "Compound against single (Fig. 8)", "all rules at equal cost: which is ahead?", compound_table, compound_figure),
)


# ---------------------------------------------------------------- parts


def curve(ax: Axes, rows: pd.DataFrame, rule: str, label: str | None = None, others: Sequence[str] = ()) -> None:
    """A rule's means over FLOPs, joined, with interval bars."""
    rows = rows.sort_values("macs")
    colour, marker = look(rule, others)
    ax.plot(rows["macs"], 100 * rows["mean"], color=colour, linewidth=1.6)
    bars(ax, rows["macs"], rows, colour, marker, label)


def bars(ax: Axes, x: Sequence[float], rows: pd.DataFrame, colour: str, marker: str, label: str | None = None) -> None:
    """Means with 95 % intervals, in per cent; no bar where one seed gives no interval."""
    spread = [100 * (rows["mean"] - rows["low"]).fillna(0), 100 * (rows["high"] - rows["mean"]).fillna(0)]
    ax.errorbar(x, 100 * rows["mean"], yerr=spread, fmt=marker, color=colour, markersize=7, capsize=3.5, elinewidth=1.3, label=label, zorder=3)


def beside(ax: Axes, title: str) -> None:
    """A legend outside the axes, where it hides no point."""
    ax.legend(title=title, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), alignment="left")


def annotate(ax: Axes, row: object, text: str) -> None:
    """A small label beside a point."""
    ax.annotate(text, (row.macs, 100 * row.mean), xytext=(7, -12), textcoords="offset points", fontsize=9, color="0.25", bbox=PAPER, zorder=4)  # type: ignore[attr-defined]


def flops_axis(ax: Axes, table: pd.DataFrame) -> None:
    """Logarithmic FLOPs with ticks at doublings of the smallest cost shown, and room for labels."""
    least, most = table["macs"].min(), table["macs"].max()
    ticks = least * 2.0 ** np.arange(0, math.floor(math.log2(most / least) + 0.15) + 1)
    ax.set_xscale("log")
    ax.set_xticks(ticks)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    ax.set_xlim(least / 1.15, most * 1.3)
    ax.set_xlabel(FLOPS)


def si(value: float) -> str:
    """1144448 -> 1.14 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def accuracy_label(table: pd.DataFrame) -> str:
    return f"{table['split'].iloc[0]} accuracy (%)"


def headed(figure: Figure, title: str, table: pd.DataFrame) -> Figure:
    """Title on top, and below what the points are: cost, n, kind of interval, what is missing."""
    figure.suptitle(title, fontweight="bold")
    seeds = sorted(set(table["n"]))
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    shown = "mean over seeds with 95 % t interval (seed variance pooled)" if table["low"].notna().any() else "one seed, so no interval"
    parts = [f"cost={'/'.join(dict.fromkeys(table['cost']))}", f"{shown}, {n}"]
    parts += [f"{count} runs {name}" for name in ("diverged", "missing") if (count := int(table[name].sum()))]
    figure.supxlabel("\n".join([*table.attrs.get("note", []), " · ".join(parts)]), fontsize=9, color="0.35")
    return figure
