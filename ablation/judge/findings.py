"""What the runs say about the paper's claims: for each question an effect, a 95 % interval and a verdict."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.judge.claims import CLAIMS, COMPOUND, IMPROVES, Arm, Claim, Quantity, Question, Scope, rivals, scopes
from ablation.judge.contrasts import LEVEL, Estimate, Floats, holm, least, seeds_needed
from ablation.theory.matching import TOLERANCE

# Effects within this many points count as none: a fifth of what the paper claims for compound scaling, and about as far as one network
# stands from itself there (d=2: 78.51 % in Fig. 3 and 78.74 % in Fig. 4; r=1.3: 77.68 % and 78.21 %).
MARGIN = 0.5

SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE = "supported", "contradicted", "equivalent", "inconclusive"
NO_VERDICT = "no verdict"  # one seed, no runs, or nothing of equal cost to compare with
VERDICTS = (SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NO_VERDICT)

Head = tuple[str, str, str, str, str, str]  # claim, statement, baseline, setting, cost, subject


@dataclass(frozen=True)
class Finding:
    """A statement of the paper and what the runs say about it.

    baseline, setting, cost: the scope; subject: what is compared; effect with its interval low to high, standard error and degrees of freedom,
    NaN where there is none; n: seeds of the least replicated network, 0 for what needs none.
    p: of no effect, adjusted by Holm's method for the claim's questions in its scope; the interval is not adjusted.
    seeds: how many would settle an inconclusive finding, infinite above statistics.MOST_SEEDS, NaN for other verdicts.
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


def judge(frame: pd.DataFrame, margin: float = MARGIN) -> list[Finding]:
    """All findings of a frame (ablation.judge.frame), in the order of the claims; margin in points. [] for a frame without accuracies."""
    parts = [scope for scope in scopes(frame) if any(scope.sample.runs[arm.place] for arm in scope.arms)]
    found = [finding for claim in CLAIMS for scope in parts for finding in answer(claim, scope, margin)]
    return [*found, *baselines(parts, margin), *costs(parts), *settings(parts, found, margin)]


# ---------------------------------------------------------------- verdicts


def verdicts(estimates: Sequence[Estimate], signed: bool = True, margin: float = MARGIN) -> tuple[Floats, NDArray[np.str_]]:
    """Adjusted p values and verdicts (..., questions) of a family: told from 0 first, else within the margin."""
    effect = np.stack([estimate.effect for estimate in estimates], -1)
    p = holm(np.stack([estimate.different for estimate in estimates], -1))
    same = holm(np.stack([estimate.equivalent(margin) for estimate in estimates], -1))
    told = p < 1 - LEVEL
    return p, _name(told & (effect > 0) & signed, told & ((effect < 0) | (not signed)), same < 1 - LEVEL, ~np.isnan(p))


def verdict_together(estimates: Sequence[Estimate], margin: float = MARGIN) -> NDArray[np.str_]:
    """Whether every effect is positive (...): the verdict on the smallest."""
    _, low, high = least(estimates)
    _, inner_low, inner_high = least(estimates, 2 * LEVEL - 1)  # two one-sided tests of the margin
    return _name(low > 0, high < 0, (inner_low > -margin) & (inner_high < margin), low < high)


def _name(supported: Any, contradicted: Any, equivalent: Any, known: Any) -> NDArray[np.str_]:
    return np.select([supported, contradicted, equivalent, known], VERDICTS[:4], NO_VERDICT)


def answer(claim: Claim, scope: Scope, margin: float = MARGIN) -> list[Finding]:
    """What one scope says about one claim; [] where it has nothing to say."""
    asked, head = claim.ask(scope), (claim.key, claim.statement, scope.baseline, scope.setting, scope.cost)
    found = [Finding(*head, subject, NO_VERDICT, claim.unit, note=why) for subject, why in asked.impossible.items()]
    found += _family([((*head, question.subject), scope, question) for question in asked.questions], claim.unit, claim.signed, margin)
    if len(asked.together) > 1:
        found.append(_together((*head, asked.subject), [(scope, question) for question in asked.together], claim.unit, margin))
    return found


def _family(asked: Sequence[tuple[Head, Scope, Question]], unit: str, signed: bool, margin: float) -> list[Finding]:
    """The findings of questions that are judged together."""
    estimates = [question.estimate(scope.sample) for _, scope, question in asked]
    judged = zip(asked, estimates, *verdicts(estimates, signed, margin), strict=True) if asked else ()
    found = []
    for (head, scope, question), estimate, p, verdict in judged:
        note = [question.one.told(scope.sample), question.other.told(scope.sample), *_remarks([(scope, question)])]
        note += ["within the margin"] if verdict in (SUPPORTED, CONTRADICTED) and estimate.equivalent(margin) < 1 - LEVEL else []
        note += [f"Holm over {len(asked)}"] if verdict != NO_VERDICT and len(asked) > 1 else []
        seeds = _seeds(str(verdict), estimate, margin, len(asked))
        numbers = {"error": float(estimate.error), "freedom": float(estimate.freedom), "p": float(p), "seeds": seeds, "note": "; ".join(note)}
        found.append(Finding(*head, str(verdict), unit, float(estimate.effect), *map(float, estimate.bounds()), estimate.n, **numbers))
    return found


def _together(head: Head, pairs: Sequence[tuple[Scope, Question]], unit: str, margin: float) -> Finding:
    """The finding that several comparisons hold, by their smallest effect."""
    estimates = [question.estimate(scope.sample) for scope, question in pairs]
    verdict, (effect, low, high) = str(verdict_together(estimates, margin)), map(float, least(estimates))
    (scope, question), smallest = min(zip(pairs, estimates, strict=True), key=lambda pair: float(pair[1].effect))
    several = len({scope.baseline for scope, _ in pairs}) > 1
    note = "; ".join([f"least: {scope.baseline + ', ' if several else ''}{question.subject}", *_remarks(pairs)])
    unsettled = estimates if effect > 0 else [smallest]  # all must be shown to be positive, or one not to be
    seeds = max(_seeds(verdict, estimate, margin) for estimate in unsettled)
    return Finding(*head, verdict, unit, effect, low, high, min(estimate.n for estimate in estimates), seeds=seeds, note=note)


def _seeds(verdict: str, estimate: Estimate, margin: float, questions: int = 1) -> float:
    """How many seeds would settle an inconclusive finding."""
    if verdict != INCONCLUSIVE:
        return math.nan
    return seeds_needed(float(estimate.effect), float(estimate.error), float(estimate.freedom), estimate.n, margin, questions)


def _remarks(pairs: Sequence[tuple[Scope, Question]]) -> list[str]:
    """What a reader should know about the runs behind some comparisons."""
    networks = {arm.place: arm for scope, question in pairs for arm in scope.arms if question.uses(arm.place)}.values()
    counts = {fault: sum(getattr(arm, fault) for arm in networks) for fault in ("diverged", "missing")}
    remarks = [f"{count} {'run' if count == 1 else 'runs'} {fault}" for fault, count in counts.items() if count]
    estimates = [question.estimate(scope.sample) for scope, question in pairs]
    n = min(estimate.n for estimate in estimates)
    if any(np.isnan(estimate.error) for estimate in estimates):
        return [*remarks, *([], ["one seed: no interval"], ["no spread over seeds: no interval"])[min(n, 2)]]
    remarks += ["no seeds in common"] if not all(estimate.paired for estimate in estimates) else []
    return remarks + (["unequal variances"] if pairs[0][0].sample.unequal else [])


# ---------------------------------------------------------------- across scopes, and without an interval


def baselines(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Whether what a claim says holds for several baselines together, in each setting and at each kind of cost."""
    statement = "The same holds for every baseline: MobileNets and ResNet too (section 5.1, Table 3)."
    found = []
    for claim, (setting, cost) in itertools.product((IMPROVES, COMPOUND), dict.fromkeys((scope.setting, scope.cost) for scope in parts)):
        own = [scope for scope in parts if (scope.setting, scope.cost) == (setting, cost)]
        asked = {scope: together for scope in own if (together := claim.ask(scope).together)}
        if len(asked) > 1:
            subject = f"{claim.key}: {', '.join(scope.baseline for scope in asked)}"
            pairs = [(scope, question) for scope, together in asked.items() for question in together]
            found.append(_together(("baselines", statement, "all", setting, cost, subject), pairs, claim.unit, margin))
    return found


def settings(parts: Sequence[Scope], found: Sequence[Finding], margin: float = MARGIN) -> list[Finding]:
    """Whether an effect depends on the setting: in each later setting minus in the first; those of a claim are one family. `found`: what
    the settings gave by themselves, for the note."""
    told = {(finding.claim, finding.baseline, finding.setting, finding.cost, finding.subject): finding.verdict for finding in found}
    changes = []
    for claim, (baseline, cost) in itertools.product(CLAIMS, dict.fromkeys((scope.baseline, scope.cost) for scope in parts)):
        own = [scope for scope in parts if (scope.baseline, scope.cost) == (baseline, cost)]
        changes += _family([*_changes(claim, own, told)], claim.unit, False, margin)
    return changes


def _changes(claim: Claim, own: Sequence[Scope], told: Mapping[tuple[str, ...], str]) -> Iterator[tuple[Head, Scope, Question]]:
    """What a claim asks in several settings, each later one against the first that asks it."""
    statement = "What holds in one setting holds in another: the paper trains each network in one (section 5.2)."
    first: dict[str, tuple[Scope, Quantity]] = {}
    for scope in own:
        for question in claim.ask(scope).questions:
            verdict = told[claim.key, scope.baseline, scope.setting, scope.cost, question.subject]
            now = Quantity(f"{verdict} at {scope.setting}", question.weights)
            before, then = first.setdefault(question.subject, (scope, now))
            if np.any(now.weights != then.weights):
                both = replace(scope, setting=f"{scope.setting} against {before.setting}", arms=[*scope.arms, *before.arms])
                subject = question.subject if question.subject.startswith(claim.key) else f"{claim.key}: {question.subject}"
                head = ("settings", statement, scope.baseline, both.setting, scope.cost, subject)
                yield head, both, Question(subject, now, then)


# What networks of equal FLOPs may differ in: columns of the frame, with names.
AXES = {
    "macs": "training FLOPs of an image",
    "activations": "activations",
    "step_bytes": "memory of a training step",
    "step_seconds": "time of a training step",
}


def costs(parts: Sequence[Scope]) -> list[Finding]:
    """On each axis the costliest over the cheapest rule, at the largest cost in FLOPs that they share; supported where they are no
    further apart than matching leaves them. Networks do not depend on the setting: the first one's are looked at."""
    first = {(scope.baseline, scope.cost): scope for scope in reversed(parts)}
    return [finding for scope in reversed(first.values()) for column in AXES for finding in _spread(scope, column)]


def _spread(scope: Scope, column: str) -> list[Finding]:
    """The finding on one axis; none where fewer than two rules are known on it."""
    arms = _equals(scope)
    values = {arm.rule: value for arm in arms if not math.isnan(value := float(getattr(arm, column, math.nan)))}
    if len(values) < 2:
        return []
    ratios = {rule: value / min(values.values()) for rule, value in sorted(values.items(), key=lambda item: item[1])}
    verdict = SUPPORTED if max(ratios.values()) <= (1 + TOLERANCE) / (1 - TOLERANCE) else CONTRADICTED
    statement = "FLOPs stand for what a network costs (section 3.3, equation 3)."
    ranked = [f"{rule} {ratio:.2f}" for rule, ratio in ratios.items()]
    device = next(arm.step_device for arm in arms if arm.rule in values) if column.startswith("step_") else ""
    known = f"a median on {device}" if device else "counted"
    note = ", ".join(ranked if len(ranked) < 9 else [*ranked[:4], "...", *ranked[-4:]]) + f"; {known}, so no interval"
    head = ("costs", statement, scope.baseline, "", scope.cost, f"{AXES[column]} {scope.at(arms[0])}")
    return [Finding(*head, verdict, "x", max(ratios.values()), note=note)]


def _equals(scope: Scope) -> list[Arm]:
    """Networks of different rules at the largest equal cost."""
    leader = "compound" if "compound" in scope.rules else next(iter(scope.rules), "")
    rounds = [[arm, *rivals(scope, arm, [rule for rule in scope.rules if rule != leader])] for arm in scope.points(leader)]
    return next((arms for arms in reversed(rounds) if len({(arm.depths, arm.widths, arm.pixels) for arm in arms}) > 1), [])


# ---------------------------------------------------------------- what a reader sees


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per finding, its fields as columns."""
    return pd.DataFrame([asdict(finding) for finding in findings], columns=[field.name for field in fields(Finding)])
