"""A plan and what its records say: the frame, its means and findings, and the table that people read."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.command.planning import Plan
from ablation.judge.expected import with_expected
from ablation.judge.findings import judge, table
from ablation.judge.frame import frame, summary
from ablation.judge.questions import Scope, scopes
from ablation.judge.verdicts import Finding
from ablation.runs.arms import Planned, grows, twins
from ablation.runs.config import Data
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
    lines += ["dropout grows with FLOPs"] if grows(planned) else []
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


# ---------------------------------------------------------------- what it takes to repeat them


def facts(results: Results) -> dict[str, dict[str, str]]:
    """What the runs had in common, and the values where they differed: recipe, data, seeds, machine,
    versions."""
    runs = [entry.run for entry in results.wanted.planned]
    records = list(results.done.values())
    digest = several(record.data_digest for record in records)
    return {
        "Recipe": fields_of(run.recipe for run in runs),
        "Data": fields_of(run.data for run in runs) | {"digest": digest},
        "Seeds": {"seeds": several(run.seed for run in runs)},
        "Machine": _machine(records),
        "Versions": _versions(records),
    }


def _machine(records: Sequence[Record]) -> dict[str, str]:
    """Where and when the runs were trained."""
    finished = sorted(record.finished for record in records)
    hours = sum(record.total_seconds for record in records) / 3600
    return {
        "device": several(record.device for record in records),
        "threads": several(record.threads for record in records),
        "time of all runs": f"{hours:.2f} hours",
        "first finished": finished[0],
        "last finished": finished[-1],
    }


def _versions(records: Sequence[Record]) -> dict[str, str]:
    """Versions of what a result depends on, and the commits."""
    names = dict.fromkeys(itertools.chain.from_iterable(record.versions for record in records))
    found = {}
    for name in names:
        found[name] = several(record.versions.get(name) for record in records)
    return found | {"commit": several(record.commit or "unknown" for record in records)}


def fields_of(values: Iterable[Any]) -> dict[str, str]:
    """The fields of some dataclasses of one kind: each value, or all of them where they differ; None is left
    out."""
    rows = [dataclasses.asdict(value) for value in values]
    found = {}
    for name in rows[0]:
        if text := several(row[name] for row in rows):
            found[name] = text
    return found


def several(values: Iterable[Any]) -> str:
    """Distinct values in the order in which they come."""
    words = (
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in values
        if value is not None
    )
    return ", ".join(dict.fromkeys(words))


def needed(results: Results) -> list[str]:
    """What whoever repeats it has to have: the code's commit, the images and how they are known to be the
    same."""
    runs = [entry.run for entry in results.wanted.planned]
    commits = several(record.commit or "unknown" for record in results.done.values())
    changed = "; + says that files had been changed since" if "+" in commits else ""
    digest = several(record.data_digest or "unknown" for record in results.done.values())
    lines = [
        f"Code: commit {commits}{changed}.",
        f"Images: digest {digest}; other images give another one, and a record says its own.",
    ]
    sets = {run.data.name: run.data for run in runs}
    return [*lines, *map(_whence, sets.values())]


def _whence(data: Data) -> str:
    """How one comes by the same images."""
    if data.path:
        files = f", whose digest of names and sizes is {data.files}" if data.files else ""
        return (
            f"data.path={data.path} stands for the folder with the images of {data.name}{files}: it is"
            " where they lay on the machine that trained; write where yours lie."
        )
    if data.embedded:
        return f"{data.name} is made by the project while it runs: there is nothing to download."
    return f"{data.name} is downloaded from the Hugging Face hub under this name."


def commands(results: Results) -> list[str]:
    """What reproduces a page in a checkout, line by line."""
    wanted = results.wanted
    commits = {record.commit for record in results.done.values()}
    lines = []
    if len(commits) == 1 and (commit := commits.pop()) and not commit.endswith("+"):
        lines.append(f"git checkout {commit}")
    lines.append("make install")
    for words in wanted.after:
        lines += [f"python -m ablation.{door} {words}" for door in ("run", "report")]
    return [*lines, wanted.through("run"), wanted.through("report")]
