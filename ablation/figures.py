"""Figures of comparisons: each selects the rows of a summary that it is about, makes its table from them, and draws the table."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablation.drawing import (
    COSTS,
    FLOPS,
    SPARE,
    accuracy_label,
    accuracy_range,
    annotate,
    bars,
    cost_axis,
    curve,
    headed,
    key,
    look,
    panels,
    printed,
    row_of_panels,
    style,
)
from ablation.findings import CONTRADICTED, EQUIVALENT, INCONCLUSIVE, MARGIN, NO_VERDICT, SUPPORTED
from ablation.frame import sample
from ablation.paper import FIGURE_3, FIGURE_4, FIGURE_8
from ablation.scaling import SINGLE


def as_it_is(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A figure that shows the rows that it is about."""
    return rows


@dataclass(frozen=True)
class Drawing:
    """A figure of the report. says: what a reader looks for in it.

    select: summary -> the rows that the figure is about, None where a study (or what is left of it without its missing runs) has none.
    draw: table -> Figure. tabulate: (frame, selected rows with at least one run) -> table, by default the rows themselves, None where
    the runs do not suffice.
    """

    name: str
    title: str
    says: str
    select: Callable[[pd.DataFrame], pd.DataFrame | None]
    draw: Callable[[pd.DataFrame], Figure]
    tabulate: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame | None] = as_it_is


def write(figure_table: pd.DataFrame, drawing: Drawing, folder: Path) -> Path:
    """One figure as PNG and SVG beside the CSV that it shows; returns the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    figure_table.to_csv(folder / f"{drawing.name}.csv", index=False, float_format="%.6g")
    with style():
        figure = drawing.draw(figure_table)
        figure.savefig(folder / f"{drawing.name}.png", dpi=144, metadata={"Software": None})
        figure.savefig(folder / f"{drawing.name}.svg", metadata={"Date": None})
    return folder / f"{drawing.name}.png"


def curves_of(summary: pd.DataFrame, rules: Sequence[str]) -> pd.DataFrame | None:
    """Rows of these rules in the order of cost; None unless some rule has a second point."""
    chosen = summary[summary["rule"].isin(rules)]
    if chosen.empty or chosen.groupby(["baseline", "setting", "rule"])["label"].nunique().max() < 2:
        return None
    return chosen.sort_values(["rule", "macs"], kind="stable").reset_index(drop=True)


def rules_of(summary: pd.DataFrame) -> list[str]:
    """Names of the rules of a study, without explicit coefficients; the single dimensions first."""
    rules = [rule for rule in dict.fromkeys(summary["rule"]) if rule != "coefficients" and not rule.startswith("published")]
    return [*(rule for rule in SINGLE if rule in rules), *(rule for rule in rules if rule not in SINGLE)]


def is_search(summary: pd.DataFrame) -> bool:
    """Many triples at one budget: a grid search."""
    return summary["phi"].nunique() == 1 and summary["alpha"].notna().all() and len(rules_of(summary)) > 8


# ---------------------------------------------------------------- single dimensions (the paper's Fig. 3)


def single_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of the single dimensions; None where there are none."""
    return curves_of(summary, SINGLE)


def single_figure(table: pd.DataFrame) -> Figure:
    """One panel for each dimension, a row of them for each baseline or setting, one range of accuracy."""
    present, parts = [rule for rule in SINGLE if rule in set(table["rule"])], panels(table)
    down, across = (len(parts), len(present)) if len(present) > 1 else (1, len(parts))
    figure = Figure(figsize=(max(3.9 * across + 0.6, 6.5), 3.7 * down + 1.1), layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for ax, ((title, part), rule) in zip(axes.flat, itertools.product(parts, present), strict=True):
        rows = part[part["rule"] == rule]
        printed(ax, FIGURE_3[rule], rows, look(rule)[1])
        curve(ax, rows, rule)
        for row in rows.itertuples():
            annotate(ax, row, f"{SINGLE[rule]}={getattr(row, rule):.3g}")
        ax.set_title(f"{title}: {rule} only" if title else f"{rule} only")
        cost_axis(ax, part["macs"], FLOPS)
    for ax in axes[:, 0]:
        ax.set_ylabel(accuracy_label(table))
    accuracy_range(list(axes.flat), table)
    return headed(figure, "Scaling one dimension of the baseline", table, "grey: the paper's Figure 3 (ImageNet), its baseline on ours")


# ---------------------------------------------------------------- gain per doubling


def all_curves(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every rule; None where there are none."""
    return curves_of(summary, rules_of(summary))


def gain_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each rule and step along phi: the difference of accuracies per doubling of counted MACs, with the t interval of
    statistics.Sample."""
    runs, places = sample(frame)
    arms = frame.assign(place=places)[frame["rule"].isin(rows["rule"])].drop_duplicates(["baseline", "setting", "cost", "rule", "phi"])
    gains = []
    for names, points in arms.groupby(["baseline", "setting", "cost", "rule"], sort=False):
        named = dict(zip(("baseline", "setting", "cost", "rule"), names, strict=True))
        for small, large in itertools.pairwise(points.sort_values("phi").itertuples()):
            doublings = math.log2(large.macs / small.macs)
            if doublings <= 0 or not min(runs.runs[[small.place, large.place]]):
                continue
            ends = np.eye(runs.count)[[small.place, large.place]]
            gain = runs.contrast((ends[1] - ends[0]) / doublings)
            low, high = gain.bounds()
            faults = frame[places == large.place].drop_duplicates("run_id")["status"].value_counts()
            place = {"from_phi": small.phi, "to_phi": large.phi, "macs": large.macs, "doublings": doublings}
            counts = {name: int(faults.get(name, 0)) for name in ("diverged", "missing")}
            gains.append(named | place | {"mean": float(gain.effect), "low": float(low), "high": float(high), "n": gain.n} | counts)
    return pd.DataFrame(gains).assign(split=rows["split"].iloc[0]) if gains else None


def gain_figure(table: pd.DataFrame) -> Figure:
    """Gain in points of each step, dimensions side by side; a falling sequence is a diminishing return."""
    parts, rules = panels(table), list(dict.fromkeys(table["rule"]))
    figure, axes = row_of_panels(len(parts))
    for ax, (title, part) in zip(axes, parts, strict=True):
        ax.axhline(0, color="0.3", linewidth=1)
        for index, rule in enumerate(rules):
            colour, marker = look(rule, rules)
            rows = part[part["rule"] == rule].sort_values("macs")
            shift = 1 + 0.03 * (index - (len(rules) - 1) / 2)
            x = rows["macs"] / 2 ** (rows["doublings"] / 2) * shift  # the middle of the step, set aside so that bars do not overlap
            ax.plot(x, 100 * rows["mean"], color=colour, linewidth=0.8, linestyle=":", zorder=1)
            bars(ax, x, rows, colour, marker, label=rule)
        ax.set_title(title)
        least = part["macs"] / 2 ** part["doublings"]
        cost_axis(ax, pd.concat([least, part["macs"]]), FLOPS)
    axes[0].set_ylabel("accuracy gained per doubling (points)")
    key(axes[-1], "rule")
    return headed(figure, "What the next doubling of FLOPs pays", table)


# ---------------------------------------------------------------- balance (the paper's Fig. 4)


def balance_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Explicit coefficients of which several share depth and resolution and differ in width, at two such places or more."""
    chosen = summary[summary["rule"] == "coefficients"]
    if chosen.empty:
        return None
    places = chosen.groupby(["baseline", "setting", "depth", "resolution"])
    chosen = chosen[places["width"].transform("nunique") > 1]
    return curves_of(chosen, ("coefficients",)) if len(chosen[["depth", "resolution"]].drop_duplicates()) > 1 else None


def balance_figure(table: pd.DataFrame) -> Figure:
    """Width scaled under several depths and resolutions: one line each."""
    parts = panels(table)
    figure, axes = row_of_panels(len(parts))
    settings = sorted(set(zip(table["depth"], table["resolution"], strict=True)))
    looks = [("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "s"), ("#000000", "D"), *SPARE]
    for ax, (title, part) in zip(axes, parts, strict=True):
        for (depth, resolution), (colour, marker) in zip(settings, looks, strict=False):
            rows = part[(part["depth"] == depth) & (part["resolution"] == resolution)].sort_values("macs")
            if line := FIGURE_4.get((round(depth, 1), round(resolution, 1))):
                printed(ax, line, part, marker, FIGURE_4[1, 1])
            ax.plot(rows["macs"], 100 * rows["mean"], color=colour, linewidth=1.6)
            bars(ax, rows["macs"], rows, colour, marker, label=f"d={depth:.3g}, r={resolution:.3g}")
        ax.set_title(title)
        cost_axis(ax, part["macs"], FLOPS)
    axes[0].set_ylabel(accuracy_label(table))
    accuracy_range(axes, table)
    widths = ", ".join(f"{width:.3g}" for width in sorted(set(table["width"].round(3))))
    key(axes[-1], f"depth, resolution\n(w = {widths} along each)", paper=True)
    return headed(figure, "Scaling width under other depths and resolutions", table)


# ---------------------------------------------------------------- compound against single dimensions (the paper's Fig. 8)


def compound_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every rule where there are several to compare; else None."""
    rules = rules_of(summary)
    return curves_of(summary, rules) if len(rules) > 1 else None


def compound_figure(table: pd.DataFrame) -> Figure:
    """All rules on one logarithmic axis of cost, one panel for each baseline or setting."""
    parts, rules = panels(table), rules_of(table)
    figure, axes = row_of_panels(len(parts))
    for ax, (title, part) in zip(axes, parts, strict=True):
        for rule in rules:
            rows = part[part["rule"] == rule]
            if rule in FIGURE_8:
                printed(ax, FIGURE_8[rule], rows, look(rule)[1])
            curve(ax, rows, rule, label=rule, others=rules)
        ax.set_title(title)
        cost_axis(ax, part["macs"], FLOPS)
    axes[0].set_ylabel(accuracy_label(table))
    accuracy_range(axes, table)
    key(axes[-1], "rule", paper=bool(set(rules) & set(FIGURE_8)))
    return headed(figure, "Which way to spend FLOPs", table)


# ---------------------------------------------------------------- other axes of cost


def axes_figure(table: pd.DataFrame) -> Figure:
    """The same means over each cost that was counted or measured: a rule that is ahead on one may not be on another."""
    table = panels(table)[0][1]
    rules, costs = rules_of(table), [name for name in COSTS if name in table and table[name].notna().all()]
    figure, axes = row_of_panels(len(costs), width=4)
    for ax, name in zip(axes, costs, strict=True):
        for rule in rules:
            curve(ax, table[table["rule"] == rule], rule, label=rule, others=rules, x=name)
        cost_axis(ax, table[name], COSTS[name])
    axes[0].set_ylabel(accuracy_label(table))
    key(axes[-1], "rule")
    devices = table["step_device"].dropna().unique() if "step_device" in table else []
    notes = [f"a training step of the network alone: {device}, batch as in the recipe" for device in devices]
    return headed(figure, "The same accuracies against other costs", table, *notes)


# ---------------------------------------------------------------- the same study under other conditions


def settings_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """The largest point of each rule under each setting; None for a study with one setting, or a search."""
    chosen = summary[summary["rule"].isin(rules_of(summary)) & (summary["phi"] > 0)]
    if chosen["setting"].nunique() < 2 or is_search(summary):
        return None
    largest = chosen.groupby(["baseline", "setting", "rule"])["phi"].transform("max")
    return chosen[chosen["phi"] == largest].reset_index(drop=True)


def settings_figure(table: pd.DataFrame) -> Figure:
    """Each rule's largest point under each setting: where lines cross, the ranking depends on the setting."""
    rules, settings = rules_of(table), list(dict.fromkeys(table["setting"]))
    figure, [ax] = row_of_panels(1, width=1.5 * len(settings) + 3)
    for index, rule in enumerate(rules):
        rows = table[table["rule"] == rule]
        colour, marker = look(rule, rules)
        x = [settings.index(name) + 0.08 * (index - (len(rules) - 1) / 2) for name in rows["setting"]]
        ax.plot(x, 100 * rows["mean"], color=colour, linewidth=0.8, linestyle=":", zorder=1)
        bars(ax, x, rows, colour, marker, label=rule)
    ax.set_xticks(range(len(settings)), [name.replace(", ", "\n") for name in settings])
    ax.grid(axis="x", visible=False)
    ax.set_xlabel("setting")
    ax.set_ylabel(accuracy_label(table))
    key(ax, "rule")
    return headed(figure, f"Largest point of each rule (phi = {table['phi'].max():.3g}) under other settings", table)


# ---------------------------------------------------------------- findings

# Told apart by colour-blind readers, and in grey by the marker: a verdict is filled, what is open is not.
LOOKS = {
    SUPPORTED: {"color": "#0072B2", "marker": "o"},
    CONTRADICTED: {"color": "#D55E00", "marker": "X"},
    EQUIVALENT: {"color": "#009E73", "marker": "s"},
    INCONCLUSIVE: {"color": "0.4", "marker": "D", "markerfacecolor": "white"},
    NO_VERDICT: {"color": "0.4", "marker": "o", "markerfacecolor": "white"},
}


def forest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The findings whose effect is in points."""
    return table[table["effect"].notna() & (table["unit"] != "x")]


def forest_figure(table: pd.DataFrame, margin: float = MARGIN) -> Figure:
    """Every finding in points (findings.table) with its interval, one panel for each claim, zero in the middle of all.

    Raises ValueError where there is none.
    """
    table = forest_rows(table)
    if table.empty:
        raise ValueError("no finding has an effect in points: there is nothing to draw")
    groups = list(table.groupby("statement", sort=False))
    scoped = [name for name in ("baseline", "setting", "cost") if table[name].nunique() > 1]
    figure = Figure(figsize=(11.5, 0.27 * len(table) + 0.85 * len(groups) + 1.3), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(rows) + 0.6 for _, rows in groups])[:, 0]
    for ax, (statement, rows) in zip(axes, groups, strict=True):
        _forest_panel(ax, rows, scoped, margin)
        ax.set_title(" ", fontsize=10)  # room for the statement, which starts at the figure's edge
        place, above = ("figure fraction", "axes fraction"), {"xytext": (0, 5), "textcoords": "offset points"}
        ax.annotate(str(statement), (0.01, 1), xycoords=place, fontsize=10, fontweight="bold", color="0.2", annotation_clip=False, **above)
    axes[-1].set_xlabel("effect (points of accuracy)")
    for verdict in (verdict for verdict in LOOKS if verdict in set(table["verdict"])):
        axes[0].plot([], [], linestyle="", label=verdict, **LOOKS[verdict])
    figure.legend(loc="outside upper right", ncols=len(LOOKS), frameon=False)
    ours = f"bars: 95 % t intervals, each by itself; verdicts: Holm over a claim's comparisons; shaded: within {margin:g} points, counted as none"
    figure.supxlabel("\n".join([*table.attrs.get("note", []), ours]), fontsize=9, color="0.35")
    return figure


def _forest_panel(ax: Axes, rows: pd.DataFrame, scoped: Sequence[str], margin: float) -> None:
    """The findings on one claim, from top to bottom."""
    ends = rows[["low", "high"]].abs().stack()
    reach = max(1.2 * rows["effect"].abs().max(), 3 * margin, 1.05 * ends.quantile(0.9) if len(ends) else 0)  # most intervals, not the longest
    ax.axvspan(-margin, margin, color="0.93", zorder=0)
    ax.axvline(0, color="0.3", linewidth=1, zorder=1)
    for y, row in enumerate(rows.itertuples()):
        _forest_row(ax, y, row, reach)
    labels = [", ".join([row["subject"], *(row[name] for name in scoped if row[name])]) for row in rows.to_dict("records")]
    ax.set_yticks(range(len(rows)), labels, fontsize=9.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(-reach, reach)
    ax.tick_params(axis="x", labelsize=9)
    ax.grid(axis="y", visible=False)


def _forest_row(ax: Axes, y: int, row: Any, reach: float) -> None:
    """One effect: its marker, its interval, with an arrow where that leaves the axis, and both as numbers at the right."""
    colour, known = LOOKS[row.verdict]["color"], not math.isnan(row.low)
    if known:
        ax.hlines(y, max(row.low, -reach), min(row.high, reach), color=colour, linewidth=1.5, zorder=2)
        for end, tip in ((row.low, "<"), (row.high, ">")):
            if abs(end) > reach:
                ax.plot(math.copysign(reach, end), y, marker=tip, color=colour, markersize=5, clip_on=False)
    ax.plot(row.effect, y, markersize=6.5, zorder=3, **LOOKS[row.verdict])
    interval = f" ({row.low:+.1f} to {row.high:+.1f})" if known else ""
    ax.annotate(f"{row.effect:+.1f}{interval}, n = {row.n}", (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color="0.25")


FOREST = Drawing("findings", "Findings, forest plot", "what the runs say of each claim, with intervals", forest_rows, forest_figure)

DRAWINGS = (
    Drawing("single", "Single dimensions (Fig. 3)", "each dimension alone: does its curve flatten?", single_rows, single_figure),
    Drawing("gain", "Gain per doubling", "points gained by each doubling: does the next one pay less?", all_curves, gain_figure, gain_table),
    Drawing("balance", "Balance (Fig. 4)", "width under other depths and resolutions: does it pay more there?", balance_rows, balance_figure),
    Drawing("compound", "Compound against single (Fig. 8)", "all rules at equal cost: which is ahead?", compound_rows, compound_figure),
    Drawing("axes", "Other axes of cost", "the same accuracies against activations, parameters, memory and time", compound_rows, axes_figure),
    Drawing("settings", "Other settings", "the largest points under other settings: does the ranking hold?", settings_rows, settings_figure),
)
