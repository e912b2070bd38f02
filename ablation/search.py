"""Searches: which candidates go on to the next rung of the grid search, and what the star fit says to train next. Frames in, rules out."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablation.fits import StarFit, fit_star, neighbours
from ablation.scaling import Rule
from ablation.statistics import interval, pooled

NETWORK = ["depths", "widths", "pixels"]  # the columns that tell one built network from another
SEED = 0  # of the bootstrap behind the star fit's intervals


def ranking(rung: pd.DataFrame) -> pd.DataFrame:
    """The networks of one rung, best first, each once, whatever number of candidates builds it.

    Columns: rule (of those candidates the one nearest to what was built), candidates (all their names), mean accuracy over seeds;
    behind, low, high: how far it is behind the best, with a 95 % t interval; kept: in the better half, or not distinguishable from the
    best. Seeds are shared, so differences are taken seed by seed, and their variance is pooled over the networks.
    """
    rung = rung.assign(network=rung[NETWORK].astype(str).agg(" ".join, axis=1))
    runs = rung.drop_duplicates("run_id").pivot(index="network", columns="seed", values="accuracy")
    behind = runs.loc[runs.mean(axis=1).idxmax()] - runs
    spread = pooled([row for _, row in behind.iterrows() if row.any()])
    rows = []
    for network, differences in behind.iterrows():
        built = rung[rung["network"] == network]
        middle = interval(differences.to_numpy(float), spread)
        distance = {row["rule"]: _distance(row) for row in built.to_dict("records")}
        ours = {"rule": min(distance, key=distance.__getitem__), "candidates": list(distance), "mean": runs.loc[network].mean()}
        rows.append(ours | {"behind": middle.mean, "low": middle.low, "high": middle.high})
    table = pd.DataFrame(rows).sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
    return table.assign(kept=(table.index < math.ceil(len(table) / 2)) | ~(table["low"] > 0))


def _distance(row: Mapping[str, Any]) -> float:
    """How far the built network lies from the direction of its rule, in the measure of the matched choice (cost.matched)."""
    rule = Rule(row["rule"], row["alpha"], row["beta"], row["gamma"])
    intended = rule.at(rule.exponent(row["phi"]))
    return math.hypot(*(w * math.log2(row[name] / getattr(intended, name)) for name, w in (("depth", 1), ("width", 2), ("resolution", 2))))


def survivors(rung: pd.DataFrame) -> set[str]:
    """Names of the candidates that the next rung trains."""
    table = ranking(rung)
    return {name for names in table[table["kept"]]["candidates"] for name in names}


def star(frame: pd.DataFrame) -> StarFit:
    """The star fit of a frame: errors are means over seeds, with standard errors from the variance pooled over the networks.

    Raises ValueError for fewer networks than the fit needs, and for one seed, which gives no standard error.
    """
    groups = [rows for _, rows in frame[frame["accuracy"].notna()].drop_duplicates("run_id").groupby(NETWORK, sort=False)]
    spread = pooled([rows["accuracy"].to_numpy(float) for rows in groups])
    if not spread.freedom:
        raise ValueError("the star fit needs two seeds or more of some network: study.seeds=[0,1,2]")
    coefficients = np.array([rows.iloc[0][["depth", "width", "resolution"]].to_numpy(float) for rows in groups])
    errors = np.array([1 - rows["accuracy"].mean() for rows in groups])
    deviations = np.array([spread.deviation / math.sqrt(len(rows)) for rows in groups])
    return fit_star(coefficients, errors, deviations, np.random.default_rng(SEED))


def star_neighbours(frame: pd.DataFrame, budget: float, step: float) -> dict[str, Rule]:
    """The optimum that the star fit predicts at a budget and its neighbours at the same cost; see `fits.neighbours`."""
    return neighbours(star(frame).laws.optimum(budget), budget, step)
