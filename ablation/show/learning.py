"""Learning curves: what each network had learned after each epoch, of its training images and of the
validation images where they were looked at, from the histories that records keep."""

import math
from collections.abc import Iterator

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablation.judge.frame import ARM
from ablation.judge.verdicts import MARGIN
from ablation.runs.checks import counted
from ablation.show.drawing import FLOPS, Drawing, headed, over_seeds, panels, ticks_at_doublings
from ablation.show.words import percent

ACROSS = 4  # panels in a row, at most
STEPS = 32  # shades: few enough that their bar is drawn as lines are, and not as an image
BRIGHTEST = 0.75  # of the map of shades: what lies beyond is lost on white paper
# What is measured, by the images that it is of, and its name in histories; the first tells more.
MEASURED = {"validation": "val/accuracy", "training": "train/accuracy"}
LAST = 0.75  # of the epochs: what a curve gains since is its rise at the end


def learning_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Rows of every network; None where there are none."""
    return None if summary.empty else summary


def learning_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """For each network, epoch and kind of images (`images`: validation, training) the accuracy, its mean over
    seeds (`mean`) with the least and the most (`low`, `high`); None where no record has a history."""
    epochs = frame[frame["history"].map(len) > 0].explode("history", ignore_index=True)
    if epochs.empty:
        return None
    epochs["epoch"] = [row["epoch"] for row in epochs["history"]]
    tables = []
    for images, name in MEASURED.items():
        learned = pd.Series([row.get(name) for row in epochs["history"]], dtype=float)
        seen = epochs.assign(learned=learned).dropna(subset="learned")
        tables.append(over_seeds(seen, "learned", "epoch", rows).assign(images=images))
    return pd.concat(tables).sort_values(["images", "macs", "epoch"], kind="stable")


# ---------------------------------------------------------------- what rises at the end


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """Of each network how far its mean rose (`rise`, a fraction) from the last look at or before three
    quarters of its epochs (`since`) to the end: of validation accuracy, or of training accuracy where
    validation was not looked at by then."""
    networks = table.groupby([*ARM, "cost"], sort=False)
    ends = [end for _, network in networks if (end := _end(network)) is not None]
    return pd.DataFrame(ends, columns=[*table.columns, "since", "rise"])


def _end(network: pd.DataFrame) -> pd.Series | None:
    """The last point of a network's curve, with its rise; None for too few epochs to have one."""
    for images in MEASURED:
        line = network[network["images"] == images]
        before = line[line["epoch"] <= LAST * line["epoch"].max()]
        if len(before):
            first, last = before.iloc[-1], line.iloc[-1]
            about = {"since": first["epoch"], "rise": last["mean"] - first["mean"]}
            return pd.concat([last, pd.Series(about)])
    return None


def rising(ends: pd.DataFrame) -> pd.DataFrame:
    """Those that rise by more than what counts as no difference, the steepest first."""
    steep = ends[percent(ends["rise"]) > MARGIN]
    return steep.sort_values("rise", ascending=False, kind="stable")


def ends_of(table: pd.DataFrame) -> pd.DataFrame:
    """`rises` of each distinct network, with a `name` that says its baseline and setting where there are
    several."""
    parts = []
    for title, part in panels(table):
        ends = rises(part).drop_duplicates("label")
        parts.append(ends.assign(name=ends["label"] + (f" at {title}" if title else "")))
    return pd.concat(parts)


def _share(ends: pd.DataFrame) -> str:
    """`12 of 13 networks still rise at the end`."""
    steep = len(rising(ends))
    rise = "rises" if steep == 1 else "rise"
    return f"{steep} of {counted(len(ends), 'network')} still {rise} at the end"


# ---------------------------------------------------------------- the figure


def learning_figure(table: pd.DataFrame) -> Figure:
    """One panel for each rule, in each baseline and setting; two lines for each network, darker the more it
    costs: validation with its looks, training thin."""
    parts = list(_by_rule(table))
    across = min(len(parts), ACROSS)
    down = math.ceil(len(parts) / across)
    size = (max(3.3 * across + 1.6, 6.5), 3.1 * down + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    least, most = table["macs"].min(), table["macs"].max()
    several = most > least
    shades = ScalarMappable(LogNorm(least if several else most / 2, most), _shades())
    for ax, (title, rows) in zip(axes.flat, parts, strict=False):
        for (macs, _), network in rows.groupby(["macs", "label"], sort=False):
            _learned(ax, network, shades.to_rgba(macs))
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(parts) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    if several:
        bar = figure.colorbar(shades, ax=axes, label=FLOPS, shrink=1 / down, anchor=(0, 1))
        ticks_at_doublings(bar.ax.yaxis, least, most)
    ends = ends_of(table)
    key = "line with dots: validation images; thin line: training images, augmented"
    notes = [key, _share(ends)] if len(ends) else [key]
    shows = "mean over seeds, band from the least to the most"
    return headed(figure, "What was learned, epoch by epoch", table, *notes, shows=shows)


def _shades() -> Colormap:
    """From the smallest network to the largest."""
    places = [BRIGHTEST * (1 - step / (STEPS - 1)) for step in range(STEPS)]
    return ListedColormap(matplotlib.colormaps["plasma"](places))


LOOKS = {
    "training": {"linewidth": 0.9},
    "validation": {"linewidth": 1.8, "marker": "o", "markersize": 6, "markeredgecolor": "white"},
}


def _learned(ax: Axes, network: pd.DataFrame, colour: tuple[float, ...]) -> None:
    """The means of one network, each within the range of its seeds."""
    for place, (images, look) in enumerate(LOOKS.items(), 2):
        line = network[network["images"] == images]
        ax.plot(line["epoch"], percent(line["mean"]), color=colour, zorder=place, **look)
        low, high = percent(line["low"]), percent(line["high"])
        ax.fill_between(line["epoch"], low, high, color=colour, alpha=0.15, linewidth=0)


def _by_rule(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(title, rows) of each rule in each baseline and setting; a rule that is alone is not named there."""
    alone = table["rule"].nunique() == 1
    for title, part in panels(table):
        for rule, rows in part.groupby("rule", sort=False):
            named = f"{title}: {rule}" if title else str(rule)
            yield (title if alone and title else named), rows


# ---------------------------------------------------------------- what it says


def learning_found(table: pd.DataFrame) -> list[str]:
    """How many networks still rise at the end, the steepest first; and what that does not say."""
    ends = ends_of(table)
    found = [_rise(images, asked) for images, asked in ends.groupby("images", sort=False)]
    validated = table[table["images"] == "validation"]
    if validated.groupby([*ARM, "cost"])["epoch"].nunique().eq(1).any():
        found.append(ONCE)
    return [*found, NOT_SAID] if len(ends) else [TOO_FEW, *found]


ONCE = (
    "A single dot is a look at the validation images after the last epoch alone: `recipe.validate_every=1`"
    " looks after each, in runs of their own."
)
NOT_SAID = (
    "A learning rate that falls lifts the end of a curve, however many epochs there are: what more of them"
    " would add is told by training them (`study=schedule`)."
)
TOO_FEW = "Too few epochs to tell whether a curve still rises."


def _rise(images: str, ends: pd.DataFrame) -> str:
    """How many networks rise on these images, from when on, and which most."""
    steep = rising(ends)
    told = [
        f"{row.name} ({percent(row.rise):+.1f})"
        for row in steep.head(STEEPEST).itertuples(index=False)
    ]
    most = "most " if len(steep) > STEEPEST else ""
    which = f": {most}{', '.join(told)}" if told else ""
    return f"{_share(ends)}, {_since(ends)}, by more than {MARGIN:g} points of {images} accuracy{which}."


STEEPEST = 4


def _since(ends: pd.DataFrame) -> str:
    """The epochs that are meant, where they are the same for all."""
    epochs = ends[["since", "epoch"]].drop_duplicates()
    if len(epochs) > 1:
        return "since three quarters of their epochs or before"
    first, last = epochs.iloc[0]
    return f"from epoch {first:g} to {last:g}"


LEARNING = Drawing(
    name="learning",
    title="Learning curves",
    says="accuracy by epoch: had the networks stopped learning?",
    select=learning_rows,
    tabulate=learning_table,
    draw=learning_figure,
    found=learning_found,
    listed=False,
)
