"""What the runs say about the paper's claims: for each question an effect, a 95 % interval and a verdict."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.judge.claims import (
    CLAIMS,
    COMPOUND,
    IMPROVES,
    Claim,
    Entrant,
    Quantity,
    Question,
    Scope,
    rivals,
    scopes,
)
from ablation.judge.contrasts import LEVEL, Estimate, Floats, holm, least, seeds_needed
from ablation.theory.matching import TOLERANCE

# Effects within this many points count as none: a fifth of what the paper claims for compound scaling, and
# about as far as one network stands from itself there (d=2: 78.51 % in Fig. 3 and 78.74 % in Fig. 4; r=1.3:
# 77.68 % and 78.21 %).
MARGIN = 0.5

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
EQUIVALENT = "equivalent"
INCONCLUSIVE = "inconclusive"
NO_VERDICT = "no verdict"  # one seed, no runs, or nothing of equal cost to compare with
VERDICTS = (SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NO_VERDICT)


@dataclass(frozen=True)
class Finding:
    """A statement of the paper and what the runs say about it.

    baseline, setting, cost: the scope; subject: what is compared; effect with its interval low to high,
    standard error and degrees of freedom, NaN where there is none; n: seeds of the least replicated network,
    0 for what needs none. p: of no effect, adjusted by Holm's method for the claim's questions in its scope;
    the interval is not adjusted. seeds: how many would settle an inconclusive finding, infinite above
    contrasts.MOST_SEEDS, NaN for other verdicts.
    """

    claim: str
    statement: str
    baseline: str
    setting: str
    cost: str
    subject: str
    verdict: str
    unit: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    error: float = math.nan
    freedom: float = math.nan
    p: float = math.nan
    seeds: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Head:
    """What a finding is about: the claim, where it was asked, and what is compared."""

    claim: str
    statement: str
    baseline: str
    setting: str
    cost: str
    subject: str = ""

    def finding(self, verdict: str, unit: str, **numbers: Any) -> Finding:
        """The finding about it."""
        return Finding(**vars(self), verdict=verdict, unit=unit, **numbers)


@dataclass(frozen=True)
class Case:
    """A question, the scope that answers it, and what its finding is about."""

    head: Head
    scope: Scope
    question: Question

    @property
    def estimate(self) -> Estimate:
        """The answer."""
        return self.question.estimate(self.scope.sample)


def judge(frame: pd.DataFrame, margin: float = MARGIN) -> list[Finding]:
    """All findings of a frame (ablation.judge.frame), in the order of the claims; margin in points. [] for a
    frame without accuracies."""
    parts = [scope for scope in scopes(frame) if _has_runs(scope)]
    found: list[Finding] = []
    for claim in CLAIMS:
        for scope in parts:
            found += answer(claim, scope, margin)
    return [*found, *baselines(parts, margin), *costs(parts), *settings(parts, found, margin)]


def _has_runs(scope: Scope) -> bool:
    return any(scope.sample.runs[arm.place] for arm in scope.arms)


# ---------------------------------------------------------------- verdicts


def verdicts(
    estimates: Sequence[Estimate], signed: bool = True, margin: float = MARGIN
) -> tuple[Floats, NDArray[np.str_]]:
    """Adjusted p values and verdicts (..., questions) of a family: told from 0 first, else within the
    margin."""
    effect = np.stack([estimate.effect for estimate in estimates], -1)
    p = holm(np.stack([estimate.different for estimate in estimates], -1))
    same = holm(np.stack([estimate.equivalent(margin) for estimate in estimates], -1))
    told = p < 1 - LEVEL
    supported = told & (effect > 0) & signed
    contradicted = told & ((effect < 0) | (not signed))
    return p, _name(supported, contradicted, same < 1 - LEVEL, ~np.isnan(p))


def verdict_together(estimates: Sequence[Estimate], margin: float = MARGIN) -> NDArray[np.str_]:
    """Whether every effect is positive (...): the verdict on the smallest."""
    _, low, high = least(estimates)
    _, inner_low, inner_high = least(estimates, 2 * LEVEL - 1)  # two one-sided tests of the margin
    within = (inner_low > -margin) & (inner_high < margin)
    return _name(low > 0, high < 0, within, low < high)


def _name(supported: Any, contradicted: Any, equivalent: Any, known: Any) -> NDArray[np.str_]:
    return np.select([supported, contradicted, equivalent, known], VERDICTS[:4], NO_VERDICT)


def answer(claim: Claim, scope: Scope, margin: float = MARGIN) -> list[Finding]:
    """What one scope says about one claim; [] where it has nothing to say."""
    asked = claim.ask(scope)
    head = Head(claim.key, claim.statement, scope.baseline, scope.setting, scope.cost)
    found = []
    for subject, reason in asked.impossible.items():
        found.append(replace(head, subject=subject).finding(NO_VERDICT, claim.unit, note=reason))
    cases = [
        Case(replace(head, subject=question.subject), scope, question)
        for question in asked.questions
    ]
    found += _family(cases, claim.unit, claim.signed, margin)
    if len(asked.together) > 1:
        about = replace(head, subject=asked.subject)
        found.append(
            _together(
                about,
                [Case(about, scope, question) for question in asked.together],
                claim.unit,
                margin,
            )
        )
    return found


def _family(cases: Sequence[Case], unit: str, signed: bool, margin: float) -> list[Finding]:
    """The findings of questions that are judged together."""
    if not cases:
        return []
    p, judged = verdicts([case.estimate for case in cases], signed, margin)
    return [
        _one_of(case, str(verdict), float(adjusted), unit, margin, len(cases))
        for case, verdict, adjusted in zip(cases, judged, p, strict=True)
    ]


def _one_of(case: Case, verdict: str, p: float, unit: str, margin: float, family: int) -> Finding:
    """The finding of one question among as many as its family has."""
    estimate, question = case.estimate, case.question
    low, high = estimate.bounds()
    note = [
        question.one.told(case.scope.sample),
        question.other.told(case.scope.sample),
        *_remarks([case]),
    ]
    if verdict in (SUPPORTED, CONTRADICTED) and estimate.equivalent(margin) < 1 - LEVEL:
        note.append("within the margin")
    if verdict != NO_VERDICT and family > 1:
        note.append(f"Holm over {family}")
    return case.head.finding(
        verdict,
        unit,
        effect=float(estimate.effect),
        low=float(low),
        high=float(high),
        n=estimate.n,
        error=float(estimate.error),
        freedom=float(estimate.freedom),
        p=p,
        seeds=_seeds(verdict, estimate, margin, family),
        note="; ".join(note),
    )


def _together(head: Head, cases: Sequence[Case], unit: str, margin: float) -> Finding:
    """The finding that several comparisons hold, by their smallest effect."""
    estimates = [case.estimate for case in cases]
    verdict = str(verdict_together(estimates, margin))
    effect, low, high = map(float, least(estimates))
    smallest = int(np.argmin([estimate.effect for estimate in estimates]))
    # All must be shown to be positive, or one not to be.
    unsettled = estimates if effect > 0 else [estimates[smallest]]
    seeds = [_seeds(verdict, estimate, margin) for estimate in unsettled]
    return head.finding(
        verdict,
        unit,
        effect=effect,
        low=low,
        high=high,
        n=min(estimate.n for estimate in estimates),
        seeds=max(seeds),
        note="; ".join([_least(cases, cases[smallest]), *_remarks(cases)]),
    )


def _least(cases: Sequence[Case], smallest: Case) -> str:
    """Which of the comparisons has the smallest effect, with its baseline where there are several."""
    several = len({case.scope.baseline for case in cases}) > 1
    where = f"{smallest.scope.baseline}, " if several else ""
    return f"least: {where}{smallest.question.subject}"


def _seeds(verdict: str, estimate: Estimate, margin: float, questions: int = 1) -> float:
    """How many seeds would settle an inconclusive finding."""
    if verdict != INCONCLUSIVE:
        return math.nan
    effect = float(estimate.effect)
    error = float(estimate.error)
    freedom = float(estimate.freedom)
    return seeds_needed(effect, error, freedom, estimate.n, margin, questions)


def _remarks(cases: Sequence[Case]) -> list[str]:
    """What a reader should know about the runs behind some comparisons."""
    estimates = [case.estimate for case in cases]
    remarks = _faults(cases)
    if any(np.isnan(estimate.error) for estimate in estimates):
        n = min(estimate.n for estimate in estimates)
        return remarks + WITHOUT_INTERVAL[min(n, 2)]
    if not all(estimate.paired for estimate in estimates):
        remarks.append("no seeds in common")
    if cases[0].scope.sample.unequal:
        remarks.append("unequal variances")
    return remarks


# By the number of seeds.
WITHOUT_INTERVAL = (
    [],
    ["one seed: no interval"],
    ["no spread over seeds: no interval"],
)


def _faults(cases: Sequence[Case]) -> list[str]:
    """How many runs of the networks compared diverged or are missing."""
    networks = _compared(cases).values()
    diverged = sum(arm.diverged for arm in networks)
    missing = sum(arm.missing for arm in networks)
    counts = {"diverged": diverged, "missing": missing}
    return [
        f"{count} {'run' if count == 1 else 'runs'} {fault}"
        for fault, count in counts.items()
        if count
    ]


def _compared(cases: Sequence[Case]) -> dict[int, Entrant]:
    """Every network that some of the comparisons use, by its place."""
    networks = {}
    for case in cases:
        networks |= {arm.place: arm for arm in case.scope.arms if case.question.uses(arm.place)}
    return networks


# ---------------------------------------------------------------- across scopes, and without an interval

EVERYWHERE = "The same holds for every baseline: MobileNets and ResNet too (section 5.1, Table 3)."
ELSEWHERE = "What holds in one setting holds in another: the paper trains each network in one (section 5.2)."
STANDS_FOR = "FLOPs stand for what a network costs (section 3.3, equation 3)."


def baselines(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Whether what a claim says holds for several baselines together, in each setting and at each kind of
    cost."""
    places = dict.fromkeys((scope.setting, scope.cost) for scope in parts)
    found = []
    for claim, (setting, cost) in itertools.product((IMPROVES, COMPOUND), places):
        own = [scope for scope in parts if (scope.setting, scope.cost) == (setting, cost)]
        asked = {scope: claim.ask(scope).together for scope in own}
        asked = {scope: together for scope, together in asked.items() if together}
        if len(asked) > 1:
            names = ", ".join(scope.baseline for scope in asked)
            head = Head("baselines", EVERYWHERE, "all", setting, cost, f"{claim.key}: {names}")
            cases: list[Case] = []
            for scope, together in asked.items():
                cases += [Case(head, scope, question) for question in together]
            found.append(_together(head, cases, claim.unit, margin))
    return found


def settings(
    parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN
) -> list[Finding]:
    """Whether an effect depends on the setting: in each later setting minus in the first; those of a claim
    are one family. `found`: what the settings gave by themselves, for the note."""
    told = {_asked_at(finding): finding.verdict for finding in found}
    places = dict.fromkeys((scope.baseline, scope.cost) for scope in parts)
    changes = []
    for claim, (baseline, cost) in itertools.product(CLAIMS, places):
        own = [scope for scope in parts if (scope.baseline, scope.cost) == (baseline, cost)]
        changes += _family([*_changes(claim, own, told)], claim.unit, False, margin)
    return changes


def _asked_at(finding: Finding) -> tuple[str, ...]:
    return finding.claim, finding.baseline, finding.setting, finding.cost, finding.subject


def _changes(
    claim: Claim, own: Sequence[Scope], told: Mapping[tuple[str, ...], str]
) -> Iterator[Case]:
    """What a claim asks in several settings, each later one against the first that asks it."""
    first: dict[str, tuple[Scope, Quantity]] = {}
    for scope in own:
        for question in claim.ask(scope).questions:
            verdict = told[claim.key, scope.baseline, scope.setting, scope.cost, question.subject]
            now = Quantity(f"{verdict} at {scope.setting}", question.weights)
            before, then = first.setdefault(question.subject, (scope, now))
            if np.any(now.weights != then.weights):
                yield _change(claim, scope, before, Question(_under(claim, question), now, then))


def _change(claim: Claim, scope: Scope, before: Scope, question: Question) -> Case:
    """A question about two settings, in a scope that has the networks of both."""
    setting = f"{scope.setting} against {before.setting}"
    both = replace(scope, setting=setting, arms=[*scope.arms, *before.arms])
    head = Head("settings", ELSEWHERE, scope.baseline, setting, scope.cost, question.subject)
    return Case(head, both, question)


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
    """On each axis the costliest over the cheapest rule, at the largest cost in FLOPs that they share;
    supported where they are no further apart than matching leaves them. Networks do not depend on the
    setting: the first one's are looked at."""
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
    verdict = SUPPORTED if largest <= (1 + TOLERANCE) / (1 - TOLERANCE) else CONTRADICTED
    source = f"a median on {known[0].step_device}" if column.startswith("step_") else "counted"
    head = Head(
        "costs", STANDS_FOR, scope.baseline, "", scope.cost, f"{AXES[column]} {scope.at(arms[0])}"
    )
    return [
        head.finding(
            verdict, "x", effect=largest, note=f"{_ranked(ratios)}; {source}, so no interval"
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


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per finding, its fields as columns."""
    columns = [field.name for field in fields(Finding)]
    rows = [asdict(finding) for finding in findings]
    return pd.DataFrame(rows, columns=columns)
