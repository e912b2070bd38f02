"""Learning curves: what each network had learned of its training images after each epoch, from the histories
that records keep."""

import math
from collections.abc import Iterator

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablation.show.drawing import FLOPS, Drawing, headed, over_seeds, panels, ticks_at_doublings
from ablation.show.words import in_panel, percent

ACROSS = 4  # panels in a row, at most
SHADES = "viridis_r"  # from the smallest network to the largest
STEPS = 32  # of these shades: few enough that their bar is drawn as lines are, and not as an image


def learning_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every network; None where there are none."""
    return None if summary.empty else summary


def learning_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each network and epoch the training accuracy, its mean over seeds (`mean`) with the least and the
    most (`low`, `high`); None where no record has a history."""
    epochs = frame[frame["history"].map(len) > 0].explode("history", ignore_index=True)
    if epochs.empty:
        return None
    epochs["epoch"] = [row["epoch"] for row in epochs["history"]]
    epochs["learned"] = [row["train/accuracy"] for row in epochs["history"]]
    table = over_seeds(epochs, "learned", "epoch", rows)
    return table.sort_values(["macs", "epoch"], kind="stable")


def learning_figure(table: pd.DataFrame) -> Figure:
    """One panel for each rule, in each baseline and setting; a line for each network, darker the more it
    costs."""
    parts = list(_by_rule(table))
    across = min(len(parts), ACROSS)
    down = math.ceil(len(parts) / across)
    size = (max(3.3 * across + 1.6, 6.5), 3.1 * down + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    least, most = table["macs"].min(), table["macs"].max()
    several = most > least
    lightest = least if several else most / 2
    shades = ScalarMappable(LogNorm(lightest, most), matplotlib.colormaps[SHADES].resampled(STEPS))
    for ax, (title, rows) in zip(axes.flat, parts, strict=False):
        for (macs, _), line in rows.groupby(["macs", "label"], sort=False):
            _learned(ax, line, shades.to_rgba(macs))
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(parts) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("training accuracy (%)")
    if several:
        bar = figure.colorbar(shades, ax=axes, label=FLOPS)
        ticks_at_doublings(bar.ax.yaxis, least, most)
    shows = "mean over seeds, band from the least to the most"
    return headed(figure, "What was learned, epoch by epoch", table, shows=shows)


def _learned(ax: Axes, line: pd.DataFrame, colour: tuple[float, ...]) -> None:
    """The mean of one network, within the range of its seeds."""
    ax.plot(line["epoch"], percent(line["mean"]), color=colour, linewidth=1.6)
    low, high = percent(line["low"]), percent(line["high"])
    ax.fill_between(line["epoch"], low, high, color=colour, alpha=0.15, linewidth=0)


def _by_rule(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(title, rows) of each rule in each baseline and setting; a rule that is alone is not named there."""
    alone = table["rule"].nunique() == 1
    for title, part in panels(table):
        for rule, rows in part.groupby("rule", sort=False):
            named = f"{title}: {rule}" if title else str(rule)
            yield (title if alone and title else named), rows


def learning_found(table: pd.DataFrame) -> list[str]:
    """Of each rule's largest network how much the last quarter of its epochs brought."""
    found = []
    for title, part in panels(table):
        rose = []
        for rule, rows in part.groupby("rule", sort=False):
            line = rows[rows["macs"] == rows["macs"].max()].groupby("epoch")["mean"].mean()
            before = max(1, math.floor(0.75 * len(line)))
            rose.append(f"{rule} {percent(line.iloc[-1] - line.iloc[before - 1]):+.1f}")
        what = "points that the last quarter of the epochs added to the largest network's training accuracy"
        found.append(in_panel(title, f"{what}: {', '.join(rose)}."))
    return found


LEARNING = Drawing(
    name="learning",
    title="Learning curves",
    says="training accuracy by epoch: had the networks stopped learning?",
    select=learning_rows,
    tabulate=learning_table,
    draw=learning_figure,
    found=learning_found,
    listed=False,
)
