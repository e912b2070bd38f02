"""The grid search: a quadratic surface of accuracy over the shares of cost that go to depth, width and
resolution, and which of its networks may be the best."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablation.judge.contrasts import LEVEL, Floats, Sample
from ablation.judge.frame import sample
from ablation.theory.scaling import DIMENSIONS, Coefficients, Rule, angle, direction

TERMS = 6  # of the surface
DRAWS = 4000  # behind a critical value
ALONE = 1e-6  # a share no larger is none


def ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """The networks of a search that have a run, the best first, each once, whatever number of candidates
    builds it.

    Columns: rule (of those candidates the one nearest in direction to what was built), candidates (all their
    names); depth, width, resolution: its shares of the logarithm of cost; mean accuracy over seeds; fitted:
    that of the surface; behind, low, high: how far the surface is below its best, with bounds that hold for
    all networks together; region: whether it may be the best (see `may_be_best`); interior: whether it grows
    in all three dimensions; best. attrs["surface"]: what the surface is, in words.
    """
    runs, places = sample(frame)
    known = np.flatnonzero(runs.runs)
    shares = np.array([_shares(frame[places == place].iloc[0]) for place in known])
    weights, said = surface(runs, known, shares)
    fitted = np.array([float(runs.contrast(row).effect) for row in weights])
    best = int(np.argmax(fitted))
    behind, low, high = _behind(runs, weights, best)
    rows = []
    for number, place in enumerate(known):
        built = frame[places == place].drop_duplicates("rule").to_dict("records")
        nearest = min(built, key=_off)
        rows.append(
            {"rule": nearest["rule"], "candidates": [row["rule"] for row in built]}
            | dict(zip(DIMENSIONS, shares[number], strict=True))
            | {"mean": float(runs.mean(place).effect), "fitted": fitted[number]}
            | {"behind": behind[number], "low": low[number], "high": high[number]}
            | {"interior": bool(shares[number].min() > ALONE), "best": number == best}
        )
    table = pd.DataFrame(rows).assign(region=may_be_best(runs, weights))
    table = table.sort_values("fitted", ascending=False, kind="stable").reset_index(drop=True)
    table.attrs["surface"] = said
    return table


def _shares(row: pd.Series) -> Floats:
    """What depth, width and resolution have of the logarithm of the cost of a built network (3,)."""
    logarithms = np.array(direction(Coefficients(*(float(row[name]) for name in DIMENSIONS))))
    return logarithms / logarithms.sum()


def _off(row: Mapping[str, Any]) -> float:
    """Degrees between the direction of a rule and what was built."""
    rule = Rule(row["rule"], row["alpha"], row["beta"], row["gamma"])
    built = Coefficients(*(float(row[name]) for name in DIMENSIONS))
    return angle(rule.at(1.0), built) or 0.0


def surface(runs: Sample, known: np.ndarray, shares: Floats) -> tuple[Floats, str]:
    """The weights (len(known), networks) with which means become values of the surface, and what it is in
    words.

    The surface is Scheffe's quadratic for mixtures (1958): each share and each product of two, by least
    squares over runs. Where there are too few networks for it, or where they lie off it by more than their
    seeds explain (an F test at 5 %), every network keeps its own mean.
    """
    own = np.eye(runs.count)[known]
    depth, width, resolution = shares.T
    products = [depth * width, depth * resolution, width * resolution]
    terms = np.column_stack([shares, *products])
    if len(known) <= TERMS or np.linalg.matrix_rank(terms) < TERMS:
        return own, f"{len(known)} networks are too few for a surface: each by its own mean"
    counts = runs.runs[known]
    root = np.sqrt(counts)[:, None]
    fit = terms @ np.linalg.pinv(root * terms) * root.T
    means = np.array([float(runs.contrast(row).effect) for row in own])
    left = float((counts * (means - fit @ means) ** 2).sum()) / (len(known) - TERMS)
    variance, freedom = runs.noise
    p = (
        float(stats.f.sf(left / variance, len(known) - TERMS, freedom))
        if variance > 0
        else math.nan
    )
    if p < 1 - LEVEL:
        return own, f"the quadratic surface does not fit (p = {p:.2g}): each by its own mean"
    certain = "" if math.isnan(p) else f" (lack of fit: p = {p:.2g})"
    return fit @ own, f"a quadratic surface in the shares of cost{certain}"


def _behind(runs: Sample, weights: Floats, best: int) -> tuple[Floats, Floats, Floats]:
    """How far each network is below one of them, and bounds for all together (Dunnett 1955)."""
    effects, errors = _against(runs, weights, best)
    statistics = _statistics(runs, weights, _drawn(runs, weights), best)
    reach = float(np.quantile(np.abs(statistics).max(1, initial=0.0), LEVEL)) * errors
    reach[best] = 0.0
    return effects, effects - reach, effects + reach


def may_be_best(runs: Sample, weights: Floats) -> list[bool]:
    """Whether each network may be the best at LEVEL: it is not below any other by more than Dunnett's
    one-sided bound with itself as the control (multiple comparisons with the best, Hsu 1984). The true best
    is among them in 95 % of studies, however many networks there are. All may be where nothing is known of
    the noise."""
    drawn = _drawn(runs, weights)
    able = []
    for own in range(len(weights)):
        effects, errors = _against(runs, weights, own)
        statistics = _statistics(runs, weights, drawn, own)
        bound = float(np.quantile(statistics.max(1, initial=0.0), LEVEL)) * errors
        able.append(not bool((-effects > bound).any()))
    return able


def _against(runs: Sample, weights: Floats, control: int) -> tuple[Floats, Floats]:
    """How far one network is ahead of each, and the standard errors of that."""
    found = [runs.contrast(weights[control] - row) for row in weights]
    effects = np.array([float(each.effect) for each in found])
    return effects, np.array([float(each.error) for each in found])


def _drawn(runs: Sample, weights: Floats) -> Floats:
    """Draws of what the noise of its runs makes of each network's value, in deviations of a run and divided
    by what their estimate would be (draws, networks); the same ones every time. NaN where nothing is known of
    the noise."""
    variance, freedom = runs.noise
    if not variance > 0:
        return np.full((1, len(weights)), np.nan)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((DRAWS, runs.count)) / np.sqrt(np.maximum(runs.runs, 1))
    scale = np.sqrt(rng.chisquare(freedom, DRAWS) / freedom)
    return noise @ weights.T / scale[:, None]


def _statistics(runs: Sample, weights: Floats, drawn: Floats, control: int) -> Floats:
    """The t statistics of all networks against one, for those that differ from it (draws, others)."""
    differences = weights[control] - weights
    errors = np.sqrt((differences**2 / np.maximum(runs.runs, 1)).sum(1))
    others = errors > 0
    return (drawn[:, others] - drawn[:, [control]]) / errors[others]
