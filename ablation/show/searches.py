"""Figures of the searches: the map of the grid search and the star fit."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablation.judge.star import StarFit, star
from ablation.judge.surface import ALONE, ranking
from ablation.show.drawing import Drawing, accuracy_label, bars, headed, look
from ablation.show.words import listed, percent
from ablation.theory.scaling import DIMENSIONS, RULES

# ---------------------------------------------------------------- grid search: alpha and beta, gamma solved


def grid_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """All rows of a grid search."""
    return summary if len(summary) else None


def grid_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """One row per candidate: its triple, its network's shares of cost, measured mean and value on the
    surface, how far that is behind the best (with simultaneous bounds), whether it may be the best (region),
    whether it grows in all dimensions (interior), and whether it is the best by that. None without a run."""
    if frame["accuracy"].isna().all():
        return None
    ranked = ranking(frame)
    reached = ranked.rename(columns={"rule": "named"}).explode("candidates")
    reached = reached.rename(columns={"candidates": "rule"})
    triples = rows.drop_duplicates("rule")[
        ["rule", "phi", "alpha", "beta", "gamma", "cost", "split"]
    ]
    table = triples.merge(reached, on="rule").assign(
        n=int(rows["n"].max()), diverged=rows["diverged"].sum(), missing=rows["missing"].sum()
    )
    table["best"] &= table["rule"] == table["named"]
    table = table.drop(columns="named").sort_values("fitted", ascending=False, kind="stable")
    table.attrs["surface"] = ranked.attrs["surface"]
    return table.reset_index(drop=True)


def grid_figure(table: pd.DataFrame) -> Figure:
    """A cell for each candidate: gamma, and how many points its network is behind the best."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    ax = figure.subplots()
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
    image = ax.imshow(grid, origin="lower", cmap="cividis_r", vmin=0, alpha=0.55, aspect="auto")
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
    label = f"{table['split'].iloc[0]} accuracy behind the best (points)"
    figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    ax.legend(loc="upper right", frameon=False)
    what = "points behind the best; framed: may be the best, with 95 % certainty for all together"
    title = f"Grid search at {2 ** table['phi'].iloc[0]:.3g} times the baseline's cost"
    return headed(figure, title, table, table.attrs["surface"], what)


def grid_found(table: pd.DataFrame) -> list[str]:
    """The best triple, which others may be as good, and where it grows in one dimension or two the best of
    those that grow in all three."""
    best = table[table["best"]].iloc[0]
    networks = table.drop_duplicates("fitted")
    others = networks[networks["region"] & ~networks["best"]]
    named = (
        f"The best of {len(table)} candidates is {best['rule']}, {percent(best['fitted']):.1f} %"
    )
    level = f"{len(others)} of the {len(networks) - 1} other networks may be as good"
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
    bounds = f"{percent(first['low']):+.1f} to {percent(first['high']):+.1f}"
    behind = f"{percent(first['behind']):.1f} points behind ({bounds})"
    return f"{said}; the best triple that grows in all three, {first['rule']}, is {behind}."


# ---------------------------------------------------------------- star fit: one dimension at a time around a
# centre

STEPS = 40  # of a fitted curve


def star_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """Explicit coefficients that differ from their most common values in one dimension at most; eight
    networks or more."""
    chosen = summary[summary["rule"] == "coefficients"]
    if len(chosen) < 8:
        return None
    centre = [chosen[name].mode()[0] for name in DIMENSIONS]
    moved = (~np.isclose(chosen[list(DIMENSIONS)], centre)).sum(axis=1)
    return chosen if moved.max() == 1 else None


def star_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Measured means, and along each dimension the fitted curve with its 95 % bootstrap band: kind `measured`
    or `fitted`, dimension, depth, width, resolution, mean, low, high (accuracies). None for a single seed,
    which gives the fit no standard error."""
    if rows["low"].isna().all():
        return None
    fit = star(frame)
    centre = {name: rows[name].mode()[0] for name in DIMENSIONS}
    parts = []
    for name in DIMENSIONS:
        others = [other for other in DIMENSIONS if other != name]
        measured = rows[
            np.isclose(rows[others], [centre[other] for other in others]).all(axis=1)
        ].assign(kind="measured", dimension=name)
        x = np.geomspace(measured[name].min(), measured[name].max(), STEPS)
        points = pd.DataFrame(
            {**{other: np.full(STEPS, centre[other]) for other in others}, name: x}
        )
        coefficients = points[list(DIMENSIONS)].to_numpy(float)
        low, high = fit.band(coefficients)
        parts += [
            measured,
            points.assign(
                kind="fitted",
                dimension=name,
                mean=1 - fit.laws(coefficients),
                low=1 - high,
                high=1 - low,
            ),
        ]
    table = pd.concat(parts, ignore_index=True)
    table.attrs["says"] = sentences(fit)
    return table


def sentences(fit: StarFit) -> list[str]:
    """What the star fit says, in words: the triple with intervals, the floor, what is not identified."""
    rule = fit.laws.rule
    between = {
        name: "{:.2f} to {:.2f}".format(*fit.interval(name)) for name in ("alpha", "beta", "gamma")
    }
    triple = ", ".join(
        f"{name} {getattr(rule, name):.2f} ({between[name]})" for name in ("alpha", "beta", "gamma")
    )
    loose = f"; not identified: {', '.join(fit.unidentified)}" if fit.unidentified else ""
    return [
        f"cost-optimal triple with 95 % parametric bootstrap intervals: {triple}",
        f"the paper's: 1.20, 1.10, 1.15{loose}",
    ]


def star_figure(table: pd.DataFrame) -> Figure:
    """Accuracy along each dimension through the centre, with the fitted power laws."""
    figure = Figure(figsize=(12.4, 4.8), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, name in zip(axes, DIMENSIONS, strict=True):
        colour, marker = look(name)
        rows = table[table["dimension"] == name]
        fitted = rows[rows["kind"] == "fitted"]
        measured = rows[rows["kind"] == "measured"]
        ax.fill_between(
            fitted[name],
            percent(fitted["low"]),
            percent(fitted["high"]),
            color=colour,
            alpha=0.18,
            linewidth=0,
            label="95 % band of the fit",
        )
        ax.plot(fitted[name], percent(fitted["mean"]), color=colour, linewidth=1.6, label="fit")
        bars(ax, measured[name], measured, colour, marker, label="mean over seeds")
        ax.set_xscale("log")
        ticks = sorted(set(measured[name].round(2)))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlabel(f"{name} coefficient")
    axes[0].set_ylabel(accuracy_label(table[table["kind"] == "measured"]))
    axes[0].legend(frameon=False, loc="lower right")
    measured = table[table["kind"] == "measured"].assign(n=lambda rows: rows["n"].astype(int))
    measured.attrs["note"] = table.attrs.get("note", [])
    return headed(
        figure,
        "error = E + A·d^-a + B·w^-b + C·r^-c, fitted to one dimension at a time",
        measured,
        *table.attrs["says"],
    )


def star_found(table: pd.DataFrame) -> list[str]:
    """The triple that follows from the fit."""
    return [f"{text[:1].upper()}{text[1:]}." for text in table.attrs["says"]]


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
        says="how does error fall along each dimension, and which triple follows?",
        select=star_rows,
        tabulate=star_table,
        draw=star_figure,
        found=star_found,
        place=3,
    ),
)
