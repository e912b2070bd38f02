"""From questions to findings: for each an effect, 95 % intervals and a verdict, and for several whether they
hold together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.judge.claims import Claim
from ablation.judge.contrasts import (
    LEVEL,
    Estimate,
    Floats,
    half_width,
    holm,
    in_sequence,
    least,
)
from ablation.judge.power import seeds_between
from ablation.judge.questions import Asked, Entrant, Question, Scope

# Effects within this many points count as none: a fifth of what the paper claims for compound scaling, and
# about as far as one network stands from itself there (d=2: 78.51 % in Fig. 3 and 78.74 % in Fig. 4; r=1.3:
# 77.68 % and 78.21 %).
MARGIN = 0.5

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
EQUIVALENT = "equivalent"
INCONCLUSIVE = "inconclusive"
NO_VERDICT = "no verdict"  # one seed, no runs, or nothing of equal cost to compare with
NOT_THE_RULE = "not that rule"  # a network too far from its rule's direction
MEASURED = "measured"  # a number that the paper makes no claim about
VERDICTS = (SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NO_VERDICT, NOT_THE_RULE, MEASURED)
TOLD = (SUPPORTED, CONTRADICTED)


@dataclass(frozen=True)
class Finding:
    """A statement of the paper and what the runs say about it.

    baseline, setting, cost: the scope; subject: what is compared; effect with its interval low to high,
    standard error and degrees of freedom, NaN where there is none; n: seeds of the least replicated network,
    0 for what needs none. over: what the interval is over, `seeds and images` or, where records do not say
    which images were right, `seeds` alone; seeds_low to seeds_high is the one over seeds on these images. The
    verdict is that of low to high. p: of no effect, adjusted for the claim's questions in its scope (Holm's
    method over rivals, each of which is met at the largest cost first); intervals are not adjusted. seeds:
    how many would settle an inconclusive finding, infinite above power.MOST_SEEDS, NaN for other
    verdicts; fewest, most: the range of that over the interval. confirmed: what seeds that did not suggest
    the question say of it, "" where there are none. members: how many comparisons it holds together.
    expected: what the study says beforehand, and what came of it (ablation.judge.expected), "" for nothing.
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
    over: str = ""
    seeds_low: float = math.nan
    seeds_high: float = math.nan
    fewest: float = math.nan
    most: float = math.nan
    confirmed: str = ""
    members: int = 0
    expected: str = ""

    @property
    def tested(self) -> bool:
        """Whether the verdict is one on an effect."""
        return self.verdict not in (NO_VERDICT, NOT_THE_RULE, MEASURED)


def between(low: float, high: float) -> str:
    """An interval in words; "" where there is none."""
    return "" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"


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

    @cached_property
    def estimate(self) -> Estimate:
        """The answer."""
        return self.question.estimate(self.scope.sample)

    @property
    def off_direction(self) -> list[Entrant]:
        """The networks compared that are not their rule's, where that matters."""
        arms = compared([self]).values() if self.question.directed else []
        return [arm for arm in arms if arm.off_direction]


# ---------------------------------------------------------------- verdicts


def verdicts(
    estimates: Sequence[Estimate],
    signed: bool = True,
    margin: float = MARGIN,
    chains: Sequence[Sequence[int]] = (),
) -> tuple[Floats, NDArray[np.str_]]:
    """Adjusted p values and verdicts (..., questions) of a family: told from 0 first, in the order of the
    chains (contrasts.in_sequence), else within the margin."""
    effect = np.stack([estimate.effect for estimate in estimates], -1)
    tested = np.stack([estimate.different for estimate in estimates], -1)
    p = in_sequence(tested, chains or [[place] for place in range(len(estimates))])
    same = holm(np.stack([estimate.equivalent(margin) for estimate in estimates], -1))
    told = p < 1 - LEVEL
    supported = told & (effect > 0) & signed
    contradicted = told & ((effect < 0) | (not signed))
    return p, _name(supported, contradicted, same < 1 - LEVEL, ~np.isnan(p))


def verdict_together(members: NDArray[np.str_]) -> NDArray[np.str_]:
    """Whether every one of several effects is positive (...), from the verdicts on each (..., members):
    supported where all are, contradicted where one is."""
    every = {verdict: (members == verdict).all(-1) for verdict in (SUPPORTED, EQUIVALENT)}
    known = ~np.isin(members, (NO_VERDICT, NOT_THE_RULE)).any(-1)
    contradicted = (members == CONTRADICTED).any(-1)
    named = _name(every[SUPPORTED], contradicted, every[EQUIVALENT], known)
    off = (members == NOT_THE_RULE).any(-1) & ~contradicted
    return np.where(off, NOT_THE_RULE, named)


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
    answers = judged(cases, claim.unit, claim.signed, margin, asked.chains, claim.scales)
    return [*found, *answers, *all_together(head, asked, cases, answers, claim.unit)]


def all_together(
    head: Head, asked: Asked, cases: Sequence[Case], answers: Sequence[Finding], unit: str
) -> list[Finding]:
    """The findings that several comparisons hold together."""
    found = []
    for subject, places in asked.together.items():
        if len(places) > 1:
            members = [cases[place] for place in places]
            verdicts_on = [answers[place] for place in places]
            found.append(held_together(replace(head, subject=subject), members, verdicts_on, unit))
    return found


def judged(
    cases: Sequence[Case],
    unit: str,
    signed: bool,
    margin: float,
    chains: Sequence[Sequence[int]] = (),
    scales: bool = False,
) -> list[Finding]:
    """The findings of questions that are judged together; those about a network that is not its rule's have
    no verdict, and no part in the family."""
    places = [place for place, case in enumerate(cases) if not case.off_direction]
    asked = [cases[place] for place in places]
    numbers = {place: number for number, place in enumerate(places)}
    kept = [[numbers[place] for place in chain if place in numbers] for chain in chains]
    tested = [chain for chain in kept if chain]
    told = _verdicts_on(asked, signed, margin, tested, scales)
    family = len(tested or asked)
    found = []
    for place, case in enumerate(cases):
        if place in numbers:
            verdict, p, remarks = told[numbers[place]]
            found.append(_one_of(case, verdict, p, unit, margin, family, remarks))
        else:
            remarks = [_off(arm) for arm in case.off_direction]
            found.append(_one_of(case, NOT_THE_RULE, math.nan, unit, margin, 1, remarks))
    return found


def _off(arm: Entrant) -> str:
    """By how much a network is not its rule's."""
    return f"{arm.label} is {arm.angle:.0f} degrees off its direction"


def _verdicts_on(
    cases: Sequence[Case],
    signed: bool,
    margin: float,
    chains: Sequence[Sequence[int]],
    scales: bool,
) -> list[tuple[str, float, list[str]]]:
    """Of each question the verdict, the adjusted p value, and what the other scale says where there is
    one."""
    if not cases:
        return []
    p, named = verdicts([case.estimate for case in cases], signed, margin, chains)
    in_points = [str(verdict) for verdict in named]
    if not scales:
        return [(verdict, float(each), []) for verdict, each in zip(in_points, p, strict=True)]
    others = [case.question.estimate(case.scope.log_errors) for case in cases]
    # Points say nothing of a margin in log errors: there an effect is told from none, or it is not.
    other_p, other = verdicts(others, signed, 0.0, chains)
    return [
        (_agreed(one, str(two)), max(float(a), float(b)), [_on_log_errors(estimate, str(two))])
        for one, two, a, b, estimate in zip(in_points, other, p, other_p, others, strict=True)
    ]


def _agreed(in_points: str, in_log_errors: str) -> str:
    """What holds on both scales."""
    if in_points == in_log_errors or NO_VERDICT in (in_points, in_log_errors):
        return in_points
    return in_points if in_points == EQUIVALENT and in_log_errors not in TOLD else INCONCLUSIVE


def _on_log_errors(estimate: Estimate, verdict: str) -> str:
    """The same question asked of the logarithm of the error."""
    low, high = estimate.bounds()
    return f"in log error {estimate.effect:+.3f} ({low:+.3f} to {high:+.3f}), by itself {verdict}"


def _one_of(
    case: Case,
    verdict: str,
    p: float,
    unit: str,
    margin: float,
    family: int,
    remarks: Sequence[str] = (),
) -> Finding:
    """The finding of one question; family: how many tests share the error where its own begins."""
    estimate, question = case.estimate, case.question
    note = [
        question.one.told(case.scope.sample),
        question.other.told(case.scope.sample),
        *remarks,
        *([question.caution] if question.caution else []),
        *_remarks([case]),
    ]
    if verdict in TOLD and estimate.equivalent(margin) < 1 - LEVEL:
        note.append("within the margin")
    if verdict == INCONCLUSIVE and _out_of_reach(estimate, margin, family):
        note.append(f"equivalence within {margin:g} is out of reach of these runs")
    if verdict not in (NO_VERDICT, NOT_THE_RULE) and family > 1:
        note.append(f"Holm over {family}")
    seeds, fewest, most = _seeds(verdict, estimate, margin, family)
    return case.head.finding(
        verdict,
        unit,
        **_interval(estimate),
        n=estimate.n,
        error=float(estimate.error),
        freedom=float(estimate.freedom),
        p=p,
        seeds=seeds,
        fewest=fewest,
        most=most,
        note="; ".join(note),
    )


def _interval(estimate: Estimate) -> dict[str, Any]:
    """Effect, both intervals, and what the first is over."""
    low, high = estimate.bounds()
    seeds_low, seeds_high = estimate.over_seeds.bounds()
    return {
        "effect": float(estimate.effect),
        "low": float(low),
        "high": float(high),
        "over": _over([estimate]),
        "seeds_low": float(seeds_low),
        "seeds_high": float(seeds_high),
    }


def _over(estimates: Sequence[Estimate]) -> str:
    """What intervals are over; nothing where there is none."""
    if any(np.isnan(estimate.error) for estimate in estimates):
        return ""
    return "seeds and images" if all(each.images for each in estimates) else "seeds"


def _out_of_reach(estimate: Estimate, margin: float, family: int) -> bool:
    """Whether even an effect of 0 could not be called equivalent with this error."""
    level = 1 - 2 * (1 - LEVEL) / family
    return bool(half_width(estimate.error, estimate.freedom, level) > margin)


def held_together(
    head: Head, cases: Sequence[Case], members: Sequence[Finding], unit: str
) -> Finding:
    """The finding that several comparisons hold, by their smallest effect and the verdicts on each."""
    estimates = [case.estimate for case in cases]
    verdict = str(verdict_together(np.array([member.verdict for member in members])))
    effect, low, high = map(float, least(estimates))
    _, seeds_low, seeds_high = map(float, least([each.over_seeds for each in estimates]))
    smallest = int(np.argmin([estimate.effect for estimate in estimates]))
    unsettled = [member for member in members if not math.isnan(member.seeds)]
    counts = {
        name: max((getattr(member, name) for member in unsettled), default=math.nan)
        for name in ("seeds", "fewest", "most")
    }
    return head.finding(
        verdict,
        unit,
        effect=effect,
        low=low,
        high=high,
        over=_over(estimates),
        seeds_low=seeds_low,
        seeds_high=seeds_high,
        n=min(estimate.n for estimate in estimates),
        members=len(members),
        note="; ".join([_least(cases, cases[smallest]), *_remarks(cases)]),
        **(counts if verdict == INCONCLUSIVE else {}),
    )


def _least(cases: Sequence[Case], smallest: Case) -> str:
    """Which of the comparisons has the smallest effect, with its baseline where there are several."""
    several = len({case.scope.baseline for case in cases}) > 1
    where = f"{smallest.scope.baseline}, " if several else ""
    return f"least: {where}{smallest.question.subject}"


def _seeds(
    verdict: str, estimate: Estimate, margin: float, questions: int = 1
) -> tuple[float, float, float]:
    """How many seeds would settle an inconclusive finding, and the range of that."""
    if verdict != INCONCLUSIVE:
        return math.nan, math.nan, math.nan
    return seeds_between(estimate, margin, questions)


def _remarks(cases: Sequence[Case]) -> list[str]:
    """What a reader should know about the runs behind some comparisons."""
    estimates = [case.estimate for case in cases]
    remarks = [*_faults(cases), *_learning(cases)]
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
    networks = compared(cases).values()
    diverged = sum(arm.diverged for arm in networks)
    missing = sum(arm.missing for arm in networks)
    counts = {"diverged": diverged, "missing": missing}
    return [
        f"{count} {'run' if count == 1 else 'runs'} {fault}"
        for fault, count in counts.items()
        if count
    ]


def _learning(cases: Sequence[Case]) -> list[str]:
    """Which of the networks compared had more to learn."""
    labels = [arm.label for arm in compared(cases).values() if arm.learning]
    return [f"still learning: {', '.join(dict.fromkeys(labels))}"] if labels else []


def compared(cases: Sequence[Case]) -> dict[int, Entrant]:
    """Every network that some of the comparisons use, by its place."""
    networks = {}
    for case in cases:
        networks |= {arm.place: arm for arm in case.scope.arms if case.question.uses(arm.place)}
    return networks


def asked_at(finding: Finding) -> tuple[str, ...]:
    """What tells a finding from the others of a study."""
    return finding.claim, finding.baseline, finding.setting, finding.cost, finding.subject
