"""The audit in words: what the paper prints against what its networks cost by our count, and what follows for
its claims."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from tabulate import tabulate

from ablation.judge import printed, recount
from ablation.judge.paper import COMPOUND_LEAD, FIGURE_3, FIGURE_8, TABLE_2, TABLE_2_V1, TABLE_7
from ablation.judge.recount import ABOVE_OWN, AS_PRINTED, ON_B0, READINGS, SINGLE
from ablation.judge.verdicts import NO_VERDICT, VERDICTS
from ablation.show.drawing import FLOPS, GREY, Drawing, cost_axis, look
from ablation.show.words import listed
from ablation.theory.baselines import B0
from ablation.theory.scaling import DIMENSIONS

INTRODUCTION = """\
Tan & Le 2019, "EfficientNet" (arXiv 1905.11946v5), against this project's count of the networks that it
describes. Printed numbers are in `ablation/judge/paper.py` with their places; points of figures were read
from the vector paths of the PDF. Counted FLOPs are multiply-adds of convolutions and the classifier, of
networks rounded as in the released code. Nothing here is a training: accuracies are the paper's, each of
one run without error bars. Each table lies beside this page as a CSV file."""


@dataclass(frozen=True)
class Item:
    """One table of the audit in words: what is found, what follows for the paper's claims, and what does
    not."""

    title: str
    table: Callable[[], pd.DataFrame]
    found: str
    follows: str
    does_not: str


def span(values: Sequence[float] | pd.Series, form: str) -> str:
    """The least and the most of some numbers: `0.98 to 1.05`."""
    return f"{min(values):{form}} to {max(values):{form}}"


def _models(names: Iterable[str]) -> list[str]:
    """b0 -> B0."""
    return [name.upper() for name in names]


def on_table_2() -> Item:
    """What Table 2 prints for B0 to B7, against our count."""
    table = recount.table_2()
    worst = table.loc[(table["ratio"] - 1).abs().idxmax()]
    return Item(
        "Table 2: cost of B0 to B7",
        recount.table_2,
        f"B0 to B7 count {span(table['ratio'], '.2f')} times their printed FLOPs and "
        f"{span(table['params_ratio'], '.2f')} times their printed "
        f"parameters; farthest off is {worst['model'].upper()}, {worst['counted']:.2f} against "
        f"{worst['printed']:g} GFLOPs.",
        "The printed costs are those of the released networks: accuracy against cost in this table can be "
        "read as it stands.",
        f"That a difference in printed FLOPs below {(table['ratio'] - 1).abs().max():.0%} is one in cost.",
    )


def on_implied_phi() -> Item:
    """Which phi each published network follows from, and how far the row strays from the rule."""
    table = recount.implied_phi().set_index("model")
    on = listed(_models(table.index[table["on_rule"]]))
    off = listed(_models(table.index[~table["on_rule"]]))
    neither = listed(_models(table.index[table["phi_low"].isna()]))
    last = table.iloc[-1]
    second = recount.nominal_cost().set_index("phi").loc[2, "pixels"]
    return Item(
        "Released coefficients against alpha^phi",
        recount.implied_phi,
        f"{on} are the rule 1.2, 1.1, 1.15 at one phi each, depth and width rounded to one decimal. For "
        f"{off} no phi gives all three, for {neither} not even depth and "
        f"width: B7 has phi = {last['phi_depth']:.2f} by depth, {last['phi_width']:.2f} by width, "
        f"{last['phi_resolution']:.2f} by resolution.",
        "Table 2 and the compound line of Figure 8 are evidence for the released coefficients. The number "
        "of a model is not its phi, and the rule "
        f"at a whole phi is another network: phi = 2 has {second} px, B2 {table.loc['b2', 'pixels']} and "
        f"B3 {table.loc['b3', 'pixels']}.",
        "That the rule is better or worse than the released coefficients: the paper prints no accuracy of "
        "the rule at these sizes.",
    )


def on_nominal_cost() -> Item:
    """What the compound rule costs by the formula, and as built."""
    table = recount.nominal_cost()
    first, last = table.iloc[0], table.iloc[-1]
    return Item(
        "Cost of the compound rule",
        recount.nominal_cost,
        f"On B0 the rule at phi = 1 counts {first['counted']:.2f} times the baseline's FLOPs, "
        f"{first['off_budget']:+.0%} of 2^phi, and at phi = "
        f"{last['phi']:.0f} {last['counted']:.0f} times, {last['off_budget']:+.0%}. It is "
        f"{span(100 * table['off_formula'], '.0f')} % above "
        "(alpha beta^2 gamma^2)^phi, the formula without rounding.",
        "phi does not measure cost. Rules compared at equal phi are compared at unequal FLOPs; who "
        "compares them has to count.",
        "That the paper's figures are off by this: their axis is FLOPs, not phi, and section 3.3 notes "
        "that rounding makes a difference.",
    )


def on_table_3() -> Item:
    """The scaled MobileNets and ResNet-50."""
    table, [swap] = recount.table_3(), recount.exchanges().to_dict("records")
    pair = (
        table[table["baseline"] == swap["baseline"]]
        .set_index("rule")
        .loc[[swap["first"], swap["second"]]]
    )
    compound = table[table["rule"] == "compound"].set_index("baseline")
    rivals = table[table["rule"].isin(SINGLE)]
    excess = 100 * (rivals["baseline"].map(compound["printed"]) / rivals["printed"] - 1)
    lead = rivals["baseline"].map(compound["top1"]) - rivals["top1"]
    exchanged = [f"{abs(swap[name] - 1):.1%}" for name in ("exchanged_first", "exchanged_second")]
    return Item(
        "Table 3: MobileNets and ResNet-50",
        recount.table_3,
        f"ResNet-50 with {swap['first']} x4 is printed with {pair['printed'].iloc[0]:g} GFLOPs and counts "
        f"{pair['counted'].iloc[0]:.2f}, with "
        f"{swap['second']} x2 {pair['printed'].iloc[1]:g} and counts {pair['counted'].iloc[1]:.2f}. "
        "Exchanged, the printed numbers are within "
        f"{listed(exchanged)} of the counted; no other two rows of a network both come nearer to their "
        "counts so.",
        f"The two numbers look exchanged; then {swap['second']} is the costlier of the two, not "
        f"{swap['first']}. Either way compound has more "
        f"printed FLOPs than every row that it is compared with, by {span(excess, '.0f')} %.",
        f"That its leads of {span(lead, '.1f')} points are due to these FLOPs: the accuracies stay where "
        "they are, and the paper has no lines of "
        "these networks from which to read what more FLOPs buy.",
    )


def on_table_7() -> Item:
    """Whether the four networks of Table 7 cost the same."""
    table = recount.table_7().set_index("rule")
    rivals = table.loc[[*DIMENSIONS]]
    compound = table.loc["compound"]
    same = FIGURE_3["depth"][3]
    return Item(
        "Table 7: four ways to the same FLOPs",
        recount.table_7,
        f"Printed with {span(rivals['printed'], 'g')} GFLOPs, B0 with depth x4, width x2 and resolution x2 "
        "counts "
        f"{_each(rivals['counted'], '.2f')} by the released rules, compound {compound['counted']:.2f} "
        "(printed "
        f"{compound['printed']:g}): {_each(100 * rivals['excess'], '.0f')} % more than these.",
        f"Along the lines of Figure 3 so many more FLOPs gain {span(rivals['worth'], '.2f')} points, of "
        "compound's lead of "
        f"{span(rivals['lead'], '.1f')}; {span(rivals['lead_at_equal'], '.1f')} remain. If the rows are "
        "networks of Figure 3 instead, whose depth "
        f"x{same[0]:g} is printed with {same[1]:.2f} GFLOPs and {same[2]:.2f} %, they cost what is printed "
        "and are scaled from another baseline than "
        "compound is. Either way the table does not compare one baseline at one cost.",
        f"That compound is not ahead: {rivals['lead_at_equal'].min():.1f} points or more are not a matter "
        "of these FLOPs.",
    )


def on_figure_3() -> Item:
    """Gains by single dimensions, per doubling of printed and of counted FLOPs."""
    table = recount.figure_3()
    first = table.groupby("rule")["printed"].first().mean()
    b0 = recount.gflops(B0)
    steps = (
        table.dropna()
        .groupby("rule", sort=False)[["gain_printed", "gain_counted"]]
        .agg(["first", "last"])
    )
    falls = [
        f"{rule} {row['gain_printed', 'first']:.1f} to {row['gain_printed', 'last']:.1f}"
        for rule, row in steps.iterrows()
    ]
    counted = [
        f"{row['gain_counted', 'first']:.1f} to {row['gain_counted', 'last']:.1f}"
        for _, row in steps.iterrows()
    ]
    return Item(
        "Figure 3: single dimensions",
        recount.figure_3,
        f"The caption names Table 1, which is B0, as the baseline. The three lines start at {first:.3f} "
        f"GFLOPs; B0 counts {b0:.3f}, so the figure's "
        f"baseline costs {first / b0:.2f} times as much. No constant factor explains it: B0 with the "
        "coefficients of the points counts "
        f"{span(table['ratio'], '.2f')} times the printed FLOPs.",
        "By its FLOPs the figure is about another network than B0. Its points do not belong on one axis of "
        "FLOPs with B0 to B7.",
        "That the lines flatten for this reason. From the first step to the last the points gained per "
        "doubling fall by printed FLOPs "
        f"({listed(falls)}) and by counted ones ({listed(counted)}).",
    )


def on_figure_8() -> Item:
    """How far compound leads at equal FLOPs, by each reading of the curves."""
    table = recount.figure_8()
    lead = table.pivot(index="model", columns="reading", values="lead")
    b1, b3, b4 = (_each(lead.loc[name, [*READINGS]], ".1f") for name in ("b1", "b3", "b4"))
    smallest = table.loc[table["lead"].idxmin()]
    remain = _each(100 * lead[ABOVE_OWN] / lead[AS_PRINTED], ".0f")
    return Item(
        "Figure 8: compound against single dimensions",
        recount.figure_8,
        "Section 6 compares ways to scale the same baseline, B0. All lines start at "
        f"{FIGURE_8['depth'][0][1]:.2f} GFLOPs, those of B0, and "
        f"{FIGURE_8['depth'][0][2]:.2f} %, the accuracy of Figure 3's baseline, which costs "
        f"{FIGURE_3['depth'][0][1]:.3f}. The single dimensions go "
        "on with the points of Figure 3, compound with B1 to B4: the figure joins two baselines.",
        f"At the cost of B4 compound is ahead of the best single dimension by {b4} points: {AS_PRINTED}, "
        f"{ON_B0}, and {ABOVE_OWN} (the paper "
        f"says up to {COMPOUND_LEAD:g}). At B3 it is {b3}, at B1 {b1}. In the last reading {remain} % of "
        "the printed lead remain at "
        "B1 to B4; the rest is a difference of baselines.",
        f"That compound is not ahead: its smallest lead, at {smallest['model'].upper()} "
        f"{smallest['reading']}, is {smallest['lead']:.1f} points. "
        "What lines from one baseline would show is not in the paper: counting moves a point to another "
        "cost, not to another accuracy.",
    )


def on_repeated() -> Item:
    """Networks that the paper trains twice: how much its accuracies vary."""
    table = recount.repeated()
    steps = recount.figure_3().groupby("rule")["top1"].diff().dropna()
    largest = table["difference"].abs().max()
    costs = table["figure_4_gflops"] / table["figure_3_gflops"] - 1
    both = [f"{row.figure_3_top1:.2f} and {row.figure_4_top1:.2f} %" for row in table.itertuples()]
    pairs = [
        f"d={row.depth:g}, r={row.resolution:g} with {accuracies}"
        for row, accuracies in zip(table.itertuples(), both, strict=True)
    ]
    return Item(
        "The same configuration twice",
        recount.repeated,
        f"Figures 3 and 4 both plot {listed(pairs)}, at the same FLOPs (within {costs.abs().max():.1%}): "
        f"{listed([f'{value:.2f}' for value in table['difference']])} points apart.",
        f"{(steps <= largest + 1e-9).sum()} of the {len(steps)} steps along the lines of Figure 3 gain no "
        f"more than the {largest:.2f} points by "
        "which two runs of one configuration differ; one of them alone shows neither a gain nor the lack "
        "of one.",
        "That the leads of Table 7 and Figure 8 are of this size: at B3 and B4 they are "
        f"{span(_leads(), '.1f')} points. Nor is it a standard "
        "deviation: there are two pairs, and whether the runs differ in seed or in setting is not stated.",
    )


def _leads() -> list[float]:
    """Compound's printed leads: over each row of Table 7, and over the best single dimension of Figure 8 at
    B3 and B4."""
    figure = recount.figure_8()
    printed = figure[(figure["reading"] == AS_PRINTED) & figure["model"].isin(["b3", "b4"])]
    return [*recount.table_7()["lead"].dropna(), *printed["lead"]]


def on_printings() -> Item:
    """Accuracies that differ between printings of the paper."""
    table = recount.printings().set_index("model")
    b0 = table.loc["b0"]
    same = [name.upper() for name, row in table.iterrows() if row["figure_8"] == row["table_2_v1"]]
    gains = {
        "Table 7": (TABLE_7["baseline"].top1, TABLE_7["compound"].top1),
        "Table 2 of v1": (TABLE_2_V1["b0"], TABLE_2_V1["b3"]),
    }
    gains["of v5"] = (TABLE_2["b0"].top1, TABLE_2["b3"].top1)
    return Item(
        "One model, several accuracies",
        recount.printings,
        f"B0 has {b0['figure_8']:.1f} % in Figure 8, {b0['table_2_v1']:.1f} in Table 2 of v1, "
        f"{b0['table_2_v5']:.1f} in Table 2 of v5 and "
        f"{b0['table_7']:.1f} in Table 7. {listed(same)} of Figure 8 are those of v1, and the rows of "
        "Table 7 below its baseline are those of v1.",
        "Table 7 sets a baseline of a later training beside rows of v1: from B0 to B3 it gains "
        f"{listed([f'{after - before:.1f} ({place})' for place, (before, after) in gains.items()])} points.",
        "That the lines of Figure 8 were trained differently: compound is v1's, and so are the rows of "
        "Table 7 for depth and resolution, which are "
        "points of Figure 3.",
    )


def on_judged() -> Item:
    """The paper's points, put to the judge of this project."""
    table = printed.judged()
    counts = table["verdict"].value_counts()
    told = listed([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts])
    balance = table[table["claim"] == "balance"]
    unmet = int((table["verdict"] == NO_VERDICT).sum())
    return Item(
        "The paper's points, judged",
        printed.judged,
        f"Were every point a mean over {printed.SEEDS} seeds of {printed.DEVIATION:g} points' deviation, its "
        f"{len(table)} comparisons would come out as {told}. At equal FLOPs width does better in Figure 4's "
        f"deeper networks and at its higher resolution by {span(balance['effect'], '.1f')} points.",
        "What the figures show is what the paper says of them: single dimensions pay less and less, width "
        "does better at equal FLOPs where depth and resolution are larger, compound is ahead.",
        "That it is so: the deviation is assumed, one run stands for each network, and "
        f"{unmet} comparisons of Tables 3 and 7 are of networks whose printed FLOPs differ by more than 5 %.",
    )


def items() -> list[Item]:
    """The audit, in the order of the page."""
    makers = (
        on_table_2,
        on_implied_phi,
        on_nominal_cost,
        on_table_3,
        on_table_7,
        on_figure_3,
        on_figure_8,
        on_repeated,
        on_printings,
        on_judged,
    )
    return [maker() for maker in makers]


def figure_8_figure(table: pd.DataFrame) -> Figure:
    """Figure 8 in its three readings, side by side; the printed lines in grey under those counted on B0."""
    figure = Figure(figsize=(16, 4.8), layout="constrained")
    axes = dict(zip(READINGS, figure.subplots(1, len(READINGS)), strict=True))
    parts = {
        reading: rows.assign(cost=rows["cost"] * (1 if reading == ABOVE_OWN else 1e9))
        for reading, rows in table.groupby("reading")
    }
    for reading, ax in axes.items():
        for rule in (*SINGLE, "compound"):
            colour, marker = look(rule)
            line = parts[reading][parts[reading]["rule"] == rule]
            ax.plot(
                line["cost"],
                line["value"],
                color=colour,
                marker=marker,
                linewidth=1.6,
                label=rule,
                zorder=3,
            )
            if reading == ON_B0:
                line = parts[AS_PRINTED][parts[AS_PRINTED]["rule"] == rule]
                ax.plot(
                    line["cost"],
                    line["value"],
                    color=GREY,
                    marker=marker,
                    markersize=4,
                    linewidth=1,
                    linestyle="--",
                    zorder=1,
                )
        cost_axis(
            ax,
            parts[reading]["cost"],
            "FLOPs as a multiple of the line's first point" if reading == ABOVE_OWN else FLOPS,
        )
        ax.set_title(reading)
        ax.set_ylabel(
            "points gained since the line's first point"
            if reading == ABOVE_OWN
            else "ImageNet top-1 accuracy (%)"
        )
    _, cost, top1 = FIGURE_3["depth"][0]
    axes[AS_PRINTED].plot(1e9 * cost, top1, "o", color=GREY, markersize=9, fillstyle="none")
    axes[AS_PRINTED].annotate(
        "baseline of Figure 3",
        (1e9 * cost, top1),
        xytext=(9, -3),
        textcoords="offset points",
        fontsize=9,
        color="0.35",
    )
    axes[ON_B0].plot([], [], color=GREY, linestyle="--", marker=".", label="as printed")
    axes[ON_B0].legend(frameon=False, loc="lower right")
    return figure


FIGURE = Drawing(
    name="figure_8_points",
    title="Figure 8 in three readings",
    says="what is left from one baseline?",
    select=lambda table: table,
    draw=figure_8_figure,
    found=lambda table: [on_figure_8().found],
)


def page(found: Sequence[Item]) -> str:
    """The audit as Markdown."""
    parts = ["# The paper, recounted", INTRODUCTION]
    for item in found:
        parts += [
            f"## {item.title}",
            item.found,
            f"**What follows.** {item.follows}",
            f"**What does not.** {item.does_not}",
        ]
        parts += [f"![{FIGURE.title}]({FIGURE.name}.png)"] if item.table is recount.figure_8 else []
        parts += [
            inspect.getdoc(item.table) or "",
            tabulate(
                _cells(item.table()), headers="keys", tablefmt="github", disable_numparse=True
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """A table as people read it: four digits, and nothing where there is no number."""
    return [_row(row) for row in table.to_dict("records")]


def _row(row: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): _cell(value) for name, value in row.items()}


def _each(values: Iterable[float], form: str) -> str:
    """Numbers in a form, listed."""
    return listed([f"{value:{form}}" for value in values])


def _cell(value: object) -> str:
    return (
        str(value) if not isinstance(value, float) else "" if math.isnan(value) else f"{value:.4g}"
    )
