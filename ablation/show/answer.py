"""A study's answer to its own question, in one sentence from its findings."""

import math
from collections import Counter
from collections.abc import Sequence

from ablation.judge.verdicts import MEASURED, VERDICTS, Finding, between
from ablation.show.words import listed

FEW = 3  # findings that a sentence names one by one


def answer(findings: Sequence[Finding], claim: str = "") -> str:
    """What the findings on a claim come to; on the first claim that is asked where none is named; "" where
    nothing is.

    Named are what holds together at the two largest costs, or else the few comparisons there are, or else the
    last ones, which are at the largest cost; the verdicts on all others are counted.
    """
    asked = [finding for finding in findings if finding.verdict != MEASURED]
    wanted = claim or next((finding.claim for finding in asked), "")
    own = [finding for finding in asked if finding.claim == wanted]
    if not own:
        return ""
    named = _named(own)
    parts = [_told(finding) for finding in named]
    rest = Counter(finding.verdict for finding in own if finding not in named)
    counts = [f"{rest[verdict]} {verdict}" for verdict in VERDICTS if rest[verdict]]
    others = [f"of {rest.total()} further comparisons {', '.join(counts)}"] if counts else []
    return f"{'; '.join([*parts, *others])}."


def _named(own: Sequence[Finding]) -> list[Finding]:
    """The findings that a sentence spells out."""
    together = [finding for finding in own if finding.members]
    if together:
        return together[-2:]
    return list(own) if len(own) <= FEW else list(own[-2:])


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
