"""A study's answer to its own question, in one sentence from its findings; and what to do where they tell
nothing."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from ablation.command.overrides import key_of
from ablation.judge.power import MOST_SEEDS
from ablation.judge.verdicts import (
    CONTRADICTED,
    EQUIVALENT,
    INCONCLUSIVE,
    MARGIN,
    MEASURED,
    NO_VERDICT,
    NOT_THE_RULE,
    SUPPORTED,
    TOLD,
    VERDICTS,
    Finding,
    between,
)
from ablation.runs.checks import counted
from ablation.show.results import Results
from ablation.show.words import listed

FEW = 3  # findings that a sentence names one by one
ENOUGH = 3  # seeds with which a difference has an interval that is of use
# What is compared, with which other, and at how many times the baseline's cost.
PAIR = re.compile(r"(?P<one>.+?) against (?P<other>.+?)(?: at (?P<times>[\d.]+)x)?")
ALONE = re.compile(r"(?P<one>.+?)(?: at (?P<times>[\d.]+)x)?")
# Findings on one thing each, by their claim: what a positive effect of it is called, and a negative one.
GAINS = {
    "improves": ("{name} gains {amount}", "{name} loses {amount}"),
    "diminishing": ("the gain of {name} falls by {amount}", "the gain of {name} rises by {amount}"),
    "lead": ("{name} is larger by {amount}", "{name} is smaller by {amount}"),
    "pixels": ("{amount} are gained {name}", "{amount} are lost {name}"),
}
# What verdicts that say nothing of an effect come to.
UNTOLD = {
    INCONCLUSIVE: "nothing can be told",
    NO_VERDICT: "there is no verdict",
    NOT_THE_RULE: "a network is too far from its rule",
}


def answer(findings: Sequence[Finding], claim: str = "") -> str:
    """What the findings on a claim come to; on the first claim that is asked where none is named; "" where
    nothing is.

    Comparisons of one with others are told at the largest cost, by their verdicts: how far it is ahead or
    behind, or that nothing can be told; so are effects of one thing each. Of all other findings named are
    those that hold several together, the last two, or else the few there are, or else the last ones. What is
    not named is counted.
    """
    own = _on(findings, claim)
    if not own:
        return ""
    named, said = (
        _foretold(own) or _compared(own) or _gains(own) or _leads(own, findings) or _listed(own)
    )
    rest = Counter(
        finding.verdict for finding in own if finding not in named and not finding.members
    )
    counts = [f"{rest[verdict]} {verdict}" for verdict in VERDICTS if rest[verdict]]
    further = f"of {counted(rest.total(), 'further comparison')}"
    others = [f"{further} {', '.join(counts)}"] if counts else []
    return f"{'; '.join([said, *others])}."


def _on(findings: Sequence[Finding], claim: str) -> list[Finding]:
    """The findings on a claim, or on the first that is asked."""
    asked = [finding for finding in findings if finding.verdict != MEASURED]
    wanted = claim or next((finding.claim for finding in asked), "")
    return [finding for finding in asked if finding.claim == wanted]


# ---------------------------------------------------------------- one against others

At = tuple[Finding, str, str]  # a finding, what it is of, and with what that is compared


def _at_largest(own: Sequence[Finding], pattern: re.Pattern[str]) -> tuple[str, list[At]]:
    """The findings of one part of a study at the largest cost, and that cost in words; none where one of
    them is called otherwise."""
    single = [finding for finding in own if not finding.members]
    found = [(finding, pattern.fullmatch(finding.subject)) for finding in single]
    places = {(finding.baseline, finding.setting, finding.cost) for finding in own}
    times = [float(match["times"] or 0) for _, match in found if match]
    if len(places) > 1 or len(times) < len(found) or not times:
        return "", []
    largest = max(times)
    chosen = [each for each, cost in zip(found, times, strict=True) if cost == largest]
    at = f"at {largest:g} times the FLOPs " if largest else ""
    return at, [(finding, *_parts(match)) for finding, match in chosen if match]


def _parts(match: re.Match[str]) -> tuple[str, str]:
    return match["one"], match.groupdict().get("other", "")


def _compared(own: Sequence[Finding]) -> tuple[list[Finding], str] | None:
    """The comparisons of one with others at the largest cost, and what they come to; None where there are
    none."""
    at, chosen = _at_largest(own, PAIR)
    ones = list(dict.fromkeys(one for _, one, _ in chosen))
    if not 0 < len(ones) <= FEW:
        return None
    told = []
    for one in ones:
        others = {other: finding for finding, name, other in chosen if name == one}
        told.append(_standing(one, others))
    return [finding for finding, _, _ in chosen], at + "; ".join(told)


def _standing(one: str, others: Mapping[str, Finding]) -> str:
    """How one stands to the others: ahead of some, behind some, as good as some; of some nothing is told."""
    told = {name: finding for name, finding in others.items() if finding.verdict in TOLD}
    ahead = [name for name, finding in told.items() if finding.effect > 0]
    behind = [name for name, finding in told.items() if finding.effect < 0]
    same = [name for name, finding in others.items() if finding.verdict == EQUIVALENT]
    parts = [
        *([f"ahead of {_each(ahead, others)}"] if ahead else []),
        *([f"behind {_each(behind, others)}"] if behind else []),
        *([f"within {MARGIN:g} points of {_names(same)}"] if same else []),
    ]
    said = [f"{_quoted(one)} is {', '.join(parts)}"] if parts else []
    untold = _untold(others, "" if parts else ":")
    of_one = "" if parts else f"{_quoted(one)} "
    return "; ".join([*said, *(f"{of_one}against {each}" for each in untold)])


def _each(names: Sequence[str], findings: Mapping[str, Finding]) -> str:
    """`a by 2.0 points (1.0 to 3.0) and b by 3.0 (2.0 to 4.0)`, the nearest first; of many the nearest and
    the farthest."""
    order = sorted(names, key=lambda name: abs(findings[name].effect))
    if len(order) > FEW:
        ends = [abs(findings[name].effect) for name in (order[0], order[-1])]
        return f"{len(order)} others by {ends[0]:.1f} to {ends[1]:.1f} {findings[order[0]].unit}"
    first = order[0]
    parts = [f"{_quoted(name)} by {_amount(findings[name], unit=name == first)}" for name in order]
    return listed(parts)


def _untold(findings: Mapping[str, Finding], colon: str) -> list[str]:
    """Of which of them nothing is told, and why, in words."""
    said = []
    for verdict, why in UNTOLD.items():
        names = [name for name, finding in findings.items() if finding.verdict == verdict]
        said += [f"{_names(names)}{colon} {why}"] if names else []
    return said


def _names(names: Sequence[str]) -> str:
    """All of a few, the number of many."""
    return f"{len(names)} others" if len(names) > FEW else listed([*map(_quoted, names)])


def _quoted(name: str) -> str:
    """A name of several words as one, unless it is of coefficients."""
    return f"\u201c{name}\u201d" if " " in name and "=" not in name else name


def _amount(finding: Finding, unit: bool = True) -> str:
    """`6.5 points (5.4 to 7.9)`, without a sign, which the words around it say."""
    sign = math.copysign(1, finding.effect)
    low, high = sorted((sign * finding.low, sign * finding.high))
    known = "" if math.isnan(finding.low) else f" ({low:.1f} to {high:.1f})"
    return f"{abs(finding.effect):.1f}{f' {finding.unit}' if unit else ''}{known}"


# ---------------------------------------------------------------- effects of one thing each


def _gains(own: Sequence[Finding]) -> tuple[list[Finding], str] | None:
    """What one thing each gains at the largest cost, by their verdicts; None for other claims."""
    at, chosen = _at_largest(own, ALONE)
    if own[0].claim not in GAINS or not 0 < len(chosen) <= FEW:
        return None
    findings = {one: finding for finding, one, _ in chosen}
    told = {name: finding for name, finding in findings.items() if finding.verdict in TOLD}
    up, down = GAINS[own[0].claim]
    parts = [
        (up if finding.effect > 0 else down).format(name=name, amount=_amount(finding))
        for name, finding in told.items()
    ]
    same = [name for name, finding in findings.items() if finding.verdict == EQUIVALENT]
    if same:
        parts.append(f"{_names(same)}: within {MARGIN:g} of none")
    return [*findings.values()], at + "; ".join([*parts, *_untold(findings, ":")])


# ---------------------------------------------------------------- the same in several settings


def _leads(own: Sequence[Finding], findings: Sequence[Finding]) -> tuple[list[Finding], str] | None:
    """In how many settings compound is ahead of all others, and whether its leads are told to differ between
    them; None for other claims and where it is not compared."""
    together = [finding for finding in findings if finding.claim == "compound" and finding.members]
    changes = [finding for finding in own if finding.subject.startswith("compound against")]
    if own[0].claim != "settings" or not together or not changes:
        return None
    ahead = [finding for finding in together if finding.verdict == SUPPORTED]
    said = f"in {len(ahead)} of {len(together)} settings compound is ahead of all others"
    if ahead:
        least = min(ahead, key=lambda finding: finding.effect)
        said += f", by at least {_amount(least)}"
    others = [finding for finding in own if finding.subject.startswith("improves: ")]
    said += f"; between settings {_differing(changes)} of its leads"
    if others:
        said += f" and {_differing(others)} of what single dimensions gain"
    return [*changes, *others], f"{said} are told to differ"


def _differing(findings: Sequence[Finding]) -> str:
    """How many of some differences are told: `none of 9`."""
    told = sum(finding.verdict in TOLD for finding in findings)
    return f"{told or 'none'} of {counted(len(findings), 'comparison')}"


# ---------------------------------------------------------------- what gains at baselines foretell


def _foretold(own: Sequence[Finding]) -> tuple[list[Finding], str] | None:
    """Of how many baselines the rule that wins is the one foretold, and how leads go with those foretold;
    None for other claims."""
    at, chosen = _at_largest_of_each(own)
    if own[0].claim != "foretold" or not chosen:
        return None
    verdicts = Counter(finding.verdict for finding in chosen)
    wins, fails = verdicts[SUPPORTED], verdicts[CONTRADICTED]
    untold = len(chosen) - wins - fails
    parts = [f"wins in {wins or 'none'}", *([f"does not in {fails}"] if fails else [])]
    parts += [f"is not told in {untold}"] if untold else []
    said = f"of {counted(len(chosen), 'baseline')} the rule that gains foretell {listed(parts)}{at}"
    slopes = [finding for finding in own if "points per point" in finding.unit]
    told = [
        f"a point of lead foretold is {finding.effect:.2f} ({finding.low:.2f} to {finding.high:.2f}) found"
        for finding in slopes[-1:]
    ]
    return [*chosen, *slopes[-1:]], "; ".join([said, *told])


def _at_largest_of_each(own: Sequence[Finding]) -> tuple[str, list[Finding]]:
    """Of each baseline the comparison with all others at its largest cost; and that cost, where it is one."""
    largest = {finding.baseline: finding for finding in own if finding.members}
    costs = {finding.subject.rpartition(" at ")[2] for finding in largest.values()}
    at = f" at {costs.pop().removesuffix('x')} times the FLOPs" if len(costs) == 1 else ""
    return at, [*largest.values()]


# ---------------------------------------------------------------- other findings


def _listed(own: Sequence[Finding]) -> tuple[list[Finding], str]:
    """The findings that a sentence spells out, one after the other."""
    together = [finding for finding in own if finding.members]
    named = together[-2:] or (list(own) if len(own) <= FEW else list(own[-2:]))
    return named, "; ".join(_told(finding) for finding in named)


def _told(finding: Finding) -> str:
    """One finding: verdict, effect, interval."""
    places = (finding.baseline, finding.setting)
    where = listed([place for place in places if place == "all" or "against" in place])
    subject = f"{finding.subject} ({where})" if where else finding.subject
    if math.isnan(finding.effect):
        return f"{subject}: {finding.verdict}"
    least = "at least " if finding.members and finding.effect > 0 else ""
    known = between(finding.low, finding.high)
    interval = f" ({known})" if known else ""
    return f"{subject}: {finding.verdict}, {least}{finding.effect:+.2f} {finding.unit}{interval}"


# ---------------------------------------------------------------- nothing told


def too_small(results: Results) -> tuple[str, str]:
    """Why no verdict of a study says anything, and the command that trains the seeds that would; two empty
    words where one does, or where it is not for want of seeds."""
    tested = [
        finding for finding in results.findings if finding.verdict not in (MEASURED, NOT_THE_RULE)
    ]
    if not tested or any(finding.verdict in (*TOLD, EQUIVALENT) for finding in tested):
        return "", ""
    seeds = sorted({entry.run.seed for entry in results.wanted.planned})
    needed = _seeds(_on(tested, results.wanted.claim) or tested, len(seeds))
    has = counted(len(seeds), "seed")
    if math.isinf(needed):
        return (
            f"{has} tell nothing apart here, and {MOST_SEEDS} would not either: effects are too small",
            "",
        )
    if needed <= len(seeds):
        return "", ""
    command = _with_seeds(results, seeds, int(needed))
    return f"too small to tell anything: {has}; {needed:.0f} may tell", command


def _seeds(findings: Sequence[Finding], have: int) -> float:
    """The fewest seeds that would settle one of some findings; ENOUGH where there is no interval to say."""
    known = [finding.seeds for finding in findings if not math.isnan(finding.seeds)]
    if known:
        return min(known)
    return ENOUGH if have < ENOUGH else have


def _with_seeds(results: Results, seeds: Sequence[int], count: int) -> str:
    """The command of a plan with more seeds, which leaves out what is trained already."""
    wanted = results.wanted
    more = [*seeds, *range(seeds[-1] + 1, seeds[-1] + 1 + count - len(seeds))]
    numbers = ",".join(map(str, more))
    sweep = wanted.name == "sweep"
    said = f"seed={numbers}" if sweep else f"study.seeds=[{numbers}]"
    kept = [word for word in shlex.split(wanted.command) if key_of(word) != key_of(said)]
    return f"python -m ablation.run {'-m ' if sweep else ''}{shlex.join([*kept, said])}"
