"""Figures of the searches: the map of the grid search and the star fit."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablation.judge.halving import ranking
from ablation.judge.star import StarFit, star
from ablation.show.drawing import Drawing, accuracy_label, bars, headed, look
from ablation.show.words import percent
from ablation.theory.scaling import DIMENSIONS, RULES

# ---------------------------------------------------------------- grid search: alpha and beta, gamma solved


def grid_rows(summary: pd.DataFrame) -> pd.DataFrame | None:
    """All rows of a grid search."""
    return summary if len(summary) else None


def grid_table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """One row per candidate: its triple, the rung it reached, its network's mean there, how far that is
    behind the rung's best (with interval), whether it was kept, and in the last rung whether it is the best
    or not distinguishable from it (region)."""
    rungs = []
    for number, (setting, rung) in enumerate(frame.groupby("setting", sort=False), 1):
        if rung["accuracy"].isna().any():
            break
        ranked = ranking(rung).assign(rung=number, epochs=setting)
        ranked["region"] = ~(ranked["low"] > 0)
        rungs.append(
            ranked.rename(columns={"rule": "named"})
            .explode("candidates")
            .rename(columns={"candidates": "rule"})
        )
    if not rungs:
        return None
    reached = pd.concat(rungs).drop_duplicates("rule", keep="last")
    triples = rows.drop_duplicates("rule")[
        ["rule", "phi", "alpha", "beta", "gamma", "cost", "split"]
    ]
    table = triples.merge(reached, on="rule").assign(
        n=int(rows["n"].max()), diverged=rows["diverged"].sum(), missing=rows["missing"].sum()
    )
    last = table["rung"] == table["rung"].max()
    table["best"] = last & (table["behind"] == 0) & (table["rule"] == table["named"])
    table["region"] &= last
    return (
        table.drop(columns="named")
        .sort_values(["rung", "mean"], ascending=False, kind="stable")
        .reset_index(drop=True)
    )


def grid_figure(table: pd.DataFrame) -> Figure:
    """A cell for each candidate: gamma, and how many points its network is behind the best of the last rung
    that it reached."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    ax = figure.subplots()
    cells = table[~table["rule"].isin(RULES)]
    alphas = sorted(set(cells["alpha"]))
    betas = sorted(set(cells["beta"]))
    grid = np.full((len(betas), len(alphas)), np.nan)
    for row in cells.itertuples():
        x, y = alphas.index(row.alpha), betas.index(row.beta)
        grid[y, x] = percent(row.behind)
        rung = "" if row.rung == table["rung"].max() else f"\nout at {row.rung}"
        ax.text(
            x,
            y,
            f"γ {row.gamma:.3g}\n{-percent(row.behind) or 0:.1f}{rung}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="black",
        )
        if row.region:
            ax.add_patch(
                Rectangle(
                    (x - 0.47, y - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=2.2
                )
            )
        if row.best:
            ax.plot(x + 0.33, y + 0.31, marker="*", color="black", markersize=12)
    image = ax.imshow(grid, origin="lower", cmap="cividis_r", vmin=0, alpha=0.55, aspect="auto")
    for name, rule in RULES.items():
        if name in set(table["rule"]):
            place = (
                np.interp(rule.alpha, alphas, range(len(alphas))),
                np.interp(rule.beta, betas, range(len(betas))),
            )
            ax.plot(
                place[0] - 0.36,
                place[1] + 0.33,
                marker=look(name)[1],
                color=look(name)[0],
                markersize=7,
                linestyle="",
                label=f"the paper's {name}",
            )
    ax.plot(
        [],
        [],
        marker="*",
        color="black",
        markersize=12,
        linestyle="",
        label="best of the last rung",
    )
    ax.plot(
        [],
        [],
        marker="s",
        markerfacecolor="none",
        color="black",
        linestyle="",
        markersize=11,
        label="not distinguishable from it",
    )
    ax.set_xticks(range(len(alphas)), [f"{alpha:.3g}" for alpha in alphas])
    ax.set_yticks(range(len(betas)), [f"{beta:.3g}" for beta in betas])
    ax.set_xlabel("α (depth)")
    ax.set_ylabel("β (width); γ solved from αβ²γ² = 2")
    ax.grid(visible=False)
    figure.colorbar(
        image,
        ax=ax,
        label=f"{table['split'].iloc[0]} accuracy behind the rung's best (points)",
        shrink=0.85,
    )
    ax.legend(loc="upper right", frameon=False)
    what = (
        "points behind the best of the last rung that a candidate reached; a rung for each number of "
        "epochs"
    )
    return headed(
        figure,
        f"Grid search at {2 ** table['phi'].iloc[0]:.3g} times the baseline's cost",
        table,
        what,
    )


def grid_found(table: pd.DataFrame) -> list[str]:
    """The highest mean of the last rung, and which others cannot be told from it."""
    last = table[table["rung"] == table["rung"].max()]
    best = last[last["best"]].iloc[0]
    others = last[last["behind"] > 0]
    highest = f"the highest mean is that of {best['rule']}, {percent(best['mean']):.1f} %"
    text = f"{len(last)} of {len(table)} candidates trained for {best['epochs']}; {highest}."
    if others.empty:
        return [text]
    after = next(others.sort_values("behind").itertuples())
    interval = f"{percent(after.low):+.1f} to {percent(after.high):+.1f}"
    behind = f"{percent(after.behind):.1f} points behind ({interval})"
    level = (
        f"{int(others['region'].sum())} of the {len(others)} others of that rung are behind by intervals "
        "that include 0"
    )
    return [f"{text} {level}; the next one, {after.rule}, is {behind}."]


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
