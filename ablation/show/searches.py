"""Figures of the searches, the map of the grid search and the star fit, and of what gains at baselines
foretell."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablation.judge.across import Lead, leads
from ablation.judge.contrasts import LEVEL
from ablation.judge.questions import scopes
from ablation.judge.star import Measured, StarFit, measured, moved
from ablation.judge.surface import ALONE, ranking
from ablation.runs.checks import counted
from ablation.show.drawing import (
    Drawing,
    accuracy_label,
    bars,
    headed,
    key,
    look,
    row_of_panels,
)
from ablation.show.words import in_points, listed, percent
from ablation.theory.scaling import DIMENSIONS, RULES, SINGLE

# ---------------------------------------------------------------- grid search: alpha and beta, gamma solved


def grid_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """All rows of a grid search."""
    return summary if len(summary) else None


def grid_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """One row per candidate: its triple, its network (by the candidate nearest to it) with shares of cost,
    measured mean and value on the surface, how far that is behind the best (with simultaneous bounds),
    whether it may be the best (region), whether it grows in all dimensions (interior), and whether it is the
    best by that. None without a run."""
    if frame["accuracy"].isna().all():
        return None
    ranked = ranking(frame)
    reached = ranked.rename(columns={"rule": "network"}).explode("candidates")
    reached = reached.rename(columns={"candidates": "rule"})
    triples = rows.drop_duplicates("rule")[
        ["rule", "phi", "alpha", "beta", "gamma", "cost", "split"]
    ]
    table = triples.merge(reached, on="rule").assign(
        n=int(rows["n"].max()), diverged=rows["diverged"].sum(), missing=rows["missing"].sum()
    )
    table["best"] &= table["rule"] == table["network"]
    table = table.sort_values("behind", kind="stable")
    table.attrs["surface"] = ranked.attrs["surface"]
    return table.reset_index(drop=True)


def grid_figure(table: pd.DataFrame) -> Figure:
    """The ranking of the networks beside the map of the candidates."""
    figure = Figure(figsize=(14.6, 5.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _grid_ranking(left, table)
    _grid_map(right, table)
    what = "points behind the best of the surface; framed or filled: may be the best"
    bounds = "simultaneous 95 % bounds of all networks"
    title = f"Grid search at {2 ** table['phi'].iloc[0]:.3g} times the baseline's cost"
    return headed(figure, title, table, table.attrs["surface"], what, shows=bounds)


def _grid_ranking(ax: Axes, table: pd.DataFrame) -> None:
    """How many points each network is behind the best, with its bounds, the best first."""
    networks = table.drop_duplicates("network")
    for y, row in enumerate(networks.itertuples()):
        behind, low, high = (-percent(value) or 0 for value in (row.behind, row.low, row.high))
        if low == low:
            ax.hlines(y, high, low, color="0.35", linewidth=1.4)
        inside = "black" if row.region else "white"
        ax.plot(behind, y, "o", color="black", markerfacecolor=inside, markersize=6, zorder=3)
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks(range(len(networks)), networks["network"], fontsize=9)
    ax.set_ylim(len(networks) - 0.4, -0.6)
    ax.set_xlabel("points behind the best")
    ax.set_ylabel("network, by its triple α/β/γ")
    ax.grid(axis="y", visible=False)


def _grid_map(ax: Axes, table: pd.DataFrame) -> None:
    """A cell for each candidate: gamma, and how many points its network is behind the best."""
    cells = table[~table["rule"].isin(RULES)]
    alphas = sorted(set(cells["alpha"]))
    betas = sorted(set(cells["beta"]))
    grid = np.full((len(betas), len(alphas)), np.nan)
    for row in cells.itertuples():
        x, y = alphas.index(row.alpha), betas.index(row.beta)
        grid[y, x] = percent(row.behind)
        told = f"γ {row.gamma:.3g}\n{-percent(row.behind) or 0:.1f}"
        ax.text(x, y, told, ha="center", va="center", fontsize=8.5, color="black")
        if row.region:
            frame = {"fill": False, "edgecolor": "black", "linewidth": 2.2}
            ax.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, **frame))
        if row.best:
            ax.plot(x + 0.33, y + 0.31, marker="*", color="black", markersize=12)
    ax.imshow(grid, origin="lower", cmap="cividis_r", vmin=0, alpha=0.55, aspect="auto")
    for name, rule in RULES.items():
        if name in set(table["rule"]):
            x = np.interp(rule.alpha, alphas, range(len(alphas)))
            y = np.interp(rule.beta, betas, range(len(betas)))
            colour, marker = look(name)
            own = {"label": f"the paper's {name}", "markersize": 7, "linestyle": ""}
            ax.plot(x - 0.36, y + 0.33, marker=marker, color=colour, **own)
    star = {"marker": "*", "color": "black", "markersize": 12, "linestyle": ""}
    ax.plot([], [], label="best", **star)
    square = {"marker": "s", "markerfacecolor": "none", "markersize": 11, "linestyle": ""}
    ax.plot([], [], color="black", label="may be the best", **square)
    ax.set_xticks(range(len(alphas)), [f"{alpha:.3g}" for alpha in alphas])
    ax.set_yticks(range(len(betas)), [f"{beta:.3g}" for beta in betas])
    ax.set_xlabel("α (depth)")
    ax.set_ylabel("β (width); γ solved from αβ²γ² = 2")
    ax.grid(visible=False)
    ax.set_title(f"{table['split'].iloc[0]} accuracy behind the best, points", fontsize=10)
    ax.legend(loc="upper right", frameon=False)


def grid_found(table: pd.DataFrame) -> list[str]:
    """The best triple, which others may be as good, and where it grows in one dimension or two the best of
    those that grow in all three."""
    best = table[table["best"]].iloc[0]
    others = table[table["network"] != best["network"]].drop_duplicates("network")
    named = (
        f"The best of {len(table)} candidates is {best['rule']}, {percent(best['fitted']):.1f} %"
    )
    as_good = f"{others['region'].sum()} of the {len(others)} other networks may be as good"
    level = "no other network has a run" if others.empty else as_good
    found = [f"{named}, by {table.attrs['surface']}; {level}."]
    return found if best["interior"] else [*found, _selects(table, best)]


def _selects(table: pd.DataFrame, best: pd.Series) -> str:
    """What it means that the best triple leaves a dimension alone."""
    grown = [name for name in DIMENSIONS if best[name] > ALONE]
    said = f"Here the method selects {listed(grown)} alone"
    inside = table[table["interior"]]
    if inside.empty:
        return f"{said}; no candidate grows in all three."
    first = inside.iloc[0]
    behind = f"{percent(first['behind']):.1f} points behind"
    bounds = f" ({percent(first['low']):.1f} to {percent(first['high']):.1f})"
    known = bounds if first["low"] == first["low"] else ""
    return f"{said}; the best triple that grows in all three, {first['rule']}, is {behind}{known}."


# ---------------------------------------------------------------- star fit: one dimension at a time around a
# centre

STEPS = 40  # of a fitted curve
BUDGETS = (2.0, 4.0, 8.0)  # at which the optimum is told


def star_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Explicit coefficients of which three values or more of each dimension stand at the most common ones of
    the others, eight networks or more; networks that move several dimensions come with them."""
    chosen = summary[summary["rule"] == "coefficients"]
    coefficients = chosen[list(DIMENSIONS)].to_numpy(float)
    if len(chosen) < 8:
        return None
    own = chosen[moved(coefficients) < 2]
    return chosen if len(own) >= 8 and own[list(DIMENSIONS)].nunique().min() > 2 else None


def star_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Measured means with what the fit predicts, `measured` along one dimension or `crossed` in several, and
    along each dimension the fitted curve with its 95 % bootstrap band: kind, dimension, depth, width,
    resolution, mean, low, high, predicted (accuracies). None for a single seed, which gives the fit no
    standard error."""
    if rows["low"].isna().all():
        return None
    found = measured(frame)
    fit = found.fit()
    centre = {name: rows[name].mode()[0] for name in DIMENSIONS}
    coefficients = rows[list(DIMENSIONS)].to_numpy(float)
    rows = rows.assign(predicted=1 - fit.laws(coefficients))
    parts = [rows[moved(coefficients) > 1].assign(kind="crossed", dimension="")]
    for name in DIMENSIONS:
        others = [other for other in DIMENSIONS if other != name]
        along = np.isclose(rows[others], [centre[other] for other in others]).all(axis=1)
        own = rows[along].assign(kind="measured", dimension=name)
        parts += [own, _fitted(fit, name, centre, own[name])]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    table.attrs["says"] = sentences(found, fit)
    return table


def _fitted(
    fit: StarFit, name: str, centre: Mapping[str, float], values: pd.Series
) -> pd.DataFrame:
    """The fitted curve along one dimension through the centre, with its band."""
    x = np.geomspace(values.min(), values.max(), STEPS)
    others = {other: np.full(STEPS, centre[other]) for other in DIMENSIONS if other != name}
    points = pd.DataFrame({**others, name: x})
    coefficients = points[list(DIMENSIONS)].to_numpy(float)
    low, high = fit.band(coefficients)
    curve = {"mean": 1 - fit.laws(coefficients), "low": 1 - high, "high": 1 - low}
    return points.assign(kind="fitted", dimension=name, **curve)


def sentences(found: Measured, fit: StarFit) -> list[str]:
    """What the star says, in words: how well it fits, the optimum at each budget, what the baseline gains by
    each dimension, whether dimensions help each other, what is not identified."""
    loose = [f"not identified: {', '.join(fit.unidentified)}"] if fit.unidentified else []
    optima = [_optimum(found, fit, budget) for budget in BUDGETS]
    return [_fits(found, fit), *optima, _starves(fit), _interacts(found, fit), *loose]


def _fits(found: Measured, fit: StarFit) -> str:
    """The chi-square of the fit, and where it is too large the network that lies farthest off."""
    size = f"chi-square {fit.chi_square:.3g} on {fit.degrees} degrees of freedom, p = {fit.p:.2g}"
    if fit.p >= 1 - LEVEL:
        return f"the power laws fit: {size}"
    fitted = fit.laws(found.coefficients)
    off = np.where(found.crossed, 0, np.abs(found.errors - fitted) / found.deviations)
    worst = int(off.argmax())
    depth, width, resolution = found.coefficients[worst]
    seen = f"{percent(1 - found.errors[worst]):.1f} % measured, {percent(1 - fitted[worst]):.1f} % fitted"
    place = f"d={depth:.3g} w={width:.3g} r={resolution:.3g}"
    return f"the power laws do not fit: {size}; farthest off is {place}, {seen}"


def _optimum(found: Measured, fit: StarFit, budget: float) -> str:
    """The coefficients of least predicted error at a budget."""
    best, low, high = fit.optima(budget)
    told = [
        f"{name} {value:.2f} ({a:.2f} to {b:.2f})"
        for name, value, a, b in zip(DIMENSIONS, best, low, high, strict=True)
    ]
    loose = [name for name, a, b in zip(DIMENSIONS, low, high, strict=True) if b > 2 * a]
    within = (best >= found.coefficients.min(0)) & (best <= found.coefficients.max(0))
    beyond = [name for name, inside in zip(DIMENSIONS, within, strict=True) if not inside]
    remarks = [
        *([f"not identified: {listed(loose)}"] if loose else []),
        *([f"beyond what was measured: {listed(beyond)}"] if beyond else []),
    ]
    return "; ".join([f"least error at {budget:g}x: {', '.join(told)}", *remarks])


def _starves(fit: StarFit) -> str:
    """What a doubling of cost gains at the baseline along each dimension."""
    gained, low, high = fit.gains()
    told = [
        f"{name} {value:+.1f} ({a:+.1f} to {b:+.1f})"
        for name, value, a, b in zip(DIMENSIONS, gained, low, high, strict=True)
    ]
    first = fit.ahead()
    what = f"it starves for {first}" if first else "none is told ahead of the others"
    return f"points for a doubling of cost at the baseline: {', '.join(told)}; {what}"


def _interacts(found: Measured, fit: StarFit) -> str:
    """Whether networks that move several dimensions are better than these added up."""
    if not found.crossed.any():
        return (
            "no network that moves several dimensions was run: whether they help each other is open"
        )
    better, low, high = found.together(fit)
    size = f"{better:+.1f} points ({low:+.1f} to {high:+.1f})"
    what = "help each other" if low > 0 else "hinder each other" if high < 0 else "just add up"
    count = int(found.crossed.sum())
    many = (
        f"{counted(count, 'network')} that {'moves' if count == 1 else 'move'} several dimensions"
    )
    verb = "is" if count == 1 else "are"
    return f"{many} {verb} {size} better than these added up: dimensions {what}"


def star_figure(table: pd.DataFrame) -> Figure:
    """Accuracy along each dimension through the centre, with the fitted power laws; and every network against
    what the fit predicts."""
    figure = Figure(figsize=(15.5, 5.8), layout="constrained")
    *axes, whole = figure.subplots(1, 4, sharey=True)
    for ax, name in zip(axes, DIMENSIONS, strict=True):
        colour, marker = look(name)
        rows = table[table["dimension"] == name]
        fitted = rows[rows["kind"] == "fitted"]
        own = rows[rows["kind"] == "measured"]
        band = percent(fitted["low"]), percent(fitted["high"])
        shade = {"color": colour, "alpha": 0.18, "linewidth": 0, "label": "95 % band of the fit"}
        ax.fill_between(fitted[name], *band, **shade)
        ax.plot(fitted[name], percent(fitted["mean"]), color=colour, linewidth=1.6, label="fit")
        bars(ax, own[name], own, colour, marker, label="mean over seeds")
        ax.set_xscale("log")
        ticks = sorted(set(own[name].round(2)))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlabel(f"{name} coefficient")
    networks = table[table["kind"] != "fitted"]
    for kind, colour, marker in (("measured", "0.45", "o"), ("crossed", "black", "D")):
        rows = networks[networks["kind"] == kind]
        name = "one dimension moved" if kind == "measured" else "several"
        if len(rows):
            bars(whole, percent(rows["predicted"]), rows, colour, marker, label=name)
    ends = [percent(networks["predicted"].min()), percent(networks["predicted"].max())]
    whole.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
    whole.set_xlabel("fitted accuracy (%)")
    whole.legend(frameon=False, loc="lower right")
    axes[0].set_ylabel(accuracy_label(networks))
    axes[0].legend(frameon=False, loc="lower right")
    shown = networks.assign(n=lambda rows: rows["n"].astype(int))
    shown.attrs["note"] = table.attrs.get("note", [])
    title = "error = E + A·d^-a + B·w^-b + C·r^-c, fitted to one dimension at a time"
    return headed(figure, title, shown, *table.attrs["says"])


def star_found(table: pd.DataFrame) -> list[str]:
    """What follows from the fit."""
    return [f"{text[:1].upper()}{text[1:]}." for text in table.attrs["says"]]


# ---------------------------------------------------------------- what gains at baselines foretell


def foretold_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Compound and single dimensions of several baselines at several costs; None for any other study."""
    chosen = summary[summary["rule"].isin(["compound", *SINGLE]) & (summary["phi"] > 0)]
    whole = chosen["rule"].nunique() == len(SINGLE) + 1
    if not whole or min(chosen["baseline"].nunique(), chosen["phi"].nunique()) < 2:
        return None
    return chosen.reset_index(drop=True)


def foretold_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """By baseline and cost compound's lead over the dimension that gains most at the baseline: what is
    foretold from these gains (`foretold`, with its 95 % interval), and what is found (`mean`, with its)."""
    told = [_foretold_row(lead) for scope in scopes(frame) for lead in leads(scope)]
    if not told:
        return None
    table = pd.DataFrame(told).assign(split=rows["split"].iloc[0])
    return table.dropna(subset=["foretold", "mean"]).reset_index(drop=True)


def _foretold_row(lead: Lead) -> dict[str, Any]:
    (low, high), (found_low, found_high) = lead.x.bounds(), lead.y.bounds()
    numbers = {"foretold": lead.x.effect, "foretold_low": low, "foretold_high": high}
    numbers |= {"mean": lead.y.effect, "low": found_low, "high": found_high}
    scope = lead.scope
    faults = ("diverged", "missing")
    counts = {fault: sum(getattr(arm, fault) for arm in lead.compared) for fault in faults}
    return {
        **{"baseline": scope.baseline, "setting": scope.setting, "cost": scope.cost},
        **{"phi": lead.arm.phi, "at": scope.at(lead.arm), "against": lead.against},
        **{name: float(number) / 100 for name, number in numbers.items()},
        **{"n": lead.y.n},
        **counts,
    }


def foretold_figure(table: pd.DataFrame) -> Figure:
    """Found against foretold leads, a point for each baseline, a panel for each cost; on the line both are
    the same."""
    names = list(dict.fromkeys(table["baseline"]))
    costs = list(table.groupby("phi"))
    figure, axes = row_of_panels(len(costs))
    for ax, (_, part) in zip(axes, costs, strict=True):
        ax.axhline(0, color="0.3", linewidth=1)
        ax.axvline(0, color="0.3", linewidth=1)
        for row in part.itertuples():
            colour, marker = look(row.baseline, names)
            own = part.loc[[row.Index]]
            x = percent(row.foretold)
            ax.hlines(
                percent(row.mean),
                percent(row.foretold_low),
                percent(row.foretold_high),
                color=colour,
            )
            bars(ax, [x], own, colour, marker, label=f"{row.baseline}, over {row.against}")
        ends = [percent(part["foretold"].min()), percent(part["foretold"].max())]
        ax.plot(ends, ends, color="0.7", linewidth=1, linestyle="--", zorder=0)
        ax.set_title(f"{part['at'].iloc[0]} the baseline's FLOPs")
        ax.set_xlabel("lead foretold by gains at the baseline (points)")
    axes[0].set_ylabel("compound's lead found (points)")
    key(axes[-1], "baseline")
    return headed(figure, "Do gains at the baseline foretell compound's lead?", table)


def foretold_found(table: pd.DataFrame) -> list[str]:
    """What was foretold of each baseline, and what was found."""
    return [
        f"{row.baseline} {row.at}: over {row.against}, which gains most at the baseline, compound's lead is "
        f"foretold as {percent(row.foretold):+.1f} points and found as {in_points(row)}."
        for row in table.itertuples()
    ]


# ---------------------------------------------------------------- the figures, in the order of the report

SEARCHES = (
    Drawing(
        name="grid",
        title="Grid search",
        says="which triples are best at twice the cost?",
        select=grid_rows,
        tabulate=grid_table,
        draw=grid_figure,
        found=grid_found,
        search=True,
        place=2,
    ),
    Drawing(
        name="star",
        title="Star fit",
        says="how does error fall along each dimension, and where is the optimum at each cost?",
        select=star_rows,
        tabulate=star_table,
        draw=star_figure,
        found=star_found,
        place=3,
    ),
    Drawing(
        name="foretold",
        title="What gains at baselines foretell",
        says="do gains at twice the cost foretell who wins beyond?",
        select=foretold_rows,
        tabulate=foretold_table,
        draw=foretold_figure,
        found=foretold_found,
        place=10,
        folds=True,
    ),
)
