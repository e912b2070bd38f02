"""What is asked across scopes: of several baselines, of several settings; and what else networks of equal
FLOPs cost, of which the paper claims nothing."""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from ablation.judge.claims import (
    CLAIMS,
    COMPOUND,
    FORETOLD,
    IMPROVES,
    Claim,
    first_gains,
    rivals,
)
from ablation.judge.contrasts import Estimate, Floats
from ablation.judge.questions import Asked, Entrant, Known, Quantity, Question, Scope
from ablation.judge.verdicts import (
    MARGIN,
    MEASURED,
    TOLD,
    Case,
    Finding,
    Head,
    all_together,
    answer,
    asked_at,
    held_together,
    judged,
)
from ablation.runs.checks import counted
from ablation.theory.scaling import DIMENSIONS, SINGLE, Coefficients, direction

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

EVERYWHERE = "The same holds for every baseline: MobileNets and ResNet too (section 5.1, Table 3)."
ELSEWHERE = "What holds in one setting holds in another: the paper trains each network in one (section 5.2)."
FINER = (
    "Higher resolution shows finer patterns (section 3.1): it is not the compute alone that pays."
)
LEARNED = "A network has learned what it can: twice the epochs add nothing (a check of the recipe)."
GUESSED = "Negative control: of shuffled labels nothing can be learned, and every network stays at chance."
CHOSEN = "The recipe as it is serves the baseline best (chosen here, on validation images)."
SEES = (
    "Compound's lead over a single dimension is larger from a baseline that sees more pixels (a "
    "prediction of this project)."
)
DIFFER = "Networks of equal FLOPs differ in other costs (a measurement; section 3.3 takes FLOPs for cost)."


def baselines(
    parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN
) -> list[Finding]:
    """Whether what a claim says holds for several baselines together, and whether its effects differ between
    them, in each setting and at each kind of cost. `found`: what each gave by itself."""
    answers = {asked_at(finding): finding for finding in found}
    told = {place: finding.verdict for place, finding in answers.items()}
    across: list[Finding] = []
    places = _grouped(parts, _where).items()
    for claim, ((setting, cost), own) in itertools.product((IMPROVES, COMPOUND), places):
        asked = {scope: claim.ask(scope).largest for scope in own}
        asked = {scope: together for scope, together in asked.items() if together}
        if len(asked) > 1:
            names = ", ".join(scope.baseline for scope in asked)
            head = Head("baselines", EVERYWHERE, "all", setting, cost, f"{claim.key}: {names}")
            cases = [
                Case(head, scope, question)
                for scope, together in asked.items()
                for question in together
            ]
            members = [answers[_place(claim, case.scope, case.question)] for case in cases]
            across.append(held_together(head, cases, members, claim.unit))
            differ = list(_changes(claim, list(asked), told, "baseline"))
            across += judged(differ, claim.unit, False, margin)
    return across


def _where(scope: Scope) -> tuple[str, str]:
    """What several baselines have in common that are compared."""
    return scope.setting, scope.cost


def _grouped(each: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """By their keys, all in the order in which they come."""
    groups: dict[K, list[T]] = {}
    for one in each:
        groups.setdefault(key(one), []).append(one)
    return groups


# ---------------------------------------------------------------- what gains at the baseline foretell


@dataclass(frozen=True)
class Lead:
    """By how much compound leads the dimension that gains most at the baseline, at one cost. foretold: from
    what each dimension gains there, on validation images; found: by the networks of that cost."""

    scope: Scope
    arm: Entrant
    against: str
    foretold: Quantity
    found: Quantity

    @cached_property
    def x(self) -> Estimate:
        """What is foretold, in points."""
        return self.scope.validation.contrast(self.foretold.weights)

    @cached_property
    def y(self) -> Estimate:
        """What is found, in points."""
        return self.scope.sample.contrast(self.found.weights)

    @property
    def compared(self) -> list[Entrant]:
        """Every network that it follows from, once."""
        used = (self.foretold.weights != 0) | (self.found.weights != 0)
        return [*{arm.place: arm for arm in self.scope.arms if used[arm.place]}.values()]


def leads(scope: Scope) -> list[Lead]:
    """Compound's leads beyond the cost at which gains were measured.

    Foretold to first order: each dimension gains as much in every doubling of its own cost as in the first,
    and compound shares its doublings among them.
    """
    gains = first_gains(scope)
    if not gains:
        return []
    values = {rule: gain.value(scope.validation) for rule, gain in gains.items()}
    best = max(values, key=values.__getitem__)
    assert scope.base
    found = []
    for arm, rival in _met(scope, best, beyond=scope.points(best)[0].phi):
        own, other = (_gained(gains, each, scope.base) for each in (arm, rival))
        lead = scope.gain(rival, arm, "found")
        found.append(Lead(scope, arm, best, Quantity("foretold", own - other), lead))
    return found


def _met(scope: Scope, rule: str, beyond: float = 0.0) -> list[tuple[Entrant, Entrant]]:
    """Compound's networks beyond a phi, each with the rule's of equal cost."""
    points = scope.points("compound", beyond)
    return [(arm, rival) for arm in points for rival in rivals(scope, arm, [rule])]


def _gained(gains: Mapping[str, Quantity], arm: Entrant, base: Entrant) -> Floats:
    """What a network's doublings of counted MACs gain, each dimension having its share of them."""
    growth = direction(Coefficients(arm.depth, arm.width, arm.resolution))
    shares = np.array(growth) / sum(growth)
    of_each = np.array([gains[rule].weights for rule in DIMENSIONS])
    return math.log2(arm.macs / base.macs) * (shares @ of_each)


def foretold(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Of several baselines, whether what dimensions gain at each tells which rule wins beyond, and how leads
    grow with those foretold."""
    found: list[Finding] = []
    for (setting, cost), own in _grouped(parts, _where).items():
        known = {scope: told for scope in own if (told := leads(scope))}
        if len(known) > 1:
            for scope in known:
                found += answer(FORETOLD, scope, margin)
            found += _slopes(list(itertools.chain(*known.values())), setting, cost)
    return found


def _slopes(known: Sequence[Lead], setting: str, cost: str) -> list[Finding]:
    """At each cost that three baselines reach, how many points of lead are found for each foretold."""
    found = []
    for at, own in _grouped(known, lambda lead: lead.scope.at(lead.arm)).items():
        if len(own) > 2:
            subject = f"leads found against leads foretold {at}"
            names = ", ".join(lead.scope.baseline for lead in own)
            head = Head("foretold", FORETOLD.statement, names, setting, cost, subject)
            arms = [arm for lead in own for arm in lead.scope.arms]
            case = Case(head, replace(own[0].scope, arms=arms), _slope(own, subject))
            found += judged([case], "points per point", True, margin=0.0)
    return found


def _slope(own: Sequence[Lead], subject: str) -> Question:
    """The slope of what is found on what is foretold, by least squares in which a lead counts as much as it
    is known: by the inverse of its variance."""
    x = np.array([float(lead.x.effect) for lead in own])
    errors = np.array([float(lead.x.error) for lead in own])
    known = np.ones(len(own)) if np.isnan(errors).any() else errors**-2
    distances = x - np.average(x, weights=known)
    shares = known * distances / (known * np.square(distances)).sum()
    weights = sum(share * lead.found.weights for share, lead in zip(shares, own, strict=True))
    return Question(
        subject,
        Quantity("slope", weights),
        Quantity("no relation", np.zeros_like(weights)),
        "weighted by how well leads are foretold, whose errors still make the slope flatter",
        directed=False,
    )


# ---------------------------------------------------------------- one baseline on images of several sides


def sides(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Of one baseline from several input sides, how much larger compound's lead over each single dimension is
    from the largest that reaches a cost than from the smallest; the largest cost of each first."""
    based = [scope for scope in parts if scope.base]
    found: list[Finding] = []
    for own in _grouped(based, _family).values():
        smallest, *larger = sorted(own, key=_side)
        cases, chains = [], []
        for rule in SINGLE:
            asked = list(_by_side(smallest, larger, rule))
            chains.append(range(len(cases) + len(asked) - 1, len(cases) - 1, -1))
            cases += asked
        found += judged(cases, "points", True, margin, [chain for chain in chains if chain])
    return found


def _family(scope: Scope) -> tuple[str, str, int]:
    """What baselines have in common that differ in nothing but their input side."""
    assert scope.base
    return *_where(scope), scope.base.params


def _side(scope: Scope) -> int:
    """Input side in pixels of a scope's baseline."""
    assert scope.base
    return scope.base.pixels


def _by_side(smallest: Scope, larger: Sequence[Scope], rule: str) -> Iterator[Case]:
    """At each cost the lead from the largest side against that from the smallest, in order of cost."""
    leads_of = {scope: _leads_over(scope, rule) for scope in (smallest, *larger)}
    for at, lead in leads_of[smallest].items():
        reach = [scope for scope in larger if at in leads_of[scope]]
        if reach:
            largest = reach[-1]
            pixels_of = f"{_side(largest)} px instead of {_side(smallest)} px"
            subject = f"compound's lead over {rule} from {pixels_of} {at}"
            between = f"{largest.baseline} against {smallest.baseline}"
            head = Head("lead", SEES, between, smallest.setting, smallest.cost, subject)
            both = replace(largest, arms=[*largest.arms, *smallest.arms])
            yield Case(head, both, Question(subject, leads_of[largest][at], lead))


def _leads_over(scope: Scope, rule: str) -> dict[str, Quantity]:
    """Compound's lead over a rule at each cost, by that cost in words."""
    name = f"from {_side(scope)} px"
    return {scope.at(arm): scope.gain(rival, arm, name) for arm, rival in _met(scope, rule)}


# ---------------------------------------------------------------- pixels and compute


def pixels(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """What higher resolution gains by compute alone, on enlarged images without more detail, and what by the
    pixels, at the same compute."""
    plain = {
        (scope.baseline, scope.cost): scope for scope in reversed(parts) if not _enlarged(scope)
    }
    found = []
    for scope in parts:
        native = plain.get((scope.baseline, scope.cost))
        if native and _enlarged(scope):
            cases = list(_by_pixels(native, scope))
            chains = [range(len(cases) - 2, -1, -2), range(len(cases) - 1, -1, -2)]
            found += judged(cases, "points", True, margin, chains)
    return found


def _enlarged(scope: Scope) -> bool:
    """Whether its larger networks see images of less detail than they have pixels."""
    return any(not math.isnan(arm.detail) for arm in scope.arms)


def _by_pixels(native: Scope, enlarged: Scope) -> Iterator[Case]:
    """The two parts of what each resolution gains, the smallest first."""
    own = {arm.label: arm for arm in native.points("resolution")}
    for arm in enlarged.points("resolution"):
        if native.base and arm.label in own:
            steps = [
                native.mean(native.base, "baseline"),
                enlarged.mean(arm, f"{arm.pixels} px, {enlarged.setting}"),
                native.mean(own[arm.label], f"{arm.pixels} px, {native.setting}"),
            ]
            for name, small, large in zip(
                ("compute", "pixels"), steps[:-1], steps[1:], strict=True
            ):
                question = Question(f"by {name} {native.at(arm)}", large, small)
                arms = [*native.arms, *enlarged.arms]
                head = Head("pixels", FINER, native.baseline, "", native.cost, question.subject)
                yield Case(head, replace(native, arms=arms), question)


def recipes(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """The baseline in its first setting against the baseline in every other, of a frame that scales
    nothing."""
    if len(parts) < 2 or any(arm.label != "baseline" for scope in parts for arm in scope.arms):
        return []
    first, *others = parts
    arms = [arm for scope in parts for arm in scope.arms]
    whole = replace(first, arms=arms)
    best = first.mean(first.arms[0], first.setting)
    questions = [
        Question(
            f"{first.setting} against {scope.setting}",
            best,
            scope.mean(scope.arms[0], scope.setting),
        )
        for scope in others
    ]
    head = Head("recipe", CHOSEN, first.baseline, "", first.cost)
    cases = [Case(replace(head, subject=each.subject), whole, each) for each in questions]
    answers = judged(cases, "points", True, margin)
    together = Asked(
        questions, together={f"{first.setting} against all of them": range(len(cases))}
    )
    return [*answers, *all_together(head, together, cases, answers, "points")]


def learning(parts: Sequence[Scope], margin: float = MARGIN) -> dict[int, Finding]:
    """For each network that was trained for twice its epochs too, alike in everything else, what that adds,
    by its place in the sample: the networks of a setting are one family."""
    trained = {
        (arm.alike, arm.epochs): (scope, arm)
        for scope in reversed(parts)
        for arm in scope.arms
        if arm.alike
    }
    found: dict[int, Finding] = {}
    for scope in parts:
        cases: dict[int, Case] = {}
        for arm in scope.arms:
            longer = trained.get((arm.alike, 2 * arm.epochs))
            if longer and arm.place not in (found | cases):
                cases[arm.place] = _for_longer(scope, arm, *longer)
        answers = judged([*cases.values()], "points", False, margin)
        found |= dict(zip(cases, answers, strict=True))
    return found


def _for_longer(scope: Scope, arm: Entrant, other: Scope, longer: Entrant) -> Case:
    """What twice the epochs add to a network."""
    own, twice = (f"{each.label}, {_epochs(each)}" for each in (arm, longer))
    question = Question(
        f"{arm.label}: twice its {_epochs(arm)}",
        scope.mean(longer, twice),
        scope.mean(arm, own),
        directed=False,
    )
    head = Head("learning", LEARNED, scope.baseline, scope.setting, scope.cost, question.subject)
    return Case(head, replace(scope, arms=[*scope.arms, *other.arms]), question)


def _epochs(arm: Entrant) -> str:
    return counted(int(arm.epochs), "epoch")


def marked(parts: Sequence[Scope], longer: Mapping[int, Finding]) -> list[Scope]:
    """The scopes, with the networks marked that twice the epochs are told to help."""
    told = {
        place for place, finding in longer.items() if finding.verdict in TOLD and finding.effect > 0
    }
    return [
        replace(scope, arms=[replace(arm, learning=arm.place in told) for arm in scope.arms])
        for scope in parts
    ]


def chance(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Each network whose labels were shuffled against chance."""
    found = []
    for scope in parts:
        guessing = {arm.place: arm for arm in scope.arms if not math.isnan(arm.chance)}
        cases = [_above_chance(scope, arm) for arm in guessing.values()]
        found += judged(cases, "points", False, margin)
    return found


def _above_chance(scope: Scope, arm: Entrant) -> Case:
    """How far a network lies above what guessing gives."""
    by_chance = Known("chance", 100 * arm.chance)
    question = Question(arm.label, scope.mean(arm, arm.label), by_chance, directed=False)
    head = Head("chance", GUESSED, scope.baseline, scope.setting, scope.cost, arm.label)
    return Case(head, scope, question)


def settings(
    parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN
) -> list[Finding]:
    """Whether an effect depends on the setting: in each later setting minus in the first; those of a claim
    are one family. `found`: what the settings gave by themselves, for the note."""
    told = {asked_at(finding): finding.verdict for finding in found}
    plain = [scope for scope in parts if not _enlarged(scope)]
    places = _grouped(plain, lambda scope: (scope.baseline, scope.cost)).values()
    changes = []
    for claim, own in itertools.product(CLAIMS, places):
        changes += judged([*_changes(claim, own, told, "setting")], claim.unit, False, margin)
    return changes


def _place(claim: Claim, scope: Scope, question: Question) -> tuple[str, ...]:
    return claim.key, scope.baseline, scope.setting, scope.cost, question.subject


def _changes(
    claim: Claim, own: Sequence[Scope], told: Mapping[tuple[str, ...], str], name: str
) -> Iterator[Case]:
    """What a claim asks in several scopes that differ in `name`, each later one against the first that asks
    it."""
    first: dict[str, tuple[Scope, Quantity]] = {}
    for scope in own:
        for question in claim.ask(scope).questions:
            verdict = told[_place(claim, scope, question)]
            now = Quantity(f"{verdict} at {getattr(scope, name)}", question.weights)
            before, then = first.setdefault(question.subject, (scope, now))
            if np.any(now.weights != then.weights):
                change = Question(_under(claim, question), now, then)
                yield _change(scope, before, change, name)


def _change(scope: Scope, before: Scope, question: Question, name: str) -> Case:
    """A question about two scopes, in one that has the networks of both."""
    between = f"{getattr(scope, name)} against {getattr(before, name)}"
    both = replace(scope, arms=[*scope.arms, *before.arms])
    key, statement = ("settings", ELSEWHERE) if name == "setting" else ("baselines", EVERYWHERE)
    place = {"baseline": scope.baseline, "setting": scope.setting} | {name: between}
    return Case(
        Head(key, statement, cost=scope.cost, subject=question.subject, **place), both, question
    )


def _under(claim: Claim, question: Question) -> str:
    """A question's subject, after the name of its claim."""
    return (
        question.subject
        if question.subject.startswith(claim.key)
        else f"{claim.key}: {question.subject}"
    )


# What networks of equal FLOPs may differ in: columns of the frame, with names.
AXES = {
    "macs": "training FLOPs of an image",
    "activations": "activations",
    "step_bytes": "memory of a training step",
    "step_seconds": "time of a training step",
}


def costs(parts: Sequence[Scope]) -> list[Finding]:
    """On each axis the costliest over the cheapest rule, at the largest cost in FLOPs that they share: a
    measurement, of which the paper claims nothing. Networks do not depend on the setting: the first one's are
    looked at."""
    first = {(scope.baseline, scope.cost): scope for scope in reversed(parts)}
    found: list[Finding] = []
    for scope in reversed(first.values()):
        for column in AXES:
            found += _spread(scope, column)
    return found


def _spread(scope: Scope, column: str) -> list[Finding]:
    """The finding on one axis; none where fewer than two rules are known on it."""
    arms = _equals(scope)
    known = [arm for arm in arms if not math.isnan(getattr(arm, column))]
    values = {arm.rule: float(getattr(arm, column)) for arm in known}
    if len(values) < 2:
        return []
    ascending = sorted(values.items(), key=lambda item: item[1])
    ratios = {rule: value / min(values.values()) for rule, value in ascending}
    largest = max(ratios.values())
    source = f"a median on {known[0].step_device}" if column.startswith("step_") else "counted"
    head = Head(
        "costs", DIFFER, scope.baseline, "", scope.cost, f"{AXES[column]} {scope.at(arms[0])}"
    )
    return [
        head.finding(
            MEASURED, "x", effect=largest, note=f"{_ranked(ratios)}; {source}, so no interval"
        )
    ]


def _ranked(ratios: Mapping[str, float]) -> str:
    """Rules and their ratios in order, the first and the last four of many."""
    words = [f"{rule} {ratio:.2f}" for rule, ratio in ratios.items()]
    shown = words if len(words) < 9 else [*words[:4], "...", *words[-4:]]
    return ", ".join(shown)


def _equals(scope: Scope) -> list[Entrant]:
    """Networks of different rules at the largest equal cost."""
    leader = "compound" if "compound" in scope.rules else next(iter(scope.rules), "")
    others = [rule for rule in scope.rules if rule != leader]
    for arm in reversed(scope.points(leader)):
        arms = [arm, *rivals(scope, arm, others)]
        if len({one.built for one in arms}) > 1:
            return arms
    return []
