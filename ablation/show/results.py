"""A plan and what its records say: the frame, its means and findings, and the table that people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ablation.command.planning import Plan
from ablation.judge.expected import with_expected
from ablation.judge.findings import judge, table
from ablation.judge.frame import frame, summary
from ablation.judge.questions import Scope, scopes
from ablation.judge.verdicts import Finding
from ablation.runs.arms import Planned, twins
from ablation.runs.measurements import measurements_of
from ablation.runs.records import Record, read_records
from ablation.show.drawing import Drawing
from ablation.show.forest import forest_rows


@dataclass(frozen=True)
class Results:
    """A plan and what its records say: records by run id, and what follows from them."""

    wanted: Plan
    done: Mapping[str, Record]

    @classmethod
    def of(cls, wanted: Plan) -> "Results":
        """A plan with the records that there are."""
        return cls(
            wanted, read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
        )

    @property
    def folder(self) -> Path:
        """Where figures and tables go."""
        return self.wanted.results / self.wanted.name

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each arm and seed."""
        return frame(
            self.wanted.planned,
            self.done,
            measurements_of(self.wanted.execution.runs, self.done.values()),
            self.wanted.confirm,
        )

    @cached_property
    def scopes(self) -> list[Scope]:
        """The parts that are judged each by itself, those with runs."""
        return [scope for scope in scopes(self.frame) if scope.has_runs]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row for each arm."""
        return summary(self.frame)

    @cached_property
    def findings(self) -> list[Finding]:
        """What the records say of the paper's claims; a search is no comparison of rules, so it has none."""
        return [] if self.wanted.search else with_expected(judge(self.frame), self.wanted.expected)

    @cached_property
    def judged(self) -> pd.DataFrame | None:
        """The table that the forest plot shows: all findings, None where none of them has an effect in
        points."""
        judged = table(self.findings)
        judged.attrs["note"] = note(self)
        return None if forest_rows(judged).empty else judged

    def shown(self, drawing: Drawing) -> pd.DataFrame | None:
        """The table that a figure shows, with the notes of its caption; None where the runs do not
        suffice."""
        rows = drawing.select(self.summary[self.summary["n"] > 0])
        shown = None if rows is None else drawing.tabulate(self.frame, rows)
        if shown is not None:
            shown.attrs["note"] = note(self)
        return shown

    @property
    def missing(self) -> list[str]:
        """Labels of the runs that have no record."""
        return list(
            dict.fromkeys(
                entry.label for entry in self.wanted.planned if entry.run.id not in self.done
            )
        )


def note(results: Results) -> list[str]:
    """For captions: data and training set of a plan, which of its networks are the same, and which of its
    runs are missing."""
    planned = results.wanted.planned
    first = planned[0].run
    epochs = sorted({entry.run.recipe.epochs for entry in planned})
    images = (
        f"{first.data.train_size:,} training images"
        if first.data.train_size
        else "all training images"
    )
    lines = [f"{first.data.name}, {images}, {', '.join(map(str, epochs))} epochs"]
    lines += _begun(planned)
    same = [f"same network: {' = '.join(labels)}" for labels in twins(planned)]
    lines += (
        same
        if len(same) <= 3
        else [f"{len(same)} networks are built by more than one arm (see the plan)"]
    )
    missing = results.missing
    return (
        [
            *lines,
            f"missing: {', '.join(missing[:5])}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}",
        ]
        if missing
        else lines
    )


def _begun(planned: Sequence[Planned]) -> list[str]:
    """Of networks that start from weights: which, and whether alike."""
    inits = [entry.run.init for entry in planned if entry.run.init]
    sources = list(dict.fromkeys(init.source for init in inits))
    alike = "" if all(init.whole for init in inits) else ", not alike"
    return [f"started from {', '.join(sources)}{alike}"] if sources else []
