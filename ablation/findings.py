"""What the runs say about the paper's claims: for each question an effect, a 95 % interval and a verdict."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from ablation.claims import CLAIMS, COMPOUND, IMPROVES, Arm, Claim, Question, Scope, at, rivals, scopes
from ablation.cost import TOLERANCE
from ablation.statistics import LEVEL, MOST_SEEDS, Estimate, Floats, difference, holm, least, seeds_needed

# Effects within this many points count as none: a fifth of what the paper claims for compound scaling, and about as far as one network
# stands from itself there (d=2: 78.51 % in Fig. 3 and 78.74 % in Fig. 4; r=1.3: 77.68 % and 78.21 %).
MARGIN = 0.5

SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE = "supported", "contradicted", "equivalent", "inconclusive"
NO_VERDICT = "no verdict"  # one seed, no runs, or nothing of equal cost to compare with
VERDICTS = (SUPPORTED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE, NO_VERDICT)

Head = tuple[str, str, str, str]  # claim, statement, baseline, setting


@dataclass(frozen=True)
class Finding:
    """A statement of the paper and what the runs say about it.

    baseline, setting: the scope; subject: what is compared; effect with its interval low to high, standard error and degrees of freedom,
    NaN where there is none; n: seeds of the least replicated network, 0 for what needs none.
    p: of no effect, adjusted by Holm's method for the claim's questions in its scope; the interval is not adjusted.
    seeds: how many would settle an inconclusive finding, infinite above statistics.MOST_SEEDS, NaN for other verdicts.
    """

    claim: str
    statement: str
    baseline: str
    setting: str
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

    @property
    def estimate(self) -> Estimate:
        """The effect as an estimate."""
        return Estimate(np.array(self.effect), np.array(self.error), np.array(self.freedom), self.n, False)


def judge(frame: pd.DataFrame, margin: float = MARGIN) -> list[Finding]:
    """All findings of a frame (ablation.frame), in the order of the claims; margin in points. [] for a frame without accuracies."""
    parts = [scope for scope in scopes(frame) if len(scope.sample.values)]
    found = [finding for claim in CLAIMS for scope in parts for finding in answer(claim, scope, margin)]
    return [*found, *baselines(parts, margin), *costs(parts), *settings(found, margin)]


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
    asked, head = claim.ask(scope), (claim.key, claim.statement, scope.baseline, scope.setting)
    found = [Finding(*head, subject, NO_VERDICT, claim.unit, note=why) for subject, why in asked.impossible.items()]
    estimates = [question.estimate(scope.sample) for question in asked.questions]
    notes = [[question.one.told(scope.sample), question.other.told(scope.sample), *_remarks([(scope, question)])] for question in asked.questions]
    found += _family([(*head, question.subject) for question in asked.questions], estimates, notes, claim.unit, claim.signed, margin)
    if len(asked.together) > 1:
        found.append(_together((*head, asked.subject), [(scope, question) for question in asked.together], claim.unit, margin))
    return found


def _family(
    heads: Sequence[Sequence[str]], estimates: Sequence[Estimate], notes: Sequence[list[str]], unit: str, signed: bool, margin: float
) -> list[Finding]:
    """The findings of questions that are judged together."""
    if not estimates:
        return []
    found = []
    for head, estimate, note, p, verdict in zip(heads, estimates, notes, *verdicts(estimates, signed, margin), strict=True):
        if verdict in (SUPPORTED, CONTRADICTED) and estimate.equivalent(margin) < 1 - LEVEL:
            note = [*note, "within the margin"]
        if verdict != NO_VERDICT and len(estimates) > 1:
            note = [*note, f"Holm over {len(estimates)}"]
        low, high = estimate.bounds()
        numbers = (float(value) for value in (estimate.effect, low, high))
        seeds = _seeds(str(verdict), estimate, margin, len(estimates))
        found.append(
            Finding(*head, str(verdict), unit, *numbers, estimate.n, float(estimate.error), float(estimate.freedom), float(p), seeds, "; ".join(note))
        )
    return found


def _together(head: Sequence[str], pairs: Sequence[tuple[Scope, Question]], unit: str, margin: float) -> Finding:
    """The finding that several comparisons hold, by their smallest effect."""
    estimates = [question.estimate(scope.sample) for scope, question in pairs]
    verdict, numbers = str(verdict_together(estimates, margin)), [float(value) for value in least(estimates)]
    (scope, question), smallest = min(zip(pairs, estimates, strict=True), key=lambda pair: float(pair[1].effect))
    several = len({scope.baseline for scope, _ in pairs}) > 1
    note = "; ".join([f"least: {scope.baseline + ', ' if several else ''}{question.subject}", *_remarks(pairs)])
    open_ = estimates if numbers[0] > 0 else [smallest]  # all must be shown to be positive, or one not to be
    seeds = max(_seeds(verdict, estimate, margin) for estimate in open_)
    return Finding(*head, verdict, unit, *numbers, min(estimate.n for estimate in estimates), seeds=seeds, note=note)


def _seeds(verdict: str, estimate: Estimate, margin: float, questions: int = 1) -> float:
    """How many seeds would settle an inconclusive finding."""
    if verdict != INCONCLUSIVE:
        return math.nan
    return seeds_needed(float(estimate.effect), float(estimate.error), float(estimate.freedom), estimate.n, margin, questions)


def _remarks(pairs: Sequence[tuple[Scope, Question]]) -> list[str]:
    """What a reader should know about the runs behind some comparisons."""
    networks = {(scope, arm.place): arm for scope, question in pairs for arm in scope.arms if question.uses(arm.place)}.values()
    counts = {fault: sum(getattr(arm, fault) for arm in networks) for fault in ("diverged", "missing")}
    remarks = [f"{count} {'run' if count == 1 else 'runs'} {fault}" for fault, count in counts.items() if count]
    estimates = [question.estimate(scope.sample) for scope, question in pairs]
    n = min(estimate.n for estimate in estimates)
    if any(np.isnan(estimate.error) for estimate in estimates):
        return [*remarks, ("no runs", "one seed: no interval", "no spread over seeds: no interval")[min(n, 2)]]
    remarks += ["no seeds in common"] if not all(estimate.paired for estimate in estimates) else []
    return remarks + (["unequal variances"] if any(scope.sample.unequal for scope, _ in pairs) else [])


# ---------------------------------------------------------------- across scopes, and without an interval


def baselines(parts: Sequence[Scope], margin: float = MARGIN) -> list[Finding]:
    """Whether what a claim says holds for several baselines together, in each setting."""
    statement = "The same holds for every baseline: MobileNets and ResNet too (section 5.1, Table 3)."
    found = []
    for claim, setting in itertools.product((IMPROVES, COMPOUND), dict.fromkeys(scope.setting for scope in parts)):
        asked = {scope: together for scope in parts if scope.setting == setting and (together := claim.ask(scope).together)}
        if len(asked) > 1:
            subject = f"{claim.key}: {', '.join(scope.baseline for scope in asked)}"
            pairs = [(scope, question) for scope, together in asked.items() for question in together]
            found.append(_together(("baselines", statement, "all", setting, subject), pairs, claim.unit, margin))
    return found


# What networks of equal FLOPs may differ in: a column of the frame, its name, and how it is known.
AXES = (
    ("macs", "training FLOPs", "counted"),
    ("activations", "activations", "counted"),
    ("step_bytes", "memory of a training step", "one benchmark"),
    ("step_seconds", "time of a training step", "one benchmark"),
)


def costs(parts: Sequence[Scope]) -> list[Finding]:
    """On each axis the costliest over the cheapest rule, at the largest cost in FLOPs that they share; supported where they are no
    further apart than matching leaves them."""
    return [finding for scope in parts for axis in AXES for finding in _spread(scope, *axis)]


def _spread(scope: Scope, column: str, name: str, known: str) -> list[Finding]:
    arms = _equals(scope)
    values = {arm.rule: value for arm in arms if not math.isnan(value := float(getattr(arm, column, math.nan)))}
    if len(values) < 2:
        return []
    ratios = {rule: value / min(values.values()) for rule, value in sorted(values.items(), key=lambda item: item[1])}
    verdict = SUPPORTED if max(ratios.values()) <= (1 + TOLERANCE) / (1 - TOLERANCE) else CONTRADICTED
    head = ("costs", "FLOPs stand for what a network costs (section 3.3, equation 3).", scope.baseline, scope.setting, f"{name} {at(arms[0])}")
    note = ", ".join(f"{rule} {ratio:.2f}" for rule, ratio in ratios.items()) + f"; {known}, so no interval"
    return [Finding(*head, verdict, "x", max(ratios.values()), note=note)]


def _equals(scope: Scope) -> list[Arm]:
    """Networks of different rules at the largest equal cost."""
    leader = "compound" if "compound" in scope.rules else next(iter(scope.rules), "")
    rounds = [[arm, *rivals(scope, arm, [rule for rule in scope.rules if rule != leader])] for arm in scope.points(leader)]
    return next((arms for arms in reversed(rounds) if len({(arm.depths, arm.widths, arm.pixels) for arm in arms}) > 1), [])


def settings(found: Sequence[Finding], margin: float = MARGIN) -> list[Finding]:
    """Whether an effect depends on the setting: each later setting minus the first, taken as independent samples."""
    groups: dict[tuple[str, str], dict[str, list[Finding]]] = {}
    for finding in found:
        if finding.error > 0:
            groups.setdefault((finding.claim, finding.baseline), {}).setdefault(finding.subject, []).append(finding)
    families = ([(first, later) for first, *rest in subjects.values() for later in rest] for subjects in groups.values())
    return [finding for pairs in families for finding in _changes(pairs, margin)]


def _changes(pairs: Sequence[tuple[Finding, Finding]], margin: float) -> list[Finding]:
    statement = "What holds for one schedule and learning rate holds for others: the paper trains each network with one (section 5.2)."
    heads = [
        ("settings", statement, later.baseline, f"{later.setting} against {first.setting}", f"{later.claim}: {later.subject}")
        for first, later in pairs
    ]
    notes = [[f"{first.verdict} at {first.setting}, {later.verdict} at {later.setting}"] for first, later in pairs]
    estimates = [difference(later.estimate, first.estimate) for first, later in pairs]
    return _family(heads, estimates, notes, pairs[0][1].unit if pairs else "", False, margin)


# ---------------------------------------------------------------- what a reader sees


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per finding, its fields as columns."""
    return pd.DataFrame([asdict(finding) for finding in findings], columns=[field.name for field in fields(Finding)])


def tables(findings: Sequence[Finding], style: str = "github") -> str:
    """Each statement with its findings as a table of tabulate's style; baseline and setting are named where there is more than one."""
    scoped = len({(finding.baseline, finding.setting) for finding in findings}) > 1
    names = [*(["baseline", "setting"] if scoped else []), "", "effect", f"{100 * LEVEL:.0f} % interval", "n", "df", "p", "verdict", "note"]
    parts = []
    for statement, rows in itertools.groupby(findings, lambda finding: finding.statement):
        lines = [[*((row.baseline, row.setting) if scoped else ()), *_cells(row)] for row in rows]
        parts += [f"**{statement}**" if style == "github" else statement, tabulate(lines, names, tablefmt=style, disable_numparse=True)]
    return "\n\n".join(parts)


def _cells(row: Finding) -> list[str]:
    """A finding in words and numbers, empty where there is nothing to say."""
    exact = row.unit == "x"
    effect = f"{_number(row.effect, '.2f' if exact else '+.2f')} {row.unit}" if row.effect == row.effect else ""
    interval = f"{row.low:+.2f} to {row.high:+.2f}" if row.low == row.low else ""
    settled = "" if math.isnan(row.seeds) else f" (more than {MOST_SEEDS} seeds)" if math.isinf(row.seeds) else f" ({row.seeds:.0f} seeds)"
    return [row.subject, effect, interval, str(row.n or ""), _number(row.freedom, ".3g"), _number(row.p, ".2g"), row.verdict + settled, row.note]


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
