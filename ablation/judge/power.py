"""How many seeds it takes: the chance to see an effect, the least effect that is seen, and the number of
seeds that settles one."""

import math

import numpy as np
from scipy import optimize, stats

from ablation.judge.contrasts import LEVEL, Estimate, Floats

POWER = 0.8  # the chance to see an effect that a number of seeds is planned for
MOST_SEEDS = 100  # nobody trains more for one comparison


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
    effect: float,
    error: float,
    freedom: float,
    seeds: int,
    margin: float,
    comparisons: int = 1,
    images: float = 0.0,
) -> float:
    """The number of seeds with which an effect of the size now seen is told from 0, or found within the
    margin, with a chance of POWER, in a family of so many comparisons; infinite above MOST_SEEDS. Error and
    freedom are those of `seeds` seeds; images: the variance over images, which no seed makes smaller."""
    more = np.arange(seeds + 1, MOST_SEEDS + 1)
    over_seeds = error**2 * seeds / more
    errors = np.sqrt(over_seeds + images)
    freedoms = freedom * (more - 1) / max(seeds - 1, 1) * np.square(errors**2 / over_seeds)
    told = power(effect, errors, freedoms, 1 - (1 - LEVEL) / comparisons)
    one_sided = 1 - 2 * (1 - LEVEL) / comparisons
    sides = [
        power(max(gap, 0.0), errors, freedoms, one_sided)
        for gap in (margin - abs(effect), margin + abs(effect))
    ]
    enough = (told >= POWER) | (sides[0] + sides[1] - 1 >= POWER)
    return float(more[enough][0]) if enough.any() else math.inf


def seeds_between(
    estimate: Estimate, margin: float, comparisons: int = 1
) -> tuple[float, float, float]:
    """`seeds_needed` for one estimate, and the least and the most of them that an effect anywhere in its
    interval would need."""
    error, freedom = (float(part) for part in estimate.seeds)
    images = max(float(estimate.error) ** 2 - error**2, 0.0)
    low, high = (float(bound) for bound in estimate.bounds())
    needed = [
        seeds_needed(float(effect), error, freedom, estimate.n, margin, comparisons, images)
        for effect in (estimate.effect, *np.linspace(low, high, 21))
    ]
    return needed[0], min(needed), max(needed)
