"""The paper's own points, put to the judge: what its figures and tables say of its claims if each point were
a mean over five seeds.

The paper has one run of each network and no deviation. The one assumed here is stated beside every verdict.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.judge.claims import (
    BALANCE,
    COMPOUND,
    DIMINISHING,
    IMPROVES,
    Claim,
    against_all,
    interpolated,
)
from ablation.judge.contrasts import Floats, Sample
from ablation.judge.paper import FIGURE_3, FIGURE_4, FIGURE_8, TABLE_3, TABLE_7, Row
from ablation.judge.questions import (
    Asked,
    Quantity,
    Scope,
    in_log_errors,
    in_points,
    scopes,
)
from ablation.judge.verdicts import Finding, answer
from ablation.theory.scaling import SINGLE

DEVIATION = 0.2  # points, of a run
SEEDS = 5


@dataclass(frozen=True)
class Assumed(Sample):
    """Means without any spread, judged as if every run had one stated deviation."""

    stated: float = DEVIATION

    @cached_property
    def unequal(self) -> NDArray[np.bool_]:
        """No variance was seen."""
        return np.asarray(False)

    @cached_property
    def _residual(self) -> tuple[Floats, float]:
        networks = int((self.runs > 0).sum())
        return np.asarray(self.stated**2), float((networks - 1) * (SEEDS - 1))

    @cached_property
    def _within(self) -> tuple[Floats, Floats]:
        networks = int((self.runs > 0).sum())
        return np.asarray(self.stated**2), np.asarray(float(networks * (SEEDS - 1)))


def judged() -> pd.DataFrame:
    """One row for each finding.

    claim, subject: what is asked, of which figure or table; effect, low, high: points, or points per
    doubling; verdict: the judge's; paper: the paper's own; assumed: what the intervals rest on.
    """
    found = [
        *_asked("Figure 3", _figure_3(), (IMPROVES, DIMINISHING)),
        *_asked("Figure 4", _figure_4(), (BALANCE,)),
        *_asked("Figure 8", _figure_8(), (replace(COMPOUND, ask=ahead_between),)),
        *_asked("Table 7", _rows("b0", TABLE_7), (COMPOUND,)),
    ]
    for name in dict.fromkeys(name for name, _ in TABLE_3):
        own = {rule: row for (baseline, rule), row in TABLE_3.items() if baseline == name}
        found += _asked(f"Table 3, {name}", _rows(name, own), (IMPROVES, COMPOUND))
    return pd.DataFrame([_told(place, finding) for place, finding in found])


def _told(place: str, finding: Finding) -> dict[str, Any]:
    return {
        "claim": finding.claim,
        "subject": f"{place}: {finding.subject}",
        "effect": finding.effect,
        "low": finding.low,
        "high": finding.high,
        "unit": finding.unit,
        "verdict": finding.verdict,
        "paper": "supported",
        "assumed": f"deviation {DEVIATION:g} points, {SEEDS} seeds",
        "note": finding.note,
    }


def _asked(
    place: str, rows: Sequence[Mapping[str, Any]], claims: Iterable[Claim]
) -> Iterator[tuple[str, Finding]]:
    """What points say of some claims."""
    [scope] = [_assumed(scope) for scope in scopes(_frame(rows))]
    for claim in claims:
        for finding in answer(claim, scope):
            yield place, finding


def _assumed(scope: Scope) -> Scope:
    """The scope with the stated deviation; in log errors, that of the mean error."""
    sample = scope.sample
    runs = sample.values / 100, sample.networks, sample.seeds, sample.count
    fractions = Assumed(*runs)
    error = 100 - float(sample.values.mean())
    log_errors = replace(in_log_errors(fractions), stated=DEVIATION / error)
    return replace(scope, sample=in_points(fractions), log_errors=log_errors)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame (ablation.judge.frame) in which every seed of a network has the printed accuracy."""
    always = {
        "setting": "",
        "cost": "nominal",
        "status": "done",
        "angle": math.nan,
        "budget": math.nan,
    }
    return pd.DataFrame(
        [
            always
            | {"depths": row["label"], "widths": "", "pixels": 0, "activations": 0}
            | row
            | {"seed": seed, "run_id": f"{row['label']} seed={seed}"}
            for row in rows
            for seed in range(SEEDS)
        ]
    )


def _row(
    baseline: str, rule: str, label: str, gflops: float, top1: float, **more: float
) -> dict[str, Any]:
    ones = dict.fromkeys(SINGLE, 1.0) | {"phi": math.nan}
    costs = {"macs": round(1e9 * gflops), "accuracy": top1 / 100}
    return {"baseline": baseline, "rule": rule, "label": label} | ones | costs | more


def _figure_3() -> list[dict[str, Any]]:
    """Each dimension from the baseline on, which all of them share."""
    (_, gflops, top1), *_ = FIGURE_3["width"]
    rows = [_row("b0", "coefficients", "baseline", gflops, top1)]
    for dimension, line in FIGURE_3.items():
        for value, gflops, top1 in line[1:]:
            label = f"{dimension} {value:g}"
            rows.append(_row("b0", dimension, label, gflops, top1, **{dimension: value}))
    return rows


def _figure_4() -> list[dict[str, Any]]:
    """Widths that are not printed stand in order of cost."""
    rows = []
    for (depth, resolution), line in FIGURE_4.items():
        for number, (_, gflops, top1) in enumerate(line, 1):
            place = {"depth": depth, "width": number, "resolution": resolution}
            label = f"d={depth:g} r={resolution:g}, point {number}"
            rows.append(_row("b0", "coefficients", label, gflops, top1, **place))
    return rows


def _figure_8() -> list[dict[str, Any]]:
    """Points of a line in order of cost; phi is that order."""
    return [
        _row("b0", rule, f"{rule}, point {number}", gflops, top1, phi=number)
        for rule, line in FIGURE_8.items()
        for number, (_, gflops, top1) in enumerate(line)
    ]


def _rows(baseline: str, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """A table's baseline and the networks scaled from it, all called phi = 2."""
    return [
        _row(
            baseline,
            "coefficients" if rule == "baseline" else rule,
            rule,
            row.gflops,
            row.top1,
            phi=math.nan if rule == "baseline" else 2.0,
            **{name: getattr(row, name) or math.nan for name in SINGLE},
        )
        for rule, row in rows.items()
    ]


def ahead_between(scope: Scope) -> Asked:
    """Compound's points against the lines of single dimensions at the same cost, between whose points lines
    are straight in log2 of FLOPs."""
    lines = {rule: scope.points(rule, beyond=-1) for rule in SINGLE}
    met = {
        arm: {
            rule: Quantity(f"{rule} there", interpolated(scope, line, arm.macs))
            for rule, line in lines.items()
            if line[0].macs <= arm.macs <= line[-1].macs
        }
        for arm in scope.points("compound")
    }
    return against_all(scope, met, len(SINGLE))
