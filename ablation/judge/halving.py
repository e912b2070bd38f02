"""Searches: which candidates go on to the next rung of the grid search, and what the star fit says to train
next. Frames in, rules out."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablation.judge.frame import sample
from ablation.theory.scaling import Rule

NETWORK = ["depths", "widths", "pixels"]  # the columns that tell one built network from another


def ranking(rung: pd.DataFrame) -> pd.DataFrame:
    """The networks of one rung, best first, each once, whatever number of candidates builds it.

    Columns: rule (of those candidates the one nearest to what was built), candidates (all their names), mean
    accuracy over seeds; behind, low, high: how far it is behind the best, with the t interval of
    statistics.Sample (NaN for the best itself); kept: in the better half, or not distinguishable from the
    best.
    """
    runs, places = sample(rung)
    means = [float(runs.mean(place).effect) for place in range(runs.count)]
    best = np.eye(runs.count)[int(np.nanargmax(means))]
    rows = []
    for place, built in rung.groupby(places):
        behind = runs.contrast(best - np.eye(runs.count)[place])
        low, high = behind.bounds()
        distance = {row["rule"]: _distance(row) for row in built.to_dict("records")}
        ours = {
            "rule": min(distance, key=distance.__getitem__),
            "candidates": list(distance),
            "mean": means[place],
        }
        rows.append(ours | {"behind": float(behind.effect), "low": float(low), "high": float(high)})
    table = (
        pd.DataFrame(rows)
        .sort_values("mean", ascending=False, kind="stable")
        .reset_index(drop=True)
    )
    return table.assign(kept=(table.index < math.ceil(len(table) / 2)) | ~(table["low"] > 0))


def _distance(row: Mapping[str, Any]) -> float:
    """How far the built network lies from the direction of its rule, in the measure of the matched choice
    (cost.matched)."""
    rule = Rule(row["rule"], row["alpha"], row["beta"], row["gamma"])
    intended = rule.at(rule.exponent(row["phi"]))
    return math.hypot(
        *(
            w * math.log2(row[name] / getattr(intended, name))
            for name, w in (("depth", 1), ("width", 2), ("resolution", 2))
        )
    )


def survivors(rung: pd.DataFrame) -> set[str]:
    """Names of the candidates that the next rung trains."""
    table = ranking(rung)
    kept = table[table["kept"]]
    return set().union(*kept["candidates"])
