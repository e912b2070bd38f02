"""What a study file says beforehand, of a control because its truth is known, or as a prediction, held
against what the judge then found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablation.judge.verdicts import TOLD, Finding

# By the sign that is expected of an effect.
SIGNS = {1: "more", 0: "none", -1: "less"}
FOUND, MISSED, WRONG, ALARM, QUIET = "found", "not told", "the other way", "told", "none told"


def with_expected(
    findings: Sequence[Finding], expectations: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """The findings, each with what the first expectation about it said and what came of that. Findings
    without a test have none."""
    return [replace(finding, expected=_came_of(finding, expectations)) for finding in findings]


def _came_of(finding: Finding, expectations: Sequence[Mapping[str, Any]]) -> str:
    about = (each for each in expectations if _is_about(each, finding))
    first = next(about, None)
    if first is None or not finding.tested:
        return ""
    sign = first["sign"]
    return f"{SIGNS[sign]}: {_outcome(finding, sign)}"


def _is_about(expectation: Mapping[str, Any], finding: Finding) -> bool:
    """All that it says beside the sign is a field of the findings that it means."""
    return all(
        getattr(finding, name) == value for name, value in expectation.items() if name != "sign"
    )


def _outcome(finding: Finding, sign: int) -> str:
    """What a verdict is, where the truth is a sign."""
    told = finding.verdict in TOLD
    if sign == 0:
        return ALARM if told else QUIET
    if not told:
        return MISSED
    return FOUND if finding.effect * sign > 0 else WRONG


def tally(findings: Sequence[Finding]) -> str:
    """How many of the effects that were expected were found, and how many were told where none was; "" where
    nothing was expected. What holds several comparisons together is not counted once more."""
    outcomes = [
        finding.expected.split(": ")[1]
        for finding in findings
        if finding.expected and not finding.members
    ]
    effects = [outcome for outcome in outcomes if outcome in (FOUND, MISSED, WRONG)]
    nothing = [outcome for outcome in outcomes if outcome in (ALARM, QUIET)]
    said = []
    if effects:
        other_way = effects.count(WRONG)
        said.append(
            f"of {len(effects)} effects expected beforehand {effects.count(FOUND)} found, "
            f"{other_way} told the other way"
        )
    if nothing:
        said.append(f"of {len(nothing)} where none was expected {nothing.count(ALARM)} told")
    return "; ".join(said)
