"""The grid search: a quadratic surface of accuracy over the shares of cost that go to depth, width and
resolution, and which of its networks may be the best."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ablation.judge.contrasts import LEVEL, Floats, Sample, half_width
from ablation.judge.frame import sample
from ablation.theory.scaling import DIMENSIONS, Coefficients, Rule, angle, direction

TERMS = 6  # of the surface
DRAWS = 4000  # behind a critical value
SAME = 1e-9  # weights no farther apart are the same
EXACT = 1e-18  # a sum of squares no larger is the rounding error of equal accuracies
ALONE = 1e-6  # a share no larger is none


def ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """The networks of a search that have a run, the best first, each once, whatever number of candidates
    builds it.

    Columns: rule (of those candidates the one nearest in direction to what was built), candidates (all their
    names); depth, width, resolution: its shares of the logarithm of cost; mean accuracy over seeds; fitted:
    that of the surface; behind: how far that is below the surface's best; low, high: how far it truly is
    below the true best, with bounds that hold for all networks together; region: whether it may be the best
    itself (see `below_best`); interior: whether it grows in all three dimensions; best. attrs["surface"]:
    what the surface is, in words.
    """
    runs, places = sample(frame)
    known = np.flatnonzero(runs.runs)
    shares = np.array([_shares(frame[places == place].iloc[0]) for place in known])
    weights, said = surface(runs, known, shares)
    gaps, able, low, high = below_best(runs, weights)
    best = int(np.argmin(gaps.max(1)))
    top = float(runs.contrast(weights[best]).effect)
    rows = []
    for number, place in enumerate(known):
        built = frame[places == place].drop_duplicates("rule").to_dict("records")
        nearest = min(built, key=_off)
        behind = gaps[number, best]
        rows.append(
            {"rule": nearest["rule"], "candidates": [row["rule"] for row in built]}
            | dict(zip(DIMENSIONS, shares[number], strict=True))
            | {"mean": float(runs.mean(place).effect), "fitted": top - behind}
            | {"behind": behind, "low": low[number], "high": high[number]}
            | {"region": bool(able[number]), "interior": bool(shares[number].min() > ALONE)}
            | {"best": number == best}
        )
    table = pd.DataFrame(rows).sort_values("behind", kind="stable").reset_index(drop=True)
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
        return own, f"each network's own mean (too few for a surface: {len(known)})"
    p = misfit(runs, terms[np.searchsorted(known, runs.networks)])
    if p < 1 - LEVEL:
        return own, f"each network's own mean (the quadratic surface does not fit: p = {p:.2g})"
    root = np.sqrt(runs.runs[known])[:, None]
    fit = terms @ np.linalg.pinv(root * terms) * root.T
    certain = "" if math.isnan(p) else f" (lack of fit: p = {p:.2g})"
    return fit @ own, f"a quadratic surface in the shares of cost{certain}"


def misfit(runs: Sample, terms: Floats) -> float:
    """p value of networks that lie off a linear model no further than their seeds explain: the F test of the
    runs around the model (terms: (runs, parameters)) against the runs around their networks, each with shifts
    of the seeds. NaN where nothing is left to judge by."""
    seeds = runs.seeds[:, None] == np.unique(runs.seeds)
    model, fewer = _left(runs.values, np.hstack([terms, seeds]))
    networks, more = _left(runs.values, np.hstack([np.eye(runs.count)[runs.networks], seeds]))
    freedom = len(runs.values) - more
    if not (freedom and networks > EXACT and more > fewer):
        return math.nan
    ratio = (model - networks) / (more - fewer) / (networks / freedom)
    return float(stats.f.sf(ratio, more - fewer, freedom))


def _left(values: Floats, design: Floats) -> tuple[float, int]:
    """The sum of squares that a linear model leaves of values, and its rank."""
    left = values - design @ (np.linalg.pinv(design) @ values)
    return float(np.square(left).sum()), int(np.linalg.matrix_rank(design))


def below_best(runs: Sample, weights: Floats) -> tuple[Floats, NDArray[np.bool_], Floats, Floats]:
    """Of n values, `weights` (n, networks) x the means of networks: gaps (..., n, n), how far each is below
    each other one; able (..., n), whether its true value may be the best of the true ones; low, high (...,
    n), how far that is below the best. All this holds together at LEVEL, whichever is the best and whichever
    seems so. Where nothing is known of the noise all are able and the bounds are NaN.

    These are multiple comparisons with the best (Edwards and Hsu 1983): Dunnett's bounds with the true best
    as the control hold at LEVEL. Unknown as it is, it is one of those which their own bounds as the control
    leave below no other, and the rest is true of any of these.
    """
    size = len(weights)
    gaps, reach = np.zeros((2, *runs.values.shape[:-1], size, size))
    levels = _levels(runs, weights)
    for control, other in itertools.permutations(range(size), 2):
        difference = weights[other] - weights[control]
        if np.abs(difference).max() > SAME:
            found = runs.contrast(difference)
            gaps[..., control, other] = found.effect
            reach[..., control, other] = half_width(found.error, found.freedom, levels[control])
    able = ~((gaps - reach).max(-1) > 0)
    best, around = able[..., None, :], np.swapaxes(reach, -1, -2)
    low = np.where(best, gaps - around, np.inf).min(-1)
    high = np.where(best, gaps + around, -np.inf).max(-1)
    return gaps, able, np.maximum(low, 0), high


def _levels(runs: Sample, weights: Floats) -> Floats:
    """For each of n values as the control (n,): the level of a t interval around its difference to one other
    at which those to all others hold together at LEVEL.

    Differences go together as they do where all runs vary alike; each keeps its own degrees of freedom
    (Hasler and Hothorn 2008). From a fixed set of draws.
    """
    deviations = 1 / np.sqrt(np.maximum(runs.runs, 1))
    noise = np.random.default_rng(0).standard_normal((DRAWS, runs.count)) * deviations
    levels = []
    for control in weights:
        differences = control - weights
        differences = differences[np.abs(differences).max(1) > SAME]
        errors = np.sqrt(np.square(differences * deviations).sum(1))
        largest = np.abs(noise @ differences.T / errors).max(1, initial=0.0)
        levels.append(2 * stats.norm.cdf(np.quantile(largest, LEVEL)) - 1)
    return np.array(levels)
