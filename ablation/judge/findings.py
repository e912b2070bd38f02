"""What the runs say about the paper's claims: for each question an effect, 95 % intervals and a verdict."""

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
    Asked,
    Claim,
    Entrant,
    Quantity,
    Question,
    Scope,
    rivals,
    scopes,
)
from ablation.judge.contrasts import (
    LEVEL,
    Estimate,
    Floats,
    half_width,
    holm,
    in_sequence,
    least,
    least_over_seeds,
    seeds_between,
)

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
    how many would settle an inconclusive finding, infinite above contrasts.MOST_SEEDS, NaN for other
    verdicts; fewest, most: the range of that over the interval. confirmed: what seeds that did not suggest
    the question say of it, "" where there are none. members: how many comparisons it holds together.
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

    @property
    def off_direction(self) -> list[Entrant]:
        """The networks compared that are not their rule's, where that matters."""
        arms = _compared([self]).values() if self.question.directed else []
        return [arm for arm in arms if arm.off_direction]


def judge(frame: pd.DataFrame, margin: float = MARGIN) -> list[Finding]:
    """All findings of a frame (ablation.judge.frame), in the order of the claims; margin in points. [] for a
    frame without accuracies.

    Seeds that are to confirm are judged by themselves.
    """
    confirming = frame["confirms"] if "confirms" in frame else pd.Series(False, frame.index)
    found = _judged(frame[~confirming], margin)
    if not confirming.any():
        return found
    fresh = {_asked_at(finding): finding for finding in _judged(frame[confirming], margin)}
    return [
        replace(finding, confirmed=_confirmed(fresh.get(_asked_at(finding)))) for finding in found
    ]


def _confirmed(finding: Finding | None) -> str:
    """What fresh seeds say of the same."""
    if finding is None or math.isnan(finding.effect):
        return "no run yet"
    known = not math.isnan(finding.low)
    interval = f" ({finding.low:+.2f} to {finding.high:+.2f})" if known else ""
    seeds = f", n = {finding.n}" if finding.n else ""
    return f"{finding.verdict}: {finding.effect:+.2f}{interval}{seeds}"


def _judged(frame: pd.DataFrame, margin: float) -> list[Finding]:
    parts = [scope for scope in scopes(frame) if _has_runs(scope)]
    found: list[Finding] = []
    for claim in CLAIMS:
        for scope in parts:
            found += answer(claim, scope, margin)
    across = [*baselines(parts, found, margin), *pixels(parts, margin), *recipes(parts, margin)]
    return [*found, *across, *costs(parts), *settings(parts, found, margin)]


def _has_runs(scope: Scope) -> bool:
    return any(scope.sample.runs[arm.place] for arm in scope.arms)


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
    answers = _family(cases, claim.unit, claim.signed, margin, asked.chains, claim.scales)
    return [*found, *answers, *_all_together(head, asked, cases, answers, claim.unit)]


def _all_together(
    head: Head, asked: Asked, cases: Sequence[Case], answers: Sequence[Finding], unit: str
) -> list[Finding]:
    """The findings that several comparisons hold together."""
    found = []
    for subject, places in asked.together.items():
        if len(places) > 1:
            members = [cases[place] for place in places]
            verdicts_on = [answers[place] for place in places]
            found.append(_together(replace(head, subject=subject), members, verdicts_on, unit))
    return found


def _family(
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
    judged = _verdicts_on(asked, signed, margin, [chain for chain in kept if chain], scales)
    family = len([chain for chain in kept if chain] or asked)
    found = []
    for place, case in enumerate(cases):
        if place in numbers:
            verdict, p, remarks = judged[numbers[place]]
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
    p, judged = verdicts([case.estimate for case in cases], signed, margin, chains)
    in_points = [str(verdict) for verdict in judged]
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
    seeds_low, seeds_high = estimate.bounds_over_seeds()
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


def _together(head: Head, cases: Sequence[Case], members: Sequence[Finding], unit: str) -> Finding:
    """The finding that several comparisons hold, by their smallest effect and the verdicts on each."""
    estimates = [case.estimate for case in cases]
    verdict = str(verdict_together(np.array([member.verdict for member in members])))
    effect, low, high = map(float, least(estimates))
    _, seeds_low, seeds_high = map(float, least_over_seeds(estimates))
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
FINER = (
    "Higher resolution shows finer patterns (section 3.1): it is not the compute alone that pays."
)
CHOSEN = "The recipe as it is serves the baseline best (chosen here, on validation images)."
DIFFER = "Networks of equal FLOPs differ in other costs (a measurement; section 3.3 takes FLOPs for cost)."


def baselines(
    parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN
) -> list[Finding]:
    """Whether what a claim says holds for several baselines together, and whether its effects differ between
    them, in each setting and at each kind of cost. `found`: what each gave by itself."""
    places = dict.fromkeys((scope.setting, scope.cost) for scope in parts)
    answers = {_asked_at(finding): finding for finding in found}
    told = {place: finding.verdict for place, finding in answers.items()}
    across: list[Finding] = []
    for claim, (setting, cost) in itertools.product((IMPROVES, COMPOUND), places):
        own = [scope for scope in parts if (scope.setting, scope.cost) == (setting, cost)]
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
            across.append(_together(head, cases, members, claim.unit))
            differ = list(_changes(claim, list(asked), told, "baseline"))
            across += _family(differ, claim.unit, False, margin)
    return across


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
            found += _family(cases, "points", True, margin, chains)
    return found


def _enlarged(scope: Scope) -> bool:
    """Whether its larger networks see images of less detail than they have pixels."""
    return any(not math.isnan(arm.detail) for arm in scope.arms)


def _by_pixels(native: Scope, enlarged: Scope) -> Iterator[Case]:
    """The two parts of what each resolution gains, the smallest first."""
    own = {arm.label: arm for arm in native.points("resolution")}
    base = next((arm for arm in native.arms if arm.label == "baseline"), None)
    for arm in enlarged.points("resolution"):
        if base and arm.label in own:
            steps = [
                native.mean(base, "baseline"),
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
    answers = _family(cases, "points", True, margin)
    together = Asked(
        questions, together={f"{first.setting} against all of them": range(len(cases))}
    )
    return [*answers, *_all_together(head, together, cases, answers, "points")]


def settings(
    parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN
) -> list[Finding]:
    """Whether an effect depends on the setting: in each later setting minus in the first; those of a claim
    are one family. `found`: what the settings gave by themselves, for the note."""
    told = {_asked_at(finding): finding.verdict for finding in found}
    places = dict.fromkeys((scope.baseline, scope.cost) for scope in parts)
    changes = []
    for claim, (baseline, cost) in itertools.product(CLAIMS, places):
        own = [
            scope
            for scope in parts
            if (scope.baseline, scope.cost) == (baseline, cost) and not _enlarged(scope)
        ]
        changes += _family([*_changes(claim, own, told, "setting")], claim.unit, False, margin)
    return changes


def _asked_at(finding: Finding) -> tuple[str, ...]:
    return finding.claim, finding.baseline, finding.setting, finding.cost, finding.subject


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


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per finding, its fields as columns."""
    columns = [field.name for field in fields(Finding)]
    rows = [asdict(finding) for finding in findings]
    return pd.DataFrame(rows, columns=columns)
