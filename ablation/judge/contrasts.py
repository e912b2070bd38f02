"""Contrasts between networks: estimates, t intervals, tests. The unit of replication is the seed, and
where it is known which images a run got right, the image, too.

Arrays may carry leading axes: one sample is the common case, thousands of simulated ones the test of it
(ablation.judge.simulate).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95  # of every interval; a test's level is 1 - LEVEL

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

    seeds: error and freedom over other seeds on these images. error, freedom: where images is set, over other
    seeds and other images of the kind, or over seeds alone where that interval is the wider; else the same as
    seeds. All are NaN where there is no variance to judge by, effect too where a network has no run.
    """

    effect: Floats
    error: Floats
    freedom: Floats
    n: int
    paired: bool
    seeds: tuple[Floats, Floats]
    images: bool = False

    def bounds(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """The two-sided t interval, over images too where they are known."""
        half = half_width(self.error, self.freedom, level)
        return self.effect - half, self.effect + half

    @property
    def over_seeds(self) -> "Estimate":
        """The same over other seeds on these images."""
        error, freedom = self.seeds
        return replace(self, error=error, freedom=freedom, images=False)

    @property
    def different(self) -> Floats:
        """Two-sided p value of no effect."""
        return 2 * stats.t.sf(np.abs(self.effect) / self.error, self.freedom)

    def equivalent(self, margin: float) -> Floats:
        """p value of an effect as large as the margin, the larger of two one-sided tests (Schuirmann 1987);
        small says equivalent."""
        return stats.t.sf((margin - np.abs(self.effect)) / self.error, self.freedom)


def half_width(error: Floats, freedom: Floats, level: float = LEVEL) -> Floats:
    """Of a two-sided t interval."""
    return stats.t.ppf((1 + level) / 2, freedom) * error


@dataclass(frozen=True)
class Images:
    """How answers (right or wrong) of runs go together over images. covariance (..., runs, runs): in squared
    units of the values, NaN between runs that were not measured on the same images; counts (runs,): of images
    of each run, 0 where it is not known which it got right."""

    covariance: Floats
    counts: NDArray[np.intp]

    @classmethod
    def of(cls, answers: Sequence[tuple[str, NDArray[np.bool_]] | None]) -> "Images":
        """From what each run got right: which images, by name, and right or wrong (images,); None where that
        is not known. One image alone tells nothing of others."""
        covariance = np.full((len(answers), len(answers)), np.nan)
        names = [each[0] if each and len(each[1]) > 1 else None for each in answers]
        for name in dict.fromkeys(filter(None, names)):
            own = [run for run, other in enumerate(names) if other == name]
            right = np.stack([each[1] for each in answers if each and each[0] == name])
            covariance[np.ix_(own, own)] = covariances(right.astype(float))
        return cls(covariance, np.array([len(each[1]) if each else 0 for each in answers], int))

    def scaled(self, factors: Floats) -> "Images":
        """The same of values that are each (runs,) times as large."""
        return replace(self, covariance=factors[:, None] * self.covariance * factors)


def covariances(values: Floats) -> Floats:
    """Of rows (..., runs, images) over their images: (..., runs, runs)."""
    centred = values - values.mean(-1, keepdims=True)
    return centred @ np.swapaxes(centred, -1, -2) / (values.shape[-1] - 1)


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

    All that speaks of other seeds on these images. images are a second, crossed factor: the variance of a
    contrast is then that over seeds plus that over images less what both contain, the residual of the table
    seeds x images, and at least the larger of the two (the two-way random model with one observation a cell;
    Satterthwaite's freedom over the three mean squares).
    """

    values: Floats
    networks: NDArray[np.intp]
    seeds: NDArray[np.intp]
    count: int  # of networks; those without a run have no effect
    images: Images | None = None

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
        freedom = np.where(known, np.where(self.unequal, own_freedom, freedom), np.nan)
        effect = self.values @ shares
        seeds = error, freedom
        between = self._between(shares)
        if between is None:
            return Estimate(effect, error, freedom, n, paired, seeds)
        wider = self._over_images(shares, between, error, freedom)
        return Estimate(effect, *wider, n, paired, seeds, images=True)

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

    def _between(self, shares: Floats) -> Floats | None:
        """How the answers of all runs that a contrast uses go together (..., used, used); None where it is
        not known of all of them which of the same images they got right."""
        used = np.flatnonzero(shares)
        if self.images is None or not used.size:
            return None
        between = self.images.covariance[..., used, :][..., used]
        return None if np.isnan(between).any() else between

    def _over_images(
        self, shares: Floats, between: Floats, error: Floats, freedom: Floats
    ) -> tuple[Floats, Floats]:
        """Error and freedom of a contrast over seeds and images, from those over seeds."""
        assert self.images is not None
        used = np.flatnonzero(shares)
        count = int(self.images.counts[used[0]])
        over_images = _quadratic(shares[used], between) / count
        parts = self._residuals(shares)[:, used]
        both = sum(_quadratic(part, between) for part in parts) / count
        over_seeds = np.square(error)
        total = np.maximum(over_seeds + over_images - both, np.maximum(over_seeds, over_images))
        crossed = max(len(parts) - 1, 1) * (count - 1)
        squares = (
            np.square(over_seeds) / freedom
            + np.square(over_images) / (count - 1)
            + np.square(both) / crossed
        )
        wider = np.sqrt(total), np.square(total) / squares
        over_both = half_width(*wider) >= half_width(error, freedom)
        return np.where(over_both, wider[0], error), np.where(over_both, wider[1], freedom)

    def _residuals(self, shares: Floats) -> Floats:
        """What each seed's runs contribute to a contrast once its networks' own answers are taken out (seeds,
        runs): squared over images, they estimate what varies with seed and image together.

        A network with one run tells nothing of that.
        """
        used = shares != 0
        runs = np.bincount(self.networks[used], minlength=self.count)
        repeated = runs[self.networks] > 1
        size = np.maximum(runs, 2)[self.networks]
        weighted = np.where(used & repeated, shares * np.sqrt(size / (size - 1)), 0.0)
        by_seed = (self.seeds == np.unique(self.seeds[used])[:, None]) * weighted
        of_network = by_seed @ self._indicators
        return by_seed - np.where(used, (of_network / np.maximum(runs, 1))[:, self.networks], 0.0)


def _quadratic(weights: Floats, matrix: Floats) -> Floats:
    """weights (n,) x matrix (..., n, n) x weights."""
    return (matrix @ weights) @ weights


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


def in_sequence(p: Floats, chains: Sequence[Sequence[int]]) -> Floats:
    """p values (..., family) adjusted where each chain, places in the family, is tested in its order, a test
    only where all before it reject, and Holm's method holds over the chains.

    The graph of Bretz et al. 2009 in which a chain hands its error on from test to test, and once it is
    through shares it among the chains left. NaN counts as 1.
    """
    filled = np.where(np.isnan(p), 1.0, p)
    adjusted = np.full(p.shape, np.nan)
    so_far = {
        place: filled[..., chain[: i + 1]].max(-1)
        for chain in chains
        for i, place in enumerate(chain)
    }
    through = holm(np.stack([so_far[chain[-1]] for chain in chains], -1))
    for own, chain in enumerate(chains):
        others = np.sort(np.delete(through, own, axis=-1), axis=-1)
        # Once k of the other chains are through, this one has a share of 1 / (chains - k) of the error.
        after = np.concatenate([np.zeros_like(through[..., :1]), others], -1)
        shares = np.arange(len(chains), 0, -1)
        for place in chain:
            tested = np.maximum(after, np.minimum(so_far[place][..., None] * shares, 1.0))
            adjusted[..., place] = tested.min(-1)
    return np.where(np.isnan(p), np.nan, adjusted)


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
