"""Figures of comparisons: each selects the rows of a summary that it is about, makes its table from them, and draws the table."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ablation.drawing import (
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
)
from ablation.paper import FIGURE_3, FIGURE_4, FIGURE_8
from ablation.statistics import interval, pooled

SINGLE = ("width", "depth", "resolution")
LETTER = {"width": "w", "depth": "d", "resolution": "r"}


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
            annotate(ax, row, f"{LETTER[rule]}={getattr(row, rule):.3g}")
        ax.set_title(f"{title}: {rule} only" if title else f"{rule} only")
        cost_axis(ax, part["macs"], FLOPS)
    for ax in axes[:, 0]:
        ax.set_ylabel(accuracy_label(table))
    accuracy_range(list(axes.flat), table)
    return headed(figure, "Scaling one dimension of the baseline", table, "grey: the paper's Figure 3 (ImageNet), its baseline on ours")


# ---------------------------------------------------------------- gain per doubling


def all_curves(summary: pd.DataFrame) -> pd.DataFrame | None:
    return curves_of(summary, rules_of(summary))


def gain_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each rule and step along phi: mean paired difference over seeds per doubling of counted MACs, with a t interval whose
    variance is pooled over the steps of all rules."""
    known = frame[frame["accuracy"].notna() & frame["rule"].isin(rows["rule"])]
    steps = []
    for (baseline, setting, cost, rule), points in known.groupby(["baseline", "setting", "cost", "rule"], sort=False):
        named = {"baseline": baseline, "setting": setting, "cost": cost, "rule": rule}
        by_phi = {phi: group.set_index("seed") for phi, group in points.groupby("phi")}
        for low, high in zip(sorted(by_phi), sorted(by_phi)[1:], strict=False):
            doublings = math.log2(by_phi[high]["macs"].iloc[0] / by_phi[low]["macs"].iloc[0])
            if doublings > 0:
                gain = ((by_phi[high]["accuracy"] - by_phi[low]["accuracy"]) / doublings).dropna().to_numpy(float)
                place = {"from_phi": low, "to_phi": high, "macs": by_phi[high]["macs"].iloc[0], "doublings": doublings}
                steps.append((named | place, gain))
    steps = [step for step in steps if len(step[1])]
    if not steps:
        return None
    spread = pooled([gain for _, gain in steps])
    gains = []
    for step, gain in steps:
        middle = interval(gain, spread)
        ends = frame[(frame[["baseline", "setting", "rule", "phi"]] == [step["baseline"], step["setting"], step["rule"], step["to_phi"]]).all(axis=1)]
        counts = {name: int((ends["status"] == name).sum()) for name in ("diverged", "missing")}
        gains.append(step | {"mean": middle.mean, "low": middle.low, "high": middle.high, "n": middle.n} | counts)
    return pd.DataFrame(gains).assign(split=rows["split"].iloc[0])


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

COSTS = {
    "macs": FLOPS,
    "activations": "activations (elements)",
    "params": "parameters",
    "step_bytes": "memory of a step (bytes)",
    "step_seconds": "time of a step (s)",
}


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


DRAWINGS = (
    Drawing("single", "Single dimensions (Fig. 3)", "each dimension alone: does its curve flatten?", single_rows, single_figure),
    Drawing("gain", "Gain per doubling", "points gained by each doubling: does the next one pay less?", all_curves, gain_figure, gain_table),
    Drawing("balance", "Balance (Fig. 4)", "width under other depths and resolutions: does it pay more there?", balance_rows, balance_figure),
    Drawing("compound", "Compound against single (Fig. 8)", "all rules at equal cost: which is ahead?", compound_rows, compound_figure),
    Drawing("axes", "Other axes of cost", "the same accuracies against activations, parameters, memory and time", compound_rows, axes_figure),
    Drawing("settings", "Other settings", "the largest points under other settings: does the ranking hold?", settings_rows, settings_figure),
)
