"""The paper's claims as questions to the networks of a study: which contrasts of mean accuracies each asks
for.

Which networks a question compares follows from the plan, never from an accuracy. A positive contrast agrees
with the paper.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablation.judge.contrasts import Floats, least
from ablation.judge.questions import Asked, Entrant, Quantity, Question, Scope, macs_of
from ablation.theory.matching import TOLERANCE
from ablation.theory.scaling import SINGLE

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
    return _each(questions)


def _each(questions: Sequence[Question]) -> Asked:
    """Questions about dimensions, of which the claim says that all hold."""
    return Asked(questions, together={"every dimension": range(len(questions))})


def diminishing(scope: Scope) -> Asked:
    """What the first doubling of counted MACs gains along a dimension against what the last gains, both from
    a parabola through all its networks in log2 of MACs."""
    questions = []
    for dimension in SINGLE:
        arms = _series(scope, dimension)
        if len(arms) > 2:
            first, last = _gains(scope, dimension, arms)
            questions.append(Question(dimension, first, last))
    return _each(questions)


def _gains(scope: Scope, dimension: str, arms: Sequence[Entrant]) -> tuple[Quantity, Quantity]:
    """The slopes of the parabola half-way along the first step and along the last: of three networks these
    are the steps' own."""
    doublings = np.log2([arm.macs for arm in arms]) - np.log2(arms[0].macs)
    fit = np.linalg.pinv(np.vander(doublings, 3, increasing=True))
    ends = [(arms[0], arms[1], doublings[:2]), (arms[-2], arms[-1], doublings[-2:])]
    gains = []
    for small, large, step in ends:
        slope = fit[1] + 2 * step.mean() * fit[2]
        weights = sum(
            share * scope.mean(arm, "").weights for share, arm in zip(slope, arms, strict=True)
        )
        name = f"{_value(small, dimension)} to {getattr(large, dimension):.3g}"
        gains.append(Quantity(name, weights))
    return gains[0], gains[1]


def _series(scope: Scope, dimension: str) -> list[Entrant]:
    """The baseline and the networks that scale one dimension of it alone, by its rule or by explicit
    coefficients, in order of cost."""
    named = [arm for arm in scope.arms if arm.rule in (dimension, "coefficients", "baseline")]
    alone = {arm.place: arm for arm in named if _moves_only(arm, dimension)}
    return sorted(alone.values(), key=macs_of)


def _moves_only(arm: Entrant, dimension: str) -> bool:
    others = [name for name in SINGLE if name != dimension]
    return all(math.isclose(getattr(arm, name), 1) for name in others)


def _value(arm: Entrant, *dimensions: str) -> str:
    return ", ".join(
        f"{SINGLE[dimension]}={getattr(arm, dimension):.3g}" for dimension in dimensions
    )


def balance(scope: Scope) -> Asked:
    """Width in deeper networks or at higher resolution against width alone, at equal cost."""
    arms = [arm for arm in scope.arms if arm.rule == "coefficients"]
    lines: dict[tuple[float, float], list[Entrant]] = {}
    for arm in sorted(arms, key=macs_of):
        lines.setdefault(_surroundings(arm), []).append(arm)
    smallest, *larger = [lines[place] for place in sorted(lines)] or [[]]
    asked = {
        _value(line[0], "depth", "resolution"): line for line in larger if _grows(line, smallest)
    }
    questions, impossible = [], {}
    for name, line in asked.items():
        subject = f"width at {name} against {_value(smallest[0], 'depth', 'resolution')}"
        if question := _higher(scope, subject, line, smallest):
            questions.append(question)
        else:
            impossible[subject] = (
                "the lines do not overlap in cost beyond w=1; take the smaller one to larger widths"
            )
    return Asked(questions, impossible=impossible)


def _surroundings(arm: Entrant) -> tuple[float, float]:
    return arm.depth, arm.resolution


def _grows(line: Sequence[Entrant], smallest: Sequence[Entrant]) -> bool:
    """Whether a line of widths has something of depth or resolution more and nothing less, and both have
    widths to compare."""
    more = all(
        getattr(line[0], name) >= getattr(smallest[0], name) for name in ("depth", "resolution")
    )
    return more and len(line) > 1 and len(smallest) > 1


def _higher(
    scope: Scope, subject: str, line: Sequence[Entrant], other: Sequence[Entrant]
) -> Question | None:
    """How far one line lies above another at equal cost: the mean over its points beyond its first that lie
    within the other's range of cost. None where none does."""
    points = [arm for arm in line[1:] if other[0].macs <= arm.macs <= other[-1].macs]
    if not points:
        return None
    costs = f"{scope.at(points[0])} to {scope.at(points[-1]).removeprefix('at ')}"
    own = np.mean([scope.mean(arm, "").weights for arm in points], axis=0)
    level = np.mean([interpolated(scope, other, arm.macs) for arm in points], axis=0)
    sag = float(np.mean([_sag(scope, other, arm.macs) for arm in points]))
    names = [_value(each[0], "depth", "resolution") for each in (line, other)]
    caution = (
        f"straight between networks in log2 of FLOPs: a concave curve lies at most {sag:.2f} higher"
        if math.isfinite(sag)
        else "straight between networks in log2 of FLOPs: how far a concave curve lies higher is not bounded"
    )
    return Question(
        subject,
        Quantity(f"{names[0]}, {costs}", own),
        Quantity(f"{names[1]} there", level),
        caution,
    )


def interpolated(scope: Scope, line: Sequence[Entrant], macs: float) -> Floats:
    """The weights (networks,) of a line's mean accuracy at a cost within its range, straight between its
    networks in the logarithm of MACs; line: in order of cost."""
    costs = np.log2([arm.macs for arm in line])
    shares = [np.interp(math.log2(macs), costs, row) for row in np.eye(len(line))]
    return sum(share * scope.mean(arm, "").weights for share, arm in zip(shares, line, strict=True))


def _sag(scope: Scope, line: Sequence[Entrant], macs: float) -> float:
    """By how much at most a concave curve through a line's means lies above the straight line at a cost: it
    cannot rise above either neighbouring chord, drawn on. Infinite where there is no neighbour."""
    x = math.log2(macs)
    costs = np.log2([arm.macs for arm in line])
    means = np.array([scope.mean(arm, "").value(scope.sample) for arm in line])
    if x in costs:
        return 0.0
    right = int(np.searchsorted(costs, x))
    chord = float(np.interp(x, costs, means))
    drawn_on = [
        means[i] + (means[j] - means[i]) / (costs[j] - costs[i]) * (x - costs[i])
        for i, j in ((right - 2, right - 1), (right, right + 1))
        if i >= 0 and j < len(line)
    ]
    return max(min(drawn_on, default=math.inf) - chord, 0.0)


# ---------------------------------------------------------------- rules at equal cost


# Rules that leave a dimension alone, or nearly so.
PAIRS = ("dw", "dr", "wr", "dWr")


def compound(scope: Scope) -> Asked:
    """Compound against each single dimension at each cost above the baseline's."""
    return _ahead(scope, "compound", list(SINGLE))


def pairs(scope: Scope) -> Asked:
    """Compound against rules that scale two dimensions, and against fast compound."""
    return _ahead(scope, "compound", PAIRS)


def transfer(scope: Scope) -> Asked:
    """The fitted triple against every other rule, beyond the phi that it was fitted at."""
    return _ahead(scope, "fitted", scope.rules, beyond=1.0)


def optimum(scope: Scope) -> Asked:
    """What the star fit predicts to be best against everything else at its cost."""
    return _ahead(scope, "optimum", scope.rules)


def first_gains(scope: Scope) -> dict[str, Quantity]:
    """By dimension what the first network that scales it alone gains over the baseline, per doubling of
    counted MACs; of all three or of none, at equal cost."""
    base = scope.base
    first = {rule: points[0] for rule in SINGLE if (points := scope.points(rule))}
    arms = list(first.values())
    if not base or len(first) < len(SINGLE) or not all(_equal_cost(arms[0], arm) for arm in arms):
        return {}
    return {
        rule: scope.gain(base, arm, f"{rule} gains", math.log2(arm.macs / base.macs))
        for rule, arm in first.items()
    }


def gains_most(scope: Scope) -> str:
    """The dimension that is told, on validation images, to gain more than each other one at the baseline; ""
    where none is."""
    gains = first_gains(scope)
    for rule, own in gains.items():
        others = [gain for name, gain in gains.items() if name != rule]
        leads = [scope.validation.contrast(own.weights - gain.weights) for gain in others]
        _, low, _ = least(leads)
        if low > 0:
            return rule
    return ""


def foretold(scope: Scope) -> Asked:
    """The rule that gains at the baseline foretell, against the others beyond the cost of these gains."""
    if not first_gains(scope):
        return Asked([])
    first = min(scope.points(rule)[0].phi for rule in SINGLE)
    return _ahead(scope, gains_most(scope) or "compound", [*SINGLE, "compound"], beyond=first)


def control(scope: Scope) -> Asked:
    """The first rule against those that build its networks under other names and with other seeds."""
    leader = next(iter(scope.rules), "")
    wanted = _built(scope, leader)
    same = [rule for rule in scope.rules if _built(scope, rule) == wanted]
    asked = _ahead(scope, leader, same)
    questions = [replace(question, directed=False) for question in asked.questions]
    return replace(asked, questions=questions, together={})


def sustained(scope: Scope) -> Asked:
    """What compound gains per doubling of cost against what each single dimension gains, between the first
    cost at which all of them lie in their direction and the largest."""
    points = scope.points("compound")
    singles = [rule for rule in SINGLE if scope.points(rule)]
    if not points or not singles:
        return Asked([])
    met = [(arm, rivals(scope, arm, singles)) for arm in points]
    in_direction = [
        (arm, others)
        for arm, others in met
        if len(others) == len(singles) and not any(one.off_direction for one in (arm, *others))
    ]
    if len(in_direction) < 2:
        subject = f"compound's gain against those of {', '.join(singles)}"
        return Asked([], impossible={subject: "needs two costs with every rule in its direction"})
    (first, before), (last, after) = in_direction[0], in_direction[-1]
    between = f"{scope.at(first).removeprefix('at ')} to {scope.at(last).removeprefix('at ')}"
    doublings = math.log2(last.macs / first.macs)
    own = scope.gain(first, last, "compound", doublings)
    questions = [
        Question(
            f"compound's gain against {small.rule}'s, {between}",
            own,
            scope.gain(small, large, small.rule, doublings),
        )
        for small, large in zip(before, after, strict=True)
    ]
    subject = f"compound's gain against all of theirs, {between}"
    return Asked(questions, together={subject: range(len(questions))})


def _built(scope: Scope, rule: str) -> set[tuple[str, str, int, int, int]]:
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
    """A rule against others at equal cost, at each of its points beyond a phi, the largest of each rival
    first; and against all of them together at each cost that all reach."""
    points = scope.points(leader, beyond)
    if not points:
        return Asked([])
    others = [rule for rule in rules if rule != leader and scope.points(rule)]
    met = {
        arm: {other.rule: scope.mean(other, other.rule) for other in rivals(scope, arm, others)}
        for arm in points
    }
    # At nominal cost a rule may be missing only because no network of it costs the same.
    least = 1 if scope.cost == "matched" else len(others)
    impossible = {
        f"{leader} against {rule}": _apart(scope, points, scope.points(rule))
        for rule in others
        if not any(rule in against for against in met.values())
    }
    return replace(against_all(scope, met, least), impossible=impossible)


def against_all(scope: Scope, met: Mapping[Entrant, Mapping[str, Quantity]], least: int) -> Asked:
    """Points of one rule, in order of cost, each against what rivals reach at its cost, by their names: each
    rival at the largest cost first, and all of them together wherever so many at least are met."""
    questions: list[Question] = []
    chains: dict[str, list[int]] = {}
    together: dict[str, list[int]] = {}
    for arm, others in met.items():
        places = range(len(questions), len(questions) + len(others))
        for place, (rule, level) in zip(places, others.items(), strict=True):
            chains.setdefault(rule, []).insert(0, place)
            subject = f"{arm.rule} against {rule} {scope.at(arm)}"
            questions.append(Question(subject, scope.mean(arm, arm.rule), level))
        if others and len(others) >= least:
            together[f"{arm.rule} against all of them {scope.at(arm)}"] = list(places)
    return Asked(questions, list(chains.values()), together)


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
    """statement: as the paper makes it; signed: whether it says which way the questions are answered; scales:
    whether the answer must be the same in points and in log error."""

    key: str
    statement: str
    ask: Callable[[Scope], Asked]
    unit: str = "points"
    signed: bool = True
    scales: bool = False


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
BALANCE = Claim(
    "balance",
    "At equal FLOPs width does better in deeper networks and at higher resolution (section 3.2, Fig. 4).",
    balance,
)
DIMINISHING = Claim(
    "diminishing",
    "The gain diminishes for bigger models (section 3.2, observation 1).",
    diminishing,
    "points per doubling",
    scales=True,
)
# Asked of several baselines only (ablation.judge.across).
FORETOLD = Claim(
    "foretold",
    "The dimension that is told to gain most at the baseline wins beyond; where none is, compound does (a "
    "law of this project, not of the paper).",
    foretold,
)
CLAIMS = (
    IMPROVES,
    DIMINISHING,
    BALANCE,
    COMPOUND,
    Claim(
        "sustained",
        "Compound's gain holds up where those of single dimensions fade (sections 3.2 and 6, Fig. 8).",
        sustained,
        "points per doubling",
    ),
    Claim(
        "pairs",
        "All three dimensions are to be balanced (section 3.2, observation 2): two of them are not enough.",
        pairs,
    ),
    Claim(
        "transfer",
        "The triple that a grid search finds at phi = 1 serves larger phi too (section 3.3, steps 1 and 2).",
        transfer,
    ),
    Claim(
        "optimum",
        "The triple that the star fit predicts is the best one at its cost (the fit, not the paper).",
        optimum,
    ),
    Claim(
        "control",
        "Negative control: a network under another name and with other seeds is no other network.",
        control,
        signed=False,
    ),
)
