"""Of embedded images that are of several kinds, which carry the truth of a positive control: examples, and
how many of each kind networks got right."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablation.images.embedded import EMBEDDED, Embedded
from ablation.judge.frame import ARM, rules_of
from ablation.runs.answers import unpacked
from ablation.show.drawing import FLOPS, Drawing, cost_axis, curve, headed, key, over_seeds, panels
from ablation.show.words import in_panel, largest, percent

EXAMPLES = 2  # of each kind


def kinds_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of rules on one embedded set whose images are of several kinds; None for any other."""
    if set(summary["split"]) != {"evaluation"} or summary["embedded"].nunique() > 1:
        return None
    if summary["embedded"].iloc[0] not in EMBEDDED or len(_set_of(summary).KINDS) < 2:
        return None
    rows = summary[summary["rule"].isin(rules_of(summary))]
    return None if rows.empty else rows


def _set_of(table: pd.DataFrame) -> Embedded:
    """The images of a table that is about one embedded set."""
    return EMBEDDED[table["embedded"].iloc[0]]


# ---------------------------------------------------------------- examples


def examples_figure(table: pd.DataFrame) -> Figure:
    """A few images of each kind at their native pixels."""
    made = _set_of(table)
    kinds = list(made.KINDS)
    images, _ = made.render("evaluation", EXAMPLES * len(kinds), 0)
    across = len(images)
    figure = Figure(figsize=(1.7 * across, 2.2), layout="constrained")
    order = [kind + len(kinds) * turn for kind in range(len(kinds)) for turn in range(EXAMPLES)]
    for ax, image in zip(figure.subplots(1, across), order, strict=True):
        ax.imshow(images[image], interpolation="nearest")
        ax.set_title(kinds[image % len(kinds)], fontsize=11)
        ax.set_axis_off()
    figure.suptitle("Images of each kind, at their native pixels", fontweight="bold")
    return figure


def examples_found(table: pd.DataFrame) -> list[str]:
    """What the set is, in its maker's words."""
    first, *_ = (_set_of(table).__doc__ or "").split("\n\n")
    return [" ".join(first.split())]


# ---------------------------------------------------------------- accuracy by kind


def kinds_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each network and kind the share of its evaluation images that were right: its mean over seeds
    (`mean`) with the least and the most (`low`, `high`). Of runs whose records say which were right of all
    images of the set; None where there is none."""
    made = _set_of(rows)
    kinds = list(made.KINDS)
    told = frame[frame["rule"].isin(rows["rule"])].dropna(subset="answers")
    whole = [answers["count"] == made.SIZES["evaluation"] for answers in told["answers"]]
    runs = told[whole]
    if runs.empty:
        return None
    shares = [
        {kind: right[place :: len(kinds)].mean() for place, kind in enumerate(kinds)}
        for right in map(unpacked, runs["answers"])
    ]
    by_kind = runs.join(pd.DataFrame(shares, index=runs.index))
    long = by_kind.melt([*ARM, "cost"], kinds, var_name="kind", value_name="right")
    table = over_seeds(long, "right", "kind", rows)
    return table.sort_values(["macs", "rule"], kind="stable")


def kinds_figure(table: pd.DataFrame) -> Figure:
    """One panel for each kind, a row of them for each baseline and setting; all rules in each."""
    parts, kinds, rules = panels(table), list(dict.fromkeys(table["kind"])), rules_of(table)
    size = (3.7 * len(kinds) + 2, 3.6 * len(parts) + 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(parts), len(kinds), sharey=True, squeeze=False)
    for line, (title, part) in zip(axes, parts, strict=True):
        for ax, kind in zip(line, kinds, strict=True):
            for rule in rules:
                rows = part[(part["kind"] == kind) & (part["rule"] == rule)]
                curve(ax, rows, rule, label=rule, others=rules)
            ax.set_title(f"{title}: {kind}" if title else kind)
            cost_axis(ax, part["macs"], FLOPS)
        line[0].set_ylabel("images of this kind right (%)")
    key(axes[0, -1], "rule")
    shows = "mean over seeds, bar from the least to the most"
    return headed(figure, "Which kind of image each dimension brings", table, shows=shows)


def kinds_found(table: pd.DataFrame) -> list[str]:
    """Of each kind how many points each rule's largest network is above the smallest network."""
    found = []
    for title, part in panels(table):
        for kind, rows in part.groupby("kind", sort=False):
            start = np.mean(rows[rows["macs"] == rows["macs"].min()]["mean"])
            gains = {rule: percent(row.mean - start) for rule, row in largest(rows).items()}
            told = ", ".join(
                f"{rule} {gain:+.1f}"
                for rule, gain in sorted(gains.items(), key=lambda gained: -gained[1])
            )
            text = f"{kind} images, {percent(start):.1f} % at the smallest network; the largest adds: {told}."
            found.append(in_panel(title, text))
    return found


KINDS = (
    Drawing(
        name="examples",
        title="The images",
        says="what the project made, kind by kind",
        select=kinds_rows,
        draw=examples_figure,
        found=examples_found,
        listed=False,
        of_images=True,
    ),
    Drawing(
        name="kinds",
        title="By kind of image",
        says="the truth of the positive control: which dimension brings which kind?",
        select=kinds_rows,
        tabulate=kinds_table,
        draw=kinds_figure,
        found=kinds_found,
        folds=True,
    ),
)
