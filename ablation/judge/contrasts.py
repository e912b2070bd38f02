"""Contrasts between networks over seeds: estimates, t intervals, tests, power. The seed is the unit of
replication.

Arrays may carry leading axes: one sample is the common case, thousands of simulated ones the test of it
(ablation.judge.simulate).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

LEVEL = 0.95  # of every interval; a test's level is 1 - LEVEL
POWER = 0.8  # the chance to see an effect that a number of seeds is planned for
MOST_SEEDS = 100  # nobody trains more for one comparison

# Variances are pooled only where Bartlett's test finds nothing against it at this level. A test at 0.05 is
# too weak for that: with 3 seeds it notices standard deviations of 2 to 1 in one study of ten, and false
# verdicts on the noisy network then come at 8 % instead of 5. At 0.5 they come at 6 %; the price, where
# variances are equal, is a power of 0.42 instead of 0.64; from 5 seeds on both differ little
# (ablation.judge.simulate). Bartlett rather than Brown and Forsythe, whose distances from a median of three
# values always include a zero; what Bartlett is blamed for, taking long tails for unequal variances, errs on
# the safe side.
SCREEN = 0.5


@dataclass(frozen=True)
class Estimate:
    """Contrasts with standard error and degrees of freedom, arrays of one shape; n: runs of the least
    replicated network; paired: whether the seeds' own shifts drop out.

    error and freedom are NaN where there is no variance to judge by, effect too where a network has no run.
    """

    effect: Floats
    error: Floats
    freedom: Floats
    n: int
    paired: bool

    def bounds(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """The two-sided t interval."""
        half = stats.t.ppf((1 + level) / 2, self.freedom) * self.error
        return self.effect - half, self.effect + half

    @property
    def different(self) -> Floats:
        """Two-sided p value of no effect."""
        return 2 * stats.t.sf(np.abs(self.effect) / self.error, self.freedom)

    def equivalent(self, margin: float) -> Floats:
        """p value of an effect as large as the margin, the larger of two one-sided tests (Schuirmann 1987);
        small says equivalent."""
        return stats.t.sf((margin - np.abs(self.effect)) / self.error, self.freedom)


@dataclass(frozen=True)
class Sample:
    """Runs of one study: values (..., runs) and for each run the index of its network and of its seed.

    The model is value = network + seed + noise: a seed may shift every network alike, the noise is normal and
    independent, its variance one for all networks unless they show otherwise. Networks and seeds are fitted
    by ordinary least squares, so where all runs are present an effect is the difference of plain means, and
    where some are missing the seeds' shifts are taken out first.

    * A contrast from which the seeds drop out is judged by what networks and seeds leave unexplained:
    (networks - 1)(seeds - 1) degrees of
      freedom where all runs are present. This is what pairing by seed buys.
    * Anything else, a mean or networks that have no seeds in common, keeps the seeds' shifts: plain means,
    the variance within networks, and
      Satterthwaite's degrees of freedom, since the networks of one seed then err together.
    * Where Bartlett's test finds the variances unequal, every network is judged by its own (by the pooled one
    where it shows none), with
      Welch and Satterthwaite's degrees of freedom. A common shift stays in these variances: such
      intervals are rather too wide.
    """

    values: Floats
    networks: NDArray[np.intp]
    seeds: NDArray[np.intp]
    count: int  # of networks; those without a run have no effect

    def contrast(self, weights: Floats) -> Estimate:
        """The sum of `weights` (count,) x the networks' values."""
        n = int(self.runs[weights != 0].min(initial=len(self.networks)))
        shares, paired = (
            self._shares(weights) if n else (np.full(len(self.networks), np.nan), False)
        )
        squares = np.bincount(self.networks, shares**2, self.count)
        spread, freedom = self._residual if paired else self._within
        own, own_freedom = _satterthwaite(
            *(part[..., squares > 0] for part in (squares * self._own[0], self._own[1]))
        )
        variance = np.where(self.unequal, own, spread * squares.sum())
        known = variance > self._nothing
        error = np.sqrt(np.where(known, variance, np.nan))
        return Estimate(
            self.values @ shares,
            error,
            np.where(known, np.where(self.unequal, own_freedom, freedom), np.nan),
            n,
            paired,
        )

    def mean(self, network: int) -> Estimate:
        """The mean of one network over its seeds."""
        return self.contrast(np.eye(self.count)[network])

    @cached_property
    def runs(self) -> NDArray[np.intp]:
        """Runs of each network (count,)."""
        return np.bincount(self.networks, minlength=self.count)

    @cached_property
    def variances(self) -> Floats:
        """The variance within each network (..., count), NaN for fewer than two runs."""
        return (
            np.square(self._deviations)
            @ self._indicators
            / np.where(self.runs > 1, self.runs - 1, np.nan)
        )

    @cached_property
    def equality(self) -> Floats:
        """p value of equal variances in all networks (Bartlett 1937), NaN where fewer than two have a
        variance."""
        groups = [
            self.values[..., self.networks == network] for network in np.flatnonzero(self.runs > 1)
        ]
        if len(groups) < 2:
            return np.full(self.values.shape[:-1], np.nan)
        # Equal accuracies have a variance of 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            return stats.bartlett(*groups, axis=-1).pvalue

    @cached_property
    def unequal(self) -> NDArray[np.bool_]:
        """Whether each network is judged by its own variance."""
        return self.equality < SCREEN

    @property
    def deviation(self) -> Floats:
        """Standard deviation of a run once networks and seeds are taken out; NaN where nothing is left to
        judge by."""
        return np.sqrt(self._residual[0]) if self._squares[3] > 0 else np.asarray(math.nan)

    @cached_property
    def _indicators(self) -> Floats:
        return np.eye(self.count)[self.networks]

    @cached_property
    def _design(self) -> Floats:
        """Indicators of network and seed (runs, networks + seeds)."""
        return np.hstack([self._indicators, self.seeds[:, None] == np.unique(self.seeds)])

    @cached_property
    def _inverse(self) -> Floats:
        return np.linalg.pinv(self._design)

    @cached_property
    def _deviations(self) -> Floats:
        """Values less the mean of their network (..., runs)."""
        return (
            self.values
            - (self.values @ self._indicators / np.maximum(self.runs, 1))[..., self.networks]
        )

    @cached_property
    def _nothing(self) -> Floats:
        """Below this a variance is the rounding error of equal values."""
        return np.square(1e-9 * np.abs(self.values).max(axis=-1, initial=0))

    @cached_property
    def _own(self) -> tuple[Floats, Floats]:
        """Variance and degrees of freedom of each network (..., count); the pooled ones where a network shows
        none."""
        known = self.variances > self._nothing[..., None]
        pooled, freedom = (np.asarray(part)[..., None] for part in self._within)
        return np.where(known, self.variances, pooled), np.where(known, self.runs - 1, freedom)

    @cached_property
    def _squares(self) -> tuple[Floats, Floats, int, int]:
        """Sums of squares within networks that seeds explain and that they do not (...), and the degrees of
        freedom of each."""
        rank = round(float((self._inverse * self._design.T).sum()))
        networks = int((self.runs > 0).sum())
        rest = np.square(
            self._deviations - self._deviations @ self._inverse.T @ self._design.T
        ).sum(-1)
        return (
            np.square(self._deviations).sum(-1) - rest,
            rest,
            rank - networks,
            len(self.networks) - rank,
        )

    @cached_property
    def _residual(self) -> tuple[Floats, float]:
        """Variance and degrees of freedom once networks and seeds are taken out."""
        _, rest, _, freedom = self._squares
        return rest / freedom, freedom

    @cached_property
    def _within(self) -> tuple[Floats, Floats]:
        """Variance within networks and its degrees of freedom."""
        explained, rest, *freedoms = self._squares
        squares = np.stack([explained, rest], -1)
        freedom = np.array(freedoms, float)
        total = freedom.sum() or np.nan
        return _satterthwaite(squares[..., freedom > 0] / total, freedom[freedom > 0])

    def _shares(self, weights: Floats) -> tuple[Floats, bool]:
        """What each run contributes to a contrast (runs,), and whether seeds drop out of it."""
        wanted = np.append(weights, np.zeros(self._design.shape[1] - self.count))
        shares = wanted @ self._inverse
        shares = np.where(np.abs(shares) > 1e-9, shares, 0.0)
        if self._squares[3] > 0 and np.allclose(shares @ self._design, wanted):
            return shares, True
        return (weights / np.maximum(self.runs, 1))[self.networks], False


def _satterthwaite(parts: Floats, freedoms: NDArray[np.number]) -> tuple[Floats, Floats]:
    """The sum of independent variance estimates (..., parts) and its approximate degrees of freedom
    (Satterthwaite 1946)."""
    total = parts.sum(-1)
    squares = (np.square(parts) / np.where(freedoms > 0, freedoms, np.nan)).sum(-1)
    return total, np.divide(
        np.square(total), squares, out=np.full(np.shape(total), np.nan), where=squares > 0
    )


def holm(p: Floats) -> Floats:
    """p values (..., family) adjusted so that the chance of any false rejection in the family is held (Holm
    1979); NaN counts as 1."""
    filled = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(filled, axis=-1)
    ordered = np.take_along_axis(filled, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(ordered, axis=-1), 1.0)
    back = np.take_along_axis(adjusted, np.argsort(order, axis=-1), -1)
    return np.where(np.isnan(p), np.nan, back)


def least(estimates: Sequence[Estimate], level: float = LEVEL) -> tuple[Floats, Floats, Floats]:
    """The smallest of several effects and an interval for the smallest true one.

    It lies above the smallest lower bound, since all of them do (an intersection-union test, Berger 1982:
    nothing to adjust), and below every upper bound, where any may fail, so these share the error.
    """
    shared = 1 - (1 - level) / len(estimates)
    effects = np.stack([estimate.effect for estimate in estimates])
    lows = np.stack([estimate.bounds(level)[0] for estimate in estimates])
    highs = np.stack([estimate.bounds(shared)[1] for estimate in estimates])
    return effects.min(0), lows.min(0), highs.min(0)


# ---------------------------------------------------------------- planning


def power(
    effect: Floats | float, error: Floats | float, freedom: Floats | float, level: float = LEVEL
) -> Floats:
    """The chance that a two-sided t test finds a true effect in its direction."""
    # Beyond, the chance is 1 and scipy's sum overflows.
    noncentrality = np.minimum(np.abs(effect) / error, 100.0)
    return stats.nct.sf(stats.t.ppf((1 + level) / 2, freedom), freedom, noncentrality)


def detectable(error: float, freedom: float, level: float = LEVEL, chance: float = POWER) -> float:
    """The smallest true effect that a two-sided t test finds with this chance; NaN without degrees of
    freedom.

    For two networks of a complete study: error = deviation * sqrt(2 / seeds), freedom = (networks - 1)(seeds
    - 1).
    """
    if not (error > 0 and freedom >= 1):
        return math.nan
    most = 5 * float(stats.t.ppf((1 + level) / 2, freedom))
    return error * float(
        optimize.brentq(lambda ratio: power(ratio, 1.0, freedom, level) - chance, 0.0, most)
    )


def seeds_needed(
    effect: float, error: float, freedom: float, seeds: int, margin: float, comparisons: int = 1
) -> float:
    """The number of seeds with which an effect of the size now seen is told from 0, or found within the
    margin, with a chance of POWER, in a family of so many comparisons; infinite above MOST_SEEDS. Error and
    freedom are those of `seeds` seeds."""
    more = np.arange(seeds + 1, MOST_SEEDS + 1)
    errors = error * np.sqrt(seeds / more)
    freedoms = freedom * (more - 1) / max(seeds - 1, 1)
    told = power(effect, errors, freedoms, 1 - (1 - LEVEL) / comparisons)
    one_sided = 1 - 2 * (1 - LEVEL) / comparisons
    sides = [
        power(max(gap, 0.0), errors, freedoms, one_sided)
        for gap in (margin - abs(effect), margin + abs(effect))
    ]
    enough = (told >= POWER) | (sides[0] + sides[1] - 1 >= POWER)
    return float(more[enough][0]) if enough.any() else math.inf
