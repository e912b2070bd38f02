"""Intervals over seeds. The seed is the unit of replication; its variance is pooled over the networks of a study."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A standard deviation and its degrees of freedom; NaN and 0 where no group has two values."""

    deviation: float
    freedom: int


@dataclass(frozen=True)
class Interval:
    """A mean of n values with its t interval; low and high are NaN where there is no variance to judge by."""

    mean: float
    low: float
    high: float
    n: int


def pooled(groups: Iterable[Floats]) -> Spread:
    """The standard deviation within groups of shape (n_i,), assumed equal in all: sqrt(sum of squares / sum of (n_i - 1))."""
    groups = [np.asarray(group, float) for group in groups]
    freedom = sum(max(0, len(group) - 1) for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups if len(group))
    return Spread(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


def interval(values: Floats, spread: Spread, level: float = 0.95) -> Interval:
    """Mean of `values` (n,) with a two-sided t interval of half-width t(freedom) * deviation / sqrt(n); all NaN for no values."""
    values = np.asarray(values, float)
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    half = float(stats.t.ppf((1 + level) / 2, spread.freedom)) * spread.deviation / math.sqrt(len(values)) if spread.freedom else math.nan
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half, len(values))
