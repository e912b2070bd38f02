"""Figures of comparisons: each selects the rows of a summary that it is about, makes its table from them, and
draws the table."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablation.judge.contrasts import Sample
from ablation.judge.frame import rules_of, sample
from ablation.judge.paper import FIGURE_3, FIGURE_4, FIGURE_8
from ablation.show.drawing import (
    COSTS,
    FLOPS,
    PALETTE,
    SPARE,
    Drawing,
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
from ablation.show.words import (
    ends,
    first_and_last,
    in_panel,
    in_points,
    largest,
    percent,
    ranked,
    side,
    sides,
)
from ablation.theory.matching import TOLERANCE
from ablation.theory.scaling import SINGLE

BLUE, _ = PALETTE["width"]


def curves_of(summary: pd.DataFrame, rules: Sequence[str]) -> pd.DataFrame | None:
    """Rows of these rules in the order of cost; None unless some rule has a second point."""
    chosen = summary[summary["rule"].isin(rules)]
    if chosen.empty or chosen.groupby(["baseline", "setting", "rule"])["label"].nunique().max() < 2:
        return None
    return chosen.sort_values(["rule", "macs"], kind="stable").reset_index(drop=True)


# ---------------------------------------------------------------- single dimensions (the paper's Fig. 3)


def single_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of the single dimensions; None where there are none."""
    return curves_of(summary, SINGLE)


def single_figure(table: pd.DataFrame) -> Figure:
    """One panel for each dimension, a row of them for each baseline or setting, one range of accuracy."""
    present = [rule for rule in SINGLE if rule in set(table["rule"])]
    parts = panels(table)
    down, across = (len(parts), len(present)) if len(present) > 1 else (1, len(parts))
    figure = Figure(figsize=(max(3.9 * across + 0.6, 6.5), 3.7 * down + 1.1), layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    drawn = []
    for ax, ((title, part), rule) in zip(axes.flat, itertools.product(parts, present), strict=True):
        rows = part[part["rule"] == rule]
        drawn.append(printed(ax, FIGURE_3[rule], rows, look(rule)[1]))
        curve(ax, rows, rule)
        for row in rows.itertuples():
            annotate(ax, row, f"{SINGLE[rule]}={getattr(row, rule):.3g}")
        ax.set_title(f"{title}: {rule} only" if title else f"{rule} only")
        cost_axis(ax, part["macs"], FLOPS)
    for ax in axes[:, 0]:
        ax.set_ylabel(accuracy_label(table))
    accuracy_range(list(axes.flat), table)
    grey = ["grey: the paper's Figure 3 (ImageNet), its baseline on ours"] if any(drawn) else []
    return headed(figure, "Scaling one dimension of the baseline", table, *grey)


def single_found(table: pd.DataFrame) -> list[str]:
    """Of each dimension the smallest and the largest network."""
    found = []
    for title, part in panels(table):
        rows = {rule: part[part["rule"] == rule] for rule in rules_of(part)}
        lines = {
            rule: first_and_last(line.itertuples())
            for rule, line in rows.items()
            if line["macs"].nunique() > 1
        }
        found += [in_panel(title, ends(lines, {rule: rule for rule in lines}))] if lines else []
    return found


# ---------------------------------------------------------------- gain per doubling


def all_curves(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every rule; None where there are none."""
    return curves_of(summary, rules_of(summary))


def gain_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each rule and step along phi: the difference of accuracies per doubling of counted MACs, with the t
    interval of statistics.Sample."""
    runs, places = sample(frame)
    arms = frame.assign(place=places)[frame["rule"].isin(rows["rule"])].drop_duplicates(
        ["baseline", "setting", "cost", "rule", "phi"]
    )
    gains = []
    for names, points in arms.groupby(["baseline", "setting", "cost", "rule"], sort=False):
        named = dict(zip(("baseline", "setting", "cost", "rule"), names, strict=True))
        for small, large in itertools.pairwise(points.sort_values("phi").itertuples()):
            doublings = math.log2(large.macs / small.macs)
            if doublings <= 0 or not min(runs.runs[[small.place, large.place]]):
                continue
            step = {"from_phi": small.phi, "to_phi": large.phi}
            size = {"macs": large.macs, "doublings": doublings}
            gain = _difference(runs, large.place, small.place, doublings)
            gains.append(named | step | size | gain | _faults(frame[places == large.place]))
    return pd.DataFrame(gains).assign(split=rows["split"].iloc[0]) if gains else None


def _difference(runs: Sample, one: int, other: int, doublings: float = 1.0) -> dict[str, Any]:
    """The mean of one network minus another's, per doubling, with its t interval; n: seeds."""
    ends = np.eye(runs.count)[[one, other]]
    found = runs.contrast((ends[0] - ends[1]) / doublings)
    low, high = found.bounds()
    return {"mean": float(found.effect), "low": float(low), "high": float(high), "n": found.n}


def _faults(rows: pd.DataFrame) -> dict[str, int]:
    """Runs that diverged and that are missing."""
    counts = rows.drop_duplicates("run_id")["status"].value_counts()
    return {name: int(counts.get(name, 0)) for name in ("diverged", "missing")}


def gain_figure(table: pd.DataFrame) -> Figure:
    """Gain in points of each step, dimensions side by side; a falling sequence is a diminishing return."""
    parts = panels(table)
    rules = list(dict.fromkeys(table["rule"]))
    figure, axes = row_of_panels(len(parts))
    for ax, (title, part) in zip(axes, parts, strict=True):
        ax.axhline(0, color="0.3", linewidth=1)
        for index, rule in enumerate(rules):
            colour, marker = look(rule, rules)
            rows = part[part["rule"] == rule].sort_values("macs")
            shift = 1 + 0.03 * (index - (len(rules) - 1) / 2)
            # The middle of the step, set aside so that bars do not overlap.
            x = rows["macs"] / 2 ** (rows["doublings"] / 2) * shift
            ax.plot(x, percent(rows["mean"]), color=colour, linewidth=0.8, linestyle=":", zorder=1)
            bars(ax, x, rows, colour, marker, label=rule)
        ax.set_title(title)
        least = part["macs"] / 2 ** part["doublings"]
        cost_axis(ax, pd.concat([least, part["macs"]]), FLOPS)
    axes[0].set_ylabel("accuracy gained per doubling (points)")
    key(axes[-1], "rule")
    return headed(figure, "What the next doubling of FLOPs pays", table)


def gain_found(table: pd.DataFrame) -> list[str]:
    """Of each rule the first step and the last, and on which side of 0 the last one's interval lies."""
    found = []
    for title, part in panels(table):
        told, lies = [], {}
        for rule, rows in part.groupby("rule", sort=False):
            first, last = first_and_last(rows.itertuples())
            steps = [in_points(row) for row in dict.fromkeys((first, last))]
            told.append(f"{rule} {' then '.join(steps)}")
            lies[rule] = side(last.low, last.high, 0.0, 0.0)
        where = sides(lies, "lies above 0", "includes 0", "lies below 0")
        what = "points per doubling of FLOPs, first step then last where there are two"
        found.append(
            in_panel(title, f"the interval of the last step {where}; {what}: {'; '.join(told)}.")
        )
    return found


# ---------------------------------------------------------------- balance (the paper's Fig. 4)


def balance_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Explicit coefficients of which several share depth and resolution and differ in width, at two such
    places or more."""
    chosen = summary[summary["rule"] == "coefficients"]
    if chosen.empty:
        return None
    places = chosen.groupby(["baseline", "setting", "depth", "resolution"])
    chosen = chosen[places["width"].transform("nunique") > 1]
    return (
        curves_of(chosen, ("coefficients",))
        if len(chosen[["depth", "resolution"]].drop_duplicates()) > 1
        else None
    )


def balance_figure(table: pd.DataFrame) -> Figure:
    """Width scaled under several depths and resolutions: one line each."""
    parts = panels(table)
    figure, axes = row_of_panels(len(parts))
    settings = sorted(set(zip(table["depth"], table["resolution"], strict=True)))
    looks = [("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "s"), ("#000000", "D"), *SPARE]
    drawn = []
    for ax, (title, part) in zip(axes, parts, strict=True):
        for (depth, resolution), (colour, marker) in zip(settings, looks, strict=False):
            rows = part[(part["depth"] == depth) & (part["resolution"] == resolution)].sort_values(
                "macs"
            )
            if line := FIGURE_4.get((round(depth, 1), round(resolution, 1))):
                drawn.append(printed(ax, line, part, marker, FIGURE_4[1, 1]))
            ax.plot(rows["macs"], percent(rows["mean"]), color=colour, linewidth=1.6)
            bars(ax, rows["macs"], rows, colour, marker, label=f"d={depth:.3g}, r={resolution:.3g}")
        ax.set_title(title)
        cost_axis(ax, part["macs"], FLOPS)
    axes[0].set_ylabel(accuracy_label(table))
    accuracy_range(axes, table)
    widths = f"{table['width'].min():.3g} to {table['width'].max():.3g}"
    key(axes[-1], f"depth, resolution\n(w = {widths})", paper=any(drawn))
    return headed(figure, "Scaling width under other depths and resolutions", table)


def balance_found(table: pd.DataFrame) -> list[str]:
    """Under each depth and resolution the narrowest and the widest network."""
    found = []
    for title, part in panels(table):
        places = part.groupby(["depth", "resolution"])
        lines = {
            f"d={depth:.3g} r={resolution:.3g}": first_and_last(rows.itertuples())
            for (depth, resolution), rows in places
        }
        found.append(in_panel(title, ends(lines, dict.fromkeys(lines, "width"))))
    return found


# ---------------------------------------------------------------- compound against single dimensions (the
# paper's Fig. 8)


def compound_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every rule where there are several to compare; else None."""
    rules = rules_of(summary)
    return curves_of(summary, rules) if len(rules) > 1 else None


def compound_figure(table: pd.DataFrame) -> Figure:
    """All rules on one logarithmic axis of cost, one panel for each baseline or setting."""
    parts, rules = panels(table), rules_of(table)
    figure, axes = row_of_panels(len(parts))
    drawn = []
    for ax, (title, part) in zip(axes, parts, strict=True):
        for rule in rules:
            rows = part[part["rule"] == rule]
            if rule in FIGURE_8:
                drawn.append(printed(ax, FIGURE_8[rule], rows, look(rule)[1]))
            curve(ax, rows, rule, label=rule, others=rules)
        ax.set_title(title)
        cost_axis(ax, part["macs"], FLOPS)
    axes[0].set_ylabel(accuracy_label(table))
    accuracy_range(axes, table)
    key(axes[-1], "rule", paper=any(drawn))
    return headed(figure, "Which way to spend FLOPs", table)


def compound_found(table: pd.DataFrame) -> list[str]:
    """The largest network of each rule, with its cost where these differ."""
    found = []
    for title, part in panels(table):
        rows, least = largest(part), part["macs"].min()
        times = {rule: row.macs / least for rule, row in rows.items()}
        equal = max(times.values()) <= min(times.values()) * (1 + TOLERANCE) / (1 - TOLERANCE)
        named = (
            rows
            if equal
            else {f"{rule} at {times[rule]:.3g} times": row for rule, row in rows.items()}
        )
        where = (
            f"{min(times.values()):.2g} times the FLOPs of the smallest network"
            if equal
            else "multiples of the smallest network's FLOPs"
        )
        found.append(in_panel(title, f"at {where} {ranked(named)}"))
    return found


# ---------------------------------------------------------------- other axes of cost


def axes_figure(table: pd.DataFrame) -> Figure:
    """The same means over each cost that was counted or measured: a rule that is ahead on one may not be on
    another."""
    table = panels(table)[0][1]
    rules = rules_of(table)
    costs = [name for name in COSTS if name in table and table[name].notna().all()]
    figure, axes = row_of_panels(len(costs), width=4)
    for ax, name in zip(axes, costs, strict=True):
        for rule in rules:
            curve(ax, table[table["rule"] == rule], rule, label=rule, others=rules, x=name)
        cost_axis(ax, table[name], COSTS[name])
    axes[0].set_ylabel(accuracy_label(table))
    key(axes[-1], "rule")
    devices = table["step_device"].dropna().unique() if "step_device" in table else []
    notes = [
        f"a training step of the network alone: {device}, batch as in the recipe"
        for device in devices
    ]
    return headed(figure, "The same accuracies against other costs", table, *notes)


def axes_found(table: pd.DataFrame) -> list[str]:
    """How far the largest networks of the rules are apart on each axis."""
    _, part = panels(table)[0]
    rows, told = largest(part).items(), []
    for column in (column for column in COSTS if column in part and part[column].notna().all()):
        (cheap, least), (dear, most) = (
            pick(rows, key=lambda item: getattr(item[1], column)) for pick in (min, max)
        )
        ratio = getattr(most, column) / getattr(least, column)
        told.append(
            f"{COSTS[column]} "
            + (f"{ratio:.2f} times ({dear} over {cheap})" if ratio >= 1.005 else "the same")
        )
    how = (
        "counted, but time and memory, which are measured;"
        if "step_seconds" in part
        else "counted,"
    )
    return [
        f"The costliest over the cheapest of the rules' largest networks: {', '.join(told)}; {how} without "
        "intervals."
    ]


# ---------------------------------------------------------------- baselines of different sides


def lead_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Compound and single dimensions from baselines that differ in their sides; None for a study without
    them."""
    rows = compound_rows(summary[summary["rule"].isin(["compound", *SINGLE])])
    if rows is None or not 1 < _sides(rows).nunique() == rows["baseline"].nunique():
        return None
    return rows


def _sides(rows: pd.DataFrame) -> pd.Series:
    """Side in pixels of the baseline that each network was scaled from."""
    return (rows["pixels"] / rows["resolution"]).round().astype(int)


def lead_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """By how much compound is ahead of each single dimension at each phi from each baseline, beside the
    baseline's side in pixels: the difference of mean accuracies, with the t interval of statistics.Sample."""
    runs, places = sample(frame)
    arms = frame.assign(place=places, side=_sides(frame))
    arms = arms[arms["rule"].isin(rows["rule"]) & (arms["phi"] > 0)]
    scope = ["baseline", "setting", "cost", "phi"]
    leads = []
    for names, points in arms.drop_duplicates([*scope, "rule"]).groupby(scope, sort=False):
        by_rule = {row.rule: row for row in points.itertuples()}
        own = by_rule.pop("compound", None)
        for rule, rival in by_rule.items():
            if own is None or not min(runs.runs[[own.place, rival.place]]):
                continue
            about = dict(zip(scope, names, strict=True)) | {"side": own.side, "against": rule}
            lead = _difference(runs, own.place, rival.place)
            faults = _faults(frame[places.isin([own.place, rival.place])])
            leads.append(about | lead | faults)
    return pd.DataFrame(leads).assign(split=rows["split"].iloc[0]) if leads else None


def lead_figure(table: pd.DataFrame) -> Figure:
    """Compound's lead against the side of the baseline's input, a panel for each cost."""
    costs = list(table.groupby("phi"))
    rivals = list(dict.fromkeys(table["against"]))
    figure, axes = row_of_panels(len(costs))
    for ax, (phi, part) in zip(axes, costs, strict=True):
        ax.axhline(0, color="0.3", linewidth=1)
        for index, rule in enumerate(rivals):
            rows = part[part["against"] == rule].sort_values("side")
            colour, marker = look(rule, rivals)
            x = rows["side"] + 0.4 * (index - (len(rivals) - 1) / 2)
            ax.plot(x, percent(rows["mean"]), color=colour, linewidth=0.8, linestyle=":", zorder=1)
            bars(ax, x, rows, colour, marker, label=rule)
        ax.set_title(f"at {2**phi:.3g} times the baseline's FLOPs")
        ax.set_xticks(sorted(set(table["side"])))
        ax.set_xlabel("the baseline's input side (px)")
    axes[0].set_ylabel("compound's lead (points)")
    key(axes[-1], "against")
    return headed(figure, "Compound's lead, by what the baseline sees", table)


def lead_found(table: pd.DataFrame) -> list[str]:
    """At each cost and against each single dimension the lead from each side."""
    found = []
    for (phi, rule), rows in table.groupby(["phi", "against"], sort=False):
        ordered = rows.sort_values("side").itertuples()
        told = ", ".join(f"{in_points(row)} from {row.side} px" for row in ordered)
        found.append(f"at {2**phi:.3g} times the FLOPs compound leads {rule} by {told} (points).")
    return found


# ---------------------------------------------------------------- the same study under other conditions


def settings_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """The largest point of each rule under each setting; None for a study with one setting."""
    chosen = summary[summary["rule"].isin(rules_of(summary)) & (summary["phi"] > 0)]
    if chosen["setting"].nunique() < 2:
        return None
    largest = chosen.groupby(["baseline", "setting", "rule"])["phi"].transform("max")
    return chosen[chosen["phi"] == largest].reset_index(drop=True)


def settings_figure(table: pd.DataFrame) -> Figure:
    """Each rule's largest point under each setting: where lines cross, the ranking depends on the setting."""
    rules = rules_of(table)
    settings = list(dict.fromkeys(table["setting"]))
    figure, [ax] = row_of_panels(1, width=1.5 * len(settings) + 3)
    for index, rule in enumerate(rules):
        rows = table[table["rule"] == rule]
        colour, marker = look(rule, rules)
        shift = 0.08 * (index - (len(rules) - 1) / 2)
        x = [settings.index(name) + shift for name in rows["setting"]]
        # A gap where a setting leaves the rule out.
        means = rows.set_index("setting")["mean"].reindex(settings)
        places = [place + shift for place in range(len(settings))]
        ax.plot(places, percent(means), color=colour, linewidth=0.8, linestyle=":", zorder=1)
        bars(ax, x, rows, colour, marker, label=rule)
    ax.set_xticks(range(len(settings)), [name.replace(", ", "\n") for name in settings])
    ax.grid(axis="x", visible=False)
    ax.set_xlabel("setting")
    ax.set_ylabel(accuracy_label(table))
    key(ax, "rule")
    return headed(
        figure,
        f"Largest point of each rule (phi = {table['phi'].max():.3g}) under other settings",
        table,
    )


def settings_found(table: pd.DataFrame) -> list[str]:
    """The ranking under each setting."""
    return [
        f"{name}: {ranked(largest(rows))}" for name, rows in table.groupby("setting", sort=False)
    ]


# ---------------------------------------------------------------- one network under several settings, ranked


def ranking_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """The one network of each setting where there are several settings, as of a search for a recipe; else
    None."""
    settings = summary["setting"].nunique()
    return summary if 1 < settings == len(summary) else None


def ranking_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """The settings from the highest mean to the lowest, each with the accuracies of its seeds; None without a
    run."""
    known = frame.dropna(subset="accuracy")
    runs = known.groupby("setting", sort=False)["accuracy"].agg(tuple)
    table = rows[rows["n"] > 0].assign(runs=lambda table: table["setting"].map(runs))
    return None if table.empty else table.sort_values("mean", ascending=False, kind="stable")


def ranking_figure(table: pd.DataFrame) -> Figure:
    """A line for each setting: its mean with its interval, and its seeds."""
    figure = Figure(figsize=(8.6, 0.42 * len(table) + 1.7), layout="constrained")
    ax = figure.subplots()
    for y, row in enumerate(table.itertuples()):
        ax.plot(percent(np.array(row.runs)), [y] * len(row.runs), "|", color="0.55", markersize=9)
        if row.low == row.low:
            ax.hlines(y, percent(row.low), percent(row.high), color=BLUE, linewidth=1.6)
        ax.plot(percent(row.mean), y, "o", color=BLUE, markersize=7, zorder=3)
    ax.set_yticks(range(len(table)), table["setting"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlabel(accuracy_label(table))
    ax.grid(axis="y", visible=False)
    shows = "point: mean over seeds, with 95 % t interval; strokes: seeds"
    return headed(figure, "Which setting is highest", table, shows=shows)


def ranking_found(table: pd.DataFrame) -> list[str]:
    """The settings in order, and how the highest interval lies."""
    return [in_panel("", ranked({row.setting: row for row in table.itertuples()}))]


# ---------------------------------------------------------------- the figures, in the order of the report

COMPARISONS = (
    Drawing(
        name="single",
        title="Single dimensions (Fig. 3)",
        says="each dimension alone: does its curve flatten?",
        select=single_rows,
        draw=single_figure,
        found=single_found,
        place=5,
        folds=True,
    ),
    Drawing(
        name="gain",
        title="Gain per doubling",
        says="points gained by each doubling: does the next one pay less?",
        select=all_curves,
        tabulate=gain_table,
        draw=gain_figure,
        found=gain_found,
        folds=True,
    ),
    Drawing(
        name="balance",
        title="Balance (Fig. 4)",
        says="width under other depths and resolutions: does it pay more there?",
        select=balance_rows,
        draw=balance_figure,
        found=balance_found,
        place=4,
        folds=True,
    ),
    Drawing(
        name="compound",
        title="Compound against single (Fig. 8)",
        says="all rules at equal cost: which is ahead?",
        select=compound_rows,
        draw=compound_figure,
        found=compound_found,
        place=1,
        folds=True,
    ),
    Drawing(
        name="lead",
        title="Compound's lead from baselines of several sides",
        says="does compound gain on single dimensions where the baseline sees more?",
        select=lead_rows,
        tabulate=lead_table,
        draw=lead_figure,
        found=lead_found,
        place=9,
        folds=True,
    ),
    Drawing(
        name="axes",
        title="Other axes of cost",
        says="the same accuracies against activations, parameters, memory and time",
        select=compound_rows,
        draw=axes_figure,
        found=axes_found,
        listed=False,  # its rows are those of the comparison above
    ),
    Drawing(
        name="settings",
        title="Other settings",
        says="the largest points under other settings: does the ranking hold?",
        select=settings_rows,
        draw=settings_figure,
        found=settings_found,
        folds=True,
    ),
    Drawing(
        name="ranking",
        title="Ranking",
        says="one network under each setting: which is highest?",
        select=ranking_rows,
        tabulate=ranking_table,
        draw=ranking_figure,
        found=ranking_found,
        place=6,
        folds=True,
    ),
)
