"""What the runs say about the paper's claims: all findings of a study."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace

import pandas as pd

from ablation.judge.across import (
    baselines,
    chance,
    costs,
    foretold,
    learning,
    marked,
    pixels,
    recipes,
    settings,
    sides,
)
from ablation.judge.claims import CLAIMS
from ablation.judge.questions import scopes
from ablation.judge.verdicts import MARGIN, Finding, answer, asked_at, between


def judge(frame: pd.DataFrame, margin: float = MARGIN) -> list[Finding]:
    """All findings of a frame (ablation.judge.frame), in the order of the claims; margin in points. [] for a
    frame without accuracies.

    Seeds that are to confirm are judged by themselves.
    """
    confirming = frame["confirms"] if "confirms" in frame else pd.Series(False, frame.index)
    found = _all_of(frame[~confirming], margin)
    if not confirming.any():
        return found
    fresh = {asked_at(finding): finding for finding in _all_of(frame[confirming], margin)}
    return [
        replace(finding, confirmed=_confirmed(fresh.get(asked_at(finding))))
        if finding.n
        else finding
        for finding in found
    ]


def _confirmed(finding: Finding | None) -> str:
    """What fresh seeds say of the same."""
    if finding is None or math.isnan(finding.effect):
        return "no run yet"
    known = between(finding.low, finding.high)
    interval = f" ({known})" if known else ""
    seeds = f", n = {finding.n}" if finding.n else ""
    return f"{finding.verdict}: {finding.effect:+.2f}{interval}{seeds}"


def _all_of(frame: pd.DataFrame, margin: float) -> list[Finding]:
    parts = [scope for scope in scopes(frame) if scope.has_runs]
    longer = learning(parts, margin)
    parts = marked(parts, longer)
    found: list[Finding] = []
    for claim in CLAIMS:
        for scope in parts:
            found += answer(claim, scope, margin)
    across = [*baselines(parts, found, margin), *pixels(parts, margin), *recipes(parts, margin)]
    across += [*sides(parts, margin), *foretold(parts, margin)]
    others = [*costs(parts), *settings(parts, found, margin), *chance(parts, margin)]
    return [*found, *across, *others, *longer.values()]


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per finding, its fields as columns."""
    columns = [field.name for field in fields(Finding)]
    rows = [asdict(finding) for finding in findings]
    return pd.DataFrame(rows, columns=columns)
