"""The paper's claims as questions to the networks of a study: which contrasts of mean accuracies each asks
for.

Which networks a question compares follows from the plan, never from an accuracy. Accuracies are in points,
hundredths; a positive contrast agrees with the paper.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd

from ablation.judge.contrasts import Estimate, Floats, Sample
from ablation.judge.frame import ARM, sample
from ablation.theory.matching import TOLERANCE
from ablation.theory.scaling import SINGLE


@dataclass(frozen=True)
class Entrant:
    """A network as one arm of the study asks for it: a row of the frame without its seed.

    phi and budget are NaN where there is none, step_seconds and step_bytes where nobody measured them alone.
    place: of its network in the sample. diverged, missing: counts of its runs.
    """

    baseline: str
    setting: str
    rule: str
    label: str
    cost: str
    phi: float
    budget: float
    depth: float
    width: float
    resolution: float
    depths: str
    widths: str
    pixels: int
    macs: int
    activations: int
    place: int
    diverged: int
    missing: int
    step_seconds: float = math.nan
    step_bytes: float = math.nan
    step_device: str = ""

    @property
    def built(self) -> tuple[str, str, int]:
        """What tells one built network from another."""
        return self.depths, self.widths, self.pixels


@dataclass(frozen=True)
class Quantity:
    """A sum of weights (networks,) x mean accuracies, and its name: a mean, or a gain, whose weights sum to
    0."""

    name: str
    weights: Floats

    def told(self, sample: Sample) -> str:
        """Name and value, means in per cent and gains in points."""
        value = float(sample.contrast(self.weights).effect)
        if math.isnan(value):
            return f"{self.name}: no run"
        is_mean = self.weights.sum() > 0.5
        return f"{self.name}: {value:.1f} %" if is_mean else f"{self.name}: {value:+.2f}"


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
    """What a claim asks of a scope.

    questions: a family for Holm. together: those of them that it says hold together, reported as `subject`.
    impossible: comparisons that the frame cannot make, with the reason.
    """

    questions: Sequence[Question]
    together: Sequence[Question] = ()
    subject: str = ""
    impossible: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scope:
    """The arms of one baseline in one setting and at one kind of cost, and the sample of the whole study in
    points."""

    baseline: str
    setting: str
    cost: str
    arms: Sequence[Entrant]
    sample: Sample

    def mean(self, arm: Entrant, name: str) -> Quantity:
        """An arm's mean accuracy."""
        return Quantity(name, np.eye(self.sample.count)[arm.place])

    def gain(self, small: Entrant, large: Entrant, name: str, doublings: float = 1.0) -> Quantity:
        """What one arm gains over another, in all or per doubling."""
        difference = self.mean(large, name).weights - self.mean(small, name).weights
        return Quantity(name, difference / doublings)

    def points(self, rule: str, beyond: float = 0.0) -> list[Entrant]:
        """A rule's arms beyond a phi, in order of cost."""
        own = [arm for arm in self.arms if arm.rule == rule and arm.phi > beyond]
        return sorted(own, key=_macs)

    @property
    def rules(self) -> list[str]:
        """The rules that have points beyond the baseline, as the study names them."""
        return list(dict.fromkeys(arm.rule for arm in self.arms if arm.phi > 0))

    def at(self, arm: Entrant) -> str:
        """The cost of an arm in multiples of the baseline's: as promised where matched, else as counted; in
        MACs for want of a baseline."""
        base = next((other.macs for other in self.arms if other.label == "baseline"), math.nan)
        times = arm.budget if arm.cost == "matched" else arm.macs / base
        return f"at {arm.macs:.3g} MACs" if math.isnan(times) else f"at {times:.3g}x"


def _macs(arm: Entrant) -> int:
    return arm.macs


def scopes(frame: pd.DataFrame) -> list[Scope]:
    """The parts of a frame that are asked each by itself. The baseline belongs to both kinds of cost."""
    runs, places = sample(frame)
    points = replace(runs, values=100 * runs.values, images=runs.images and runs.images.scaled(100))
    parts = []
    for (baseline, setting), rows in _arms(frame, places).groupby(
        ["baseline", "setting"], sort=False
    ):
        scaled = rows["label"] != "baseline"
        for cost in rows[scaled]["cost"].unique():
            own = rows[~scaled | (rows["cost"] == cost)]
            parts.append(Scope(baseline, setting, cost, _entrants(own), points))
    return parts


def _arms(frame: pd.DataFrame, places: pd.Series) -> pd.DataFrame:
    """One row for each arm, with the place of its network and its faults counted."""
    key = [*ARM, "cost"]
    columns = [frame[name] for name in key]
    counted = {
        fault: (frame["status"] == fault).groupby(columns).transform("sum")
        for fault in ("diverged", "missing")
    }
    arms = frame.assign(place=places, **counted).drop_duplicates(key)
    return arms.astype({"phi": float, "budget": float})


def _entrants(rows: pd.DataFrame) -> list[Entrant]:
    names = [field.name for field in fields(Entrant) if field.name in rows]
    return [Entrant(**row) for row in rows[names].to_dict("records")]


# ---------------------------------------------------------------- one dimension


def improves(scope: Scope) -> Asked:
    """The largest network of each dimension against its smallest."""
    questions = []
    for dimension in SINGLE:
        arms = _series(scope, dimension)
        if len(arms) > 1:
            smallest = scope.mean(arms[0], _value(arms[0], dimension))
            largest = scope.mean(arms[-1], _value(arms[-1], dimension))
            questions.append(Question(dimension, largest, smallest))
    return Asked(questions, questions, "every dimension")


def diminishing(scope: Scope) -> Asked:
    """What the first step of each dimension gains per doubling of counted MACs against what its last gains;
    steps between do not count."""
    questions = []
    for dimension in SINGLE:
        arms = _series(scope, dimension)
        if len(arms) > 2:
            first = _step(scope, dimension, arms[0], arms[1])
            last = _step(scope, dimension, arms[-2], arms[-1])
            questions.append(Question(dimension, first, last))
    return Asked(questions, questions, "every dimension")


def _series(scope: Scope, dimension: str) -> list[Entrant]:
    """The baseline and the networks that scale one dimension of it alone, by its rule or by explicit
    coefficients, in order of cost."""
    named = [arm for arm in scope.arms if arm.rule in (dimension, "coefficients", "baseline")]
    alone = {arm.place: arm for arm in named if _moves_only(arm, dimension)}
    return sorted(alone.values(), key=_macs)


def _moves_only(arm: Entrant, dimension: str) -> bool:
    others = [name for name in SINGLE if name != dimension]
    return all(math.isclose(getattr(arm, name), 1) for name in others)


def _step(scope: Scope, dimension: str, small: Entrant, large: Entrant) -> Quantity:
    name = f"{_value(small, dimension)} to {getattr(large, dimension):.3g}"
    return scope.gain(small, large, name, math.log2(large.macs / small.macs))


def _value(arm: Entrant, *dimensions: str) -> str:
    return ", ".join(
        f"{SINGLE[dimension]}={getattr(arm, dimension):.3g}" for dimension in dimensions
    )


def balance(scope: Scope) -> Asked:
    """What width gains in deeper networks or at higher resolution against what it gains in the smallest."""
    arms = [arm for arm in scope.arms if arm.rule == "coefficients"]
    lines: dict[tuple[float, float], dict[float, Entrant]] = {}
    for arm in sorted(arms, key=_surroundings):
        lines.setdefault(_surroundings(arm), {})[arm.width] = arm
    smallest, *larger = lines.values() if lines else [{}]
    questions = (_width_pays(scope, line, smallest) for line in larger)
    return Asked([question for question in questions if question])


def _surroundings(arm: Entrant) -> tuple[float, float]:
    return arm.depth, arm.resolution


def _width_pays(
    scope: Scope, line: Mapping[float, Entrant], smallest: Mapping[float, Entrant]
) -> Question | None:
    """The gains between the ends of the widths that both lines have; None for fewer than two, or where a
    dimension is smaller instead."""
    widths = sorted(line.keys() & smallest.keys())
    if len(widths) < 2 or line[widths[0]].resolution < smallest[widths[0]].resolution:
        return None
    first, last = widths[0], widths[-1]
    places, gains = [], []
    for one in (line, smallest):
        place = _value(one[first], "depth", "resolution")
        gains.append(scope.gain(one[first], one[last], f"w={first:.3g} to {last:.3g} at {place}"))
        places.append(place)
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
    leader = next(iter(scope.rules), "")
    wanted = _built(scope, leader)
    same = [rule for rule in scope.rules if _built(scope, rule) == wanted]
    return Asked(_ahead(scope, leader, same).questions)


def _built(scope: Scope, rule: str) -> set[tuple[str, str, int]]:
    """The networks that a rule builds."""
    return {arm.built for arm in scope.points(rule)}


def rivals(scope: Scope, arm: Entrant, rules: Sequence[str]) -> list[Entrant]:
    """The network of each of these rules that costs what the arm's does, where there is another one."""
    found = []
    for rule in rules:
        equal = [other for other in _others(arm, scope.points(rule)) if _equal_cost(arm, other)]
        if equal:
            found.append(min(equal, key=lambda other: abs(other.macs - arm.macs)))
    return found


def _others(arm: Entrant, arms: Iterable[Entrant]) -> list[Entrant]:
    """Those that are another network."""
    return [other for other in arms if other.place != arm.place]


def _equal_cost(one: Entrant, other: Entrant) -> bool:
    """At the same matched budget, or else counted MACs within its tolerance."""
    matched = one.cost == other.cost == "matched" and math.isclose(one.budget, other.budget)
    return matched or max(one.macs, other.macs) <= (1 + TOLERANCE) * min(one.macs, other.macs)


def _ahead(scope: Scope, leader: str, rules: Sequence[str], beyond: float = 0.0) -> Asked:
    """A rule against others at equal cost, at each of its points beyond a phi; against all together at the
    largest cost that all reach."""
    points = scope.points(leader, beyond)
    if not points:
        return Asked([])
    others = [rule for rule in rules if rule != leader and scope.points(rule)]
    questions, together, subject = [], [], ""
    met: set[str] = set()
    for arm in points:
        against = [_against(scope, arm, other) for other in rivals(scope, arm, others)]
        questions += against
        met |= {question.other.name for question in against}
        if against and len(against) == len(others):
            together = against
            subject = f"{leader} against all of them {scope.at(arm)}"
    unmet = [rule for rule in others if rule not in met]
    impossible = {
        f"{leader} against {rule}": _apart(scope, points, scope.points(rule)) for rule in unmet
    }
    return Asked(questions, together, subject, impossible)


def _against(scope: Scope, arm: Entrant, other: Entrant) -> Question:
    subject = f"{arm.rule} against {other.rule} {scope.at(arm)}"
    return Question(subject, scope.mean(arm, arm.rule), scope.mean(other, other.rule))


def _apart(scope: Scope, points: Sequence[Entrant], others: Sequence[Entrant]) -> str:
    """Why no network of the others can be compared."""
    if scope.cost == "matched":
        return "no other network at the same budget"
    off: list[float] = []
    for arm in points:
        off += [other.macs / arm.macs - 1 for other in _others(arm, others)]
    nearest = min(off, key=abs, default=0)
    return (
        f"no other network of equal cost, the nearest {nearest:+.0%} FLOPs; cost=matched makes them"
    )


# ---------------------------------------------------------------- the claims


@dataclass(frozen=True)
class Claim:
    """statement: as the paper makes it; signed: whether it says which way the questions are answered."""

    key: str
    statement: str
    ask: Callable[[Scope], Asked]
    unit: str = "points"
    signed: bool = True


IMPROVES = Claim(
    "improves",
    "Scaling up any one of width, depth and resolution improves accuracy (section 3.2, observation 1).",
    improves,
)
COMPOUND = Claim(
    "compound",
    "At equal FLOPs compound scaling beats every single dimension, by up to 2.5 points (section 6, Fig. 8).",
    compound,
)
CLAIMS = (
    IMPROVES,
    Claim(
        "diminishing",
        "The gain diminishes for bigger models (section 3.2, observation 1).",
        diminishing,
        "points per doubling",
    ),
    Claim(
        "balance",
        "Width pays more in deeper networks and at higher resolution (section 3.2, Fig. 4).",
        balance,
    ),
    COMPOUND,
    Claim(
        "transfer",
        "The triple that a grid search finds at phi = 1 serves larger phi too (section 3.3, steps 1 and 2).",
        transfer,
    ),
    Claim(
        "control",
        "Negative control: a network under another name and with other seeds is no other network.",
        control,
        signed=False,
    ),
)
