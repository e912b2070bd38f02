"""The paper's claims as questions to the networks of a study: which contrasts of mean accuracies each asks for.

Which networks a question compares follows from the plan, never from an accuracy. Accuracies are in points, hundredths; a positive contrast
agrees with the paper.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ablation.judge.contrasts import Estimate, Floats, Sample
from ablation.judge.frame import ARM, sample
from ablation.theory.matching import TOLERANCE
from ablation.theory.scaling import SINGLE

Arm = Any  # a row of the frame without its seed; adds place (of its network in the sample), diverged and missing (counts of runs)


@dataclass(frozen=True)
class Quantity:
    """A sum of weights (networks,) x mean accuracies, and its name: a mean, or a gain, whose weights sum to 0."""

    name: str
    weights: Floats

    def told(self, sample: Sample) -> str:
        """Name and value, means in per cent and gains in points."""
        value = float(sample.contrast(self.weights).effect)
        if math.isnan(value):
            return f"{self.name}: no run"
        return f"{self.name}: {value:.1f} %" if self.weights.sum() > 0.5 else f"{self.name}: {value:+.2f}"


@dataclass(frozen=True)
class Question:
    """By how much does one quantity exceed another?"""

    subject: str
    one: Quantity
    other: Quantity

    @property
    def weights(self) -> Floats:
        """One minus the other."""
        return self.one.weights - self.other.weights

    def estimate(self, sample: Sample) -> Estimate:
        """The difference."""
        return sample.contrast(self.weights)

    def uses(self, place: int) -> bool:
        """Whether the network at this place of the sample is compared."""
        return bool(self.one.weights[place] or self.other.weights[place])


@dataclass(frozen=True)
class Asked:
    """What a claim asks of a scope: questions, a family for Holm; those of them that it says hold together, and as what they are
    reported; and comparisons that the frame cannot make, with the reason."""

    questions: Sequence[Question]
    together: Sequence[Question] = ()
    subject: str = ""
    impossible: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scope:
    """The arms of one baseline in one setting and at one kind of cost, and the sample of the whole study in points."""

    baseline: str
    setting: str
    cost: str
    arms: Sequence[Arm]
    sample: Sample

    def mean(self, arm: Arm, name: str) -> Quantity:
        """An arm's mean accuracy."""
        return Quantity(name, np.eye(self.sample.count)[arm.place])

    def gain(self, small: Arm, large: Arm, name: str, doublings: float = 1.0) -> Quantity:
        """What one arm gains over another, in all or per doubling."""
        return Quantity(name, (self.mean(large, name).weights - self.mean(small, name).weights) / doublings)

    def points(self, rule: str, beyond: float = 0.0) -> list[Arm]:
        """A rule's arms beyond a phi, in order of cost."""
        return sorted((arm for arm in self.arms if arm.rule == rule and arm.phi > beyond), key=lambda arm: arm.macs)

    @property
    def rules(self) -> list[str]:
        """The rules that have points beyond the baseline, as the study names them."""
        return list(dict.fromkeys(arm.rule for arm in self.arms if arm.phi > 0))

    def at(self, arm: Arm) -> str:
        """The cost of an arm in multiples of the baseline's: as promised where matched, else as counted; in MACs for want of a baseline."""
        base = next((other.macs for other in self.arms if other.label == "baseline"), math.nan)
        times = arm.budget if arm.cost == "matched" else arm.macs / base
        return f"at {arm.macs:.3g} MACs" if math.isnan(times) else f"at {times:.3g}x"


def scopes(frame: pd.DataFrame) -> list[Scope]:
    """The parts of a frame that are asked each by itself. The baseline belongs to both kinds of cost."""
    runs, places = sample(frame)
    arm = [*ARM, "cost"]
    faults = {fault: (frame["status"] == fault).groupby([frame[name] for name in arm]).transform("sum") for fault in ("diverged", "missing")}
    arms = frame.assign(place=places, **faults).drop_duplicates(arm).astype({"phi": float, "budget": float})
    points = replace(runs, values=100 * runs.values)
    parts = []
    for (baseline, setting), rows in arms.groupby(["baseline", "setting"], sort=False):
        scaled = rows["label"] != "baseline"
        kinds = {cost: rows[~scaled | (rows["cost"] == cost)] for cost in rows[scaled]["cost"].unique()}
        parts += [Scope(baseline, setting, cost, [*own.itertuples(index=False)], points) for cost, own in kinds.items()]
    return parts


# ---------------------------------------------------------------- one dimension


def improves(scope: Scope) -> Asked:
    """The largest network of each dimension against its smallest."""
    series = {dimension: _series(scope, dimension) for dimension in SINGLE}
    questions = [
        Question(name, *(scope.mean(arm, _value(arm, name)) for arm in (arms[-1], arms[0]))) for name, arms in series.items() if len(arms) > 1
    ]
    return Asked(questions, questions, "every dimension")


def diminishing(scope: Scope) -> Asked:
    """What the first step of each dimension gains per doubling of counted MACs against what its last gains; steps between do not count."""
    series = {dimension: _series(scope, dimension) for dimension in SINGLE}
    questions = [Question(name, _step(scope, name, *arms[:2]), _step(scope, name, *arms[-2:])) for name, arms in series.items() if len(arms) > 2]
    return Asked(questions, questions, "every dimension")


def _series(scope: Scope, dimension: str) -> list[Arm]:
    """The baseline and the networks that scale one dimension of it alone, by its rule or by explicit coefficients, in order of cost."""
    others = [name for name in SINGLE if name != dimension]
    named = [arm for arm in scope.arms if arm.rule in (dimension, "coefficients", "baseline")]
    alone = {arm.place: arm for arm in named if all(math.isclose(getattr(arm, name), 1) for name in others)}
    return sorted(alone.values(), key=lambda arm: arm.macs)


def _step(scope: Scope, dimension: str, small: Arm, large: Arm) -> Quantity:
    name = f"{_value(small, dimension)} to {getattr(large, dimension):.3g}"
    return scope.gain(small, large, name, math.log2(large.macs / small.macs))


def _value(arm: Arm, *dimensions: str) -> str:
    return ", ".join(f"{SINGLE[dimension]}={getattr(arm, dimension):.3g}" for dimension in dimensions)


def balance(scope: Scope) -> Asked:
    """What width gains in deeper networks or at higher resolution against what it gains in the smallest."""
    arms = sorted((arm for arm in scope.arms if arm.rule == "coefficients"), key=_surroundings)
    lines = [{arm.width: arm for arm in line} for _, line in itertools.groupby(arms, _surroundings)]
    questions = (_width_pays(scope, line, lines[0]) for line in lines[1:])
    return Asked([question for question in questions if question])


def _surroundings(arm: Arm) -> tuple[float, float]:
    return arm.depth, arm.resolution


def _width_pays(scope: Scope, line: Mapping[float, Arm], smallest: Mapping[float, Arm]) -> Question | None:
    """The gains between the ends of the widths that both lines have; None for fewer than two, or where a dimension is smaller instead."""
    widths = sorted(line.keys() & smallest.keys())
    if len(widths) < 2 or line[widths[0]].resolution < smallest[widths[0]].resolution:
        return None
    first, last = widths[0], widths[-1]
    places = [_value(one[first], "depth", "resolution") for one in (line, smallest)]
    gains = [
        scope.gain(one[first], one[last], f"w={first:.3g} to {last:.3g} at {place}") for one, place in zip((line, smallest), places, strict=True)
    ]
    return Question(f"width at {places[0]} against {places[1]}", *gains)


# ---------------------------------------------------------------- rules at equal cost


def compound(scope: Scope) -> Asked:
    """Compound against each single dimension at each cost above the baseline's."""
    return _ahead(scope, "compound", list(SINGLE))


def transfer(scope: Scope) -> Asked:
    """The fitted triple against every other rule, beyond the phi that it was fitted at."""
    return _ahead(scope, "fitted", scope.rules, beyond=1.0)


def control(scope: Scope) -> Asked:
    """The first rule against those that build its networks under other names and with other seeds."""
    shapes = {rule: {(arm.depths, arm.widths, arm.pixels) for arm in scope.points(rule)} for rule in scope.rules}
    leader = next(iter(shapes), "")
    return Asked(_ahead(scope, leader, [rule for rule in shapes if shapes[rule] == shapes[leader]]).questions)


def rivals(scope: Scope, arm: Arm, rules: Sequence[str]) -> list[Arm]:
    """The network of each of these rules that costs what the arm's does, where there is another one."""
    equal = [[other for other in scope.points(rule) if other.place != arm.place and _equal_cost(arm, other)] for rule in rules]
    return [min(others, key=lambda other: abs(other.macs - arm.macs)) for others in equal if others]


def _equal_cost(one: Arm, other: Arm) -> bool:
    """At the same matched budget, or else counted MACs within its tolerance."""
    matched = one.cost == other.cost == "matched" and math.isclose(one.budget, other.budget)
    return matched or max(one.macs, other.macs) <= (1 + TOLERANCE) * min(one.macs, other.macs)


def _ahead(scope: Scope, leader: str, rules: Sequence[str], beyond: float = 0.0) -> Asked:
    """A rule against others at equal cost, at each of its points beyond a phi; against all together at the largest cost that all reach."""
    points = scope.points(leader, beyond)
    rules = [rule for rule in rules if rule != leader and points and scope.points(rule)]
    rounds = [[_against(scope, arm, other) for other in rivals(scope, arm, rules)] for arm in points]
    arm, together = next(((arm, met) for arm, met in reversed([*zip(points, rounds, strict=True)]) if len(met) == len(rules)), (None, []))
    met = {question.other.name for questions in rounds for question in questions}
    impossible = {f"{leader} against {rule}": _apart(scope, points, scope.points(rule)) for rule in rules if rule not in met}
    return Asked([*itertools.chain(*rounds)], together, f"{leader} against all of them {scope.at(arm)}" if together else "", impossible)


def _against(scope: Scope, arm: Arm, other: Arm) -> Question:
    return Question(f"{arm.rule} against {other.rule} {scope.at(arm)}", scope.mean(arm, arm.rule), scope.mean(other, other.rule))


def _apart(scope: Scope, points: Sequence[Arm], others: Sequence[Arm]) -> str:
    if scope.cost == "matched":
        return "no other network at the same budget"
    off = min((other.macs / arm.macs - 1 for arm in points for other in others if other.place != arm.place), key=abs, default=0)
    return f"no other network of equal cost, the nearest {off:+.0%} FLOPs; cost=matched makes them"


# ---------------------------------------------------------------- the claims


@dataclass(frozen=True)
class Claim:
    """statement: as the paper makes it; signed: whether it says which way the questions are answered."""

    key: str
    statement: str
    ask: Callable[[Scope], Asked]
    unit: str = "points"
    signed: bool = True


IMPROVES = Claim("improves", "Scaling up any one of width, depth and resolution improves accuracy (section 3.2, observation 1).", improves)
COMPOUND = Claim("compound", "At equal FLOPs compound scaling beats every single dimension, by up to 2.5 points (section 6, Fig. 8).", compound)
CLAIMS = (
    IMPROVES,
    Claim("diminishing", "The gain diminishes for bigger models (section 3.2, observation 1).", diminishing, "points per doubling"),
    Claim("balance", "Width pays more in deeper networks and at higher resolution (section 3.2, Fig. 4).", balance),
    COMPOUND,
    Claim("transfer", "The triple that a grid search finds at phi = 1 serves larger phi too (section 3.3, steps 1 and 2).", transfer),
    Claim("control", "Negative control: a network under another name and with other seeds is no other network.", control, signed=False),
)
