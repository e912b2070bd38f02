"""What networks of a study's rules are expected to reach at a cost, trained or not, and which of them cannot
be told from the best.

A rule's networks are a line: accuracy against log2 of counted MACs. Between two of them, and beyond the last,
accuracy is the straight line through both nearest ones plus what all lines of the study bend by: Newton's
form y = chord + c (x - a)(x - b), c the mean of the second divided differences of all neighbouring triples.
How far c differs from triple to triple is the model's error, beside that of the means. At a network that has
runs there is no model: its mean is the answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablation.judge.contrasts import LEVEL, Floats
from ablation.judge.questions import Entrant, Scope, macs_of
from ablation.runs.arms import names_a_rule


@dataclass(frozen=True)
class Bend:
    """The second divided difference of accuracy in log2 of MACs: its mean over the triples of a study as
    weights (networks,) on mean accuracies, the standard deviation of one triple's, in points, and how many
    there are."""

    weights: Floats
    deviation: float
    triples: int

    def error(self, reach: float, level: float = LEVEL) -> float:
        """Half the interval, in points, of what a line bends by at a reach; NaN where fewer than two triples
        say how lines differ."""
        if reach == 0:
            return 0.0
        if self.triples < 2:
            return math.nan
        quantile = float(stats.t.ppf((1 + level) / 2, self.triples - 1))
        return abs(reach) * quantile * self.deviation * math.sqrt(1 + 1 / self.triples)


@dataclass(frozen=True)
class Place:
    """A cost on a line. weights (networks,): of its expected accuracy. reach: (x - a)(x - b) in doublings of
    MACs, a and b the two nearest networks; 0 where one was trained. outside: doublings beyond the line's
    networks, 0 within."""

    weights: Floats
    reach: float
    outside: float

    @classmethod
    def trained(cls, scope: Scope, arm: Entrant) -> "Place":
        """That of a network that has runs: its own mean."""
        return cls(scope.mean(arm, "").weights, 0.0, 0.0)

    def value(self, scope: Scope) -> float:
        """The expected accuracy, in points."""
        return float(scope.sample.contrast(self.weights).effect)


@dataclass(frozen=True)
class Standing:
    """A place among others, in points: expected accuracy and its interval, and how far it lies behind the
    best with a simultaneous interval. told: whether it lies behind, by that interval; NaN bounds tell
    nothing."""

    name: str
    value: float
    low: float
    high: float
    behind: float = 0.0
    behind_low: float = 0.0
    behind_high: float = 0.0

    @property
    def told(self) -> bool:
        """Whether it is told from the best."""
        return self.behind_low > 0


def lines(scope: Scope) -> dict[str, list[Entrant]]:
    """The networks of each rule that have runs, in order of MACs."""
    found: dict[str, dict[int, Entrant]] = {}
    for arm in sorted(scope.arms, key=macs_of):
        if names_a_rule(arm.rule) and scope.sample.runs[arm.place]:
            found.setdefault(arm.rule, {}).setdefault(arm.place, arm)
    return {rule: list(arms.values()) for rule, arms in found.items()}


def bend(scope: Scope, found: Mapping[str, Sequence[Entrant]]) -> Bend:
    """What the lines of a scope bend by."""
    rows = []
    for line in found.values():
        rows += [_second_difference(scope, line[i : i + 3]) for i in range(len(line) - 2)]
    if not rows:
        return Bend(np.zeros(scope.sample.count), math.nan, 0)
    values = [float(scope.sample.contrast(row).effect) for row in rows]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Bend(np.mean(rows, axis=0), deviation, len(rows))


def _second_difference(scope: Scope, triple: Sequence[Entrant]) -> Floats:
    """The weights (networks,) of the second divided difference of three networks."""
    x = _doublings(triple)
    weights = np.zeros(scope.sample.count)
    for i, arm in enumerate(triple):
        weights[arm.place] = 1 / np.prod([x[i] - other for other in np.delete(x, i)])
    return weights


def _doublings(arms: Sequence[Entrant]) -> Floats:
    return np.log2([arm.macs for arm in arms])


def at(scope: Scope, line: Sequence[Entrant], macs: float, bending: Bend) -> Place:
    """The place on a line of two networks or more at a cost in MACs."""
    x, costs = math.log2(macs), _doublings(line)
    trained = np.flatnonzero(np.isclose(costs, x, rtol=0, atol=1e-9))
    if trained.size:
        return Place.trained(scope, line[trained[0]])
    after = int(np.clip(np.searchsorted(costs, x), 1, len(line) - 1))
    small, large = line[after - 1], line[after]
    a, b = costs[after - 1], costs[after]
    share = (x - a) / (b - a)
    reach = float((x - a) * (x - b))
    weights = reach * bending.weights
    weights[small.place] += 1 - share
    weights[large.place] += share
    outside = max(costs[0] - x, x - costs[-1], 0.0)
    return Place(weights, reach, float(outside))


def standings(scope: Scope, places: Mapping[str, Place], bending: Bend) -> list[Standing]:
    """Places by name, the best first. Each is compared with the best, all comparisons together at LEVEL
    (Bonferroni's bound of multiple comparisons with the best, Hsu 1984)."""
    values = {name: place.value(scope) for name, place in places.items()}
    order = sorted(values, key=lambda name: -values[name])
    best = places[order[0]]
    shared = 1 - (1 - LEVEL) / max(len(order) - 1, 1)
    found = [Standing(order[0], values[order[0]], *interval(scope, [(1, best)], bending))]
    for name in order[1:]:
        own = places[name]
        found.append(
            Standing(
                name,
                values[name],
                *interval(scope, [(1, own)], bending),
                values[order[0]] - values[name],
                *interval(scope, [(1, best), (-1, own)], bending, shared),
            )
        )
    return found


def interval(
    scope: Scope, parts: Sequence[tuple[int, Place]], bending: Bend, level: float = LEVEL
) -> tuple[float, float]:
    """The t interval of a sum of signed places, in points: the error of means and, where it is larger than
    none, the model's, in quadrature."""
    weights = sum(sign * place.weights for sign, place in parts)
    if not np.any(weights):
        return 0.0, 0.0
    found = scope.sample.contrast(weights)
    low, high = (float(bound) for bound in found.bounds(level))
    half = (high - low) / 2
    model = math.hypot(*(bending.error(place.reach, level) for _, place in parts))
    middle = float(found.effect)
    whole = math.hypot(half, model)
    return middle - whole, middle + whole
