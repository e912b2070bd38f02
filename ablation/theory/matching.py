"""The choice of networks: by the paper's formula, or at matched counted cost."""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from ablation.theory.baselines import Baseline
from ablation.theory.cost import cost
from ablation.theory.network import Network
from ablation.theory.own import Own, OwnBaseline
from ablation.theory.scaling import DIMENSIONS, LEAST, MOST, Coefficients, Rule, angle

TOLERANCE = 0.05  # a matched network costs within 5 % of its budget


@dataclass(frozen=True)
class Point:
    """A network and why it was built: intended and realised coefficients; budget in multiples of the
    baseline's macs, None where nothing was promised; budget_error = counted / budget - 1."""

    network: Network | Own
    intended: Coefficients
    realised: Coefficients
    budget: float | None
    budget_error: float | None

    @property
    def angle(self) -> float | None:
        """Degrees between what was asked for and what was built, in doublings of cost along each dimension
        (scaling.direction); None where one of them is the baseline."""
        return angle(self.intended, self.realised)


def _point(
    baseline: Baseline | OwnBaseline,
    network: Network | Own,
    intended: Coefficients,
    width: float,
    budget: float | None,
) -> Point:
    """The network with what was realised of its coefficients; width: the multiplier that built it."""
    realised = baseline.realised(network, width)
    base = cost(baseline.network).macs
    error = None if budget is None else cost(network).macs / base / budget - 1
    return Point(network, intended, realised, budget, error)


def nominal(
    baseline: Baseline | OwnBaseline, coefficients: Coefficients, budget: float | None = None
) -> Point:
    """The paper's formula: the coefficients with the baseline's own rounding, whatever the result costs."""
    network = baseline.scaled(coefficients)
    return _point(baseline, network, coefficients, coefficients.width, budget)


@lru_cache(maxsize=4096)
def matched(baseline: Baseline | OwnBaseline, rule: Rule, phi: float) -> Point:
    """The network nearest to the rule's direction whose counted macs are 2^phi times the baseline's, within 5
    %.

    Candidates are all networks that move only the rule's own dimensions, in whole steps of the baseline's
    rounding and never against the rule. Nearest to the intended coefficients (those whose nominal cost is
    2^phi) means the smallest hypot(log2 depth, 2 log2 width, 2 log2 resolution) of realised over intended;
    ties go to the smaller cost error. The choice never looks at an accuracy.

    Raises ValueError where no candidate exists, naming the nearest budgets that do.
    """
    intended, budget = rule.at(rule.exponent(phi)), 2.0**phi
    if phi == 0:
        return _point(baseline, baseline.network, intended, 1.0, budget)
    search = _Search(baseline, intended, budget * cost(baseline.network).macs)
    radius = 0.125
    while (best := search.nearest(radius)) is None and radius < search.reach:
        radius *= 2
    if best is None:
        near = (
            " and ".join(f"{ratio * budget:.3g}" for ratio in search.missed if 0 < ratio < math.inf)
            or "none"
        )
        raise ValueError(
            f"scaling={rule.name} phi={phi:g}: no network of {baseline.name} costs within {TOLERANCE:.0%} "
            f"of {budget:.3g} times the baseline "
            f"(nearest: {near}); take another phi, or cost=nominal"
        )
    return _point(baseline, best[1], intended, best[2], budget)


class _Search:
    """The candidates around one intended point; grows no dimension that the rule leaves alone."""

    def __init__(
        self, baseline: Baseline | OwnBaseline, intended: Coefficients, target: float
    ) -> None:
        self.baseline, self.intended, self.target = baseline, intended, target
        self.missed = [0.0, math.inf]  # the nearest cost ratios below and above the tolerance
        self.bounds = {name: self._bounds(name) for name in DIMENSIONS}

    def _bounds(self, name: str) -> tuple[float, float]:
        """The range of one coefficient: from the baseline to where that dimension alone costs more than the
        target."""
        if getattr(self.intended, name) == 1:
            return 1.0, 1.0
        if getattr(self.intended, name) < 1:
            return LEAST, 1.0
        limit = 2.0
        if self._ratio(Coefficients(**{name: limit})) == self._ratio(Coefficients()):
            return 1.0, 1.0  # it changes nothing
        while limit < MOST and self._ratio(Coefficients(**{name: limit})) <= 1 + TOLERANCE:
            limit = min(2 * limit, MOST)
        return 1.0, limit

    def _ratio(self, coefficients: Coefficients) -> float:
        return cost(self.baseline.scaled(coefficients)).macs / self.target

    @property
    def reach(self) -> float:
        """A radius that holds every candidate."""
        return 4 * max(math.log2(2 * high / low) for low, high in self.bounds.values())

    def nearest(self, radius: float) -> tuple[tuple[float, float], Network | Own, float] | None:
        """((distance, cost error), network, width) of the nearest candidate within `radius`, None where there
        is none."""
        best = None
        for partial, depth, width in self._shapes(radius):
            if best and partial > best[0][0]:
                break
            for coefficients in self._sides(depth, width, radius):
                ratio = self._ratio(coefficients)
                if abs(ratio - 1) > TOLERANCE:
                    self._miss(ratio)
                    continue
                distance = math.hypot(partial, self._off("resolution", coefficients.resolution))
                key = (round(distance, 9), abs(ratio - 1))
                if distance <= radius and (best is None or key < best[0]):
                    best = (key, self.baseline.scaled(coefficients), width)
        return best

    def _shapes(self, radius: float) -> list[tuple[float, float, float]]:
        """(distance, depth, width) of every shape within `radius`, the nearest first."""
        depths = self._within("depth", radius, self.baseline.depths)
        widths = self._within("width", radius, self._widths)
        found = []
        for depth, width in itertools.product(depths, widths):
            distance = math.hypot(self._off("depth", depth), self._off("width", width))
            if distance <= radius:
                found.append((distance, depth, width))
        return sorted(found)

    def _miss(self, ratio: float) -> None:
        """Remember the nearest cost ratio on this side of the tolerance."""
        below, above = self.missed
        self.missed = [max(below, ratio), above] if ratio < 1 else [below, min(above, ratio)]

    def _off(self, name: str, value: float) -> float:
        """One term of the distance: cost grows with depth and with the square of width and of resolution."""
        return (1 if name == "depth" else 2) * abs(math.log2(value / getattr(self.intended, name)))

    def _within(
        self, name: str, radius: float, steps: Callable[[float, float], list[float]]
    ) -> list[float]:
        """The steps of one dimension inside both its bounds and the radius."""
        (low, high), intended = self.bounds[name], getattr(self.intended, name)
        if low == high:
            return [1.0]
        low = max(low, intended / 2**radius)
        high = min(high, intended * 2**radius)
        return [step for step in steps(low, high) if low <= step <= high]

    def _widths(self, low: float, high: float) -> list[float]:
        return self.baseline.widths(low, high, self.intended.width)

    def _sides(self, depth: float, width: float, radius: float) -> Iterator[Coefficients]:
        """The input sides at which this depth and width meet the target, and the nearest misses on both
        sides; cost grows with pixels."""
        pixels, step = self.baseline.pixels, self.baseline.step_pixels
        if self.bounds["resolution"] == (1.0, 1.0):
            yield Coefficients(depth, width, 1.0)
            return
        low, high = self.bounds["resolution"]
        low = max(low, self.intended.resolution / 2 ** (radius / 2))
        high = min(high, self.intended.resolution * 2 ** (radius / 2))
        first = max(math.ceil(low * pixels / step - 1e-9), self.baseline.least_pixels // step)
        sides = [
            Coefficients(depth, width, k * step / pixels)
            for k in range(first, math.floor(high * pixels / step + 1e-9) + 1)
        ]
        start = bisect.bisect_left(sides, 1 - TOLERANCE, key=self._ratio)
        for coefficients in sides[max(0, start - 1) :]:
            yield coefficients
            if self._ratio(coefficients) > 1 + TOLERANCE:
                return
