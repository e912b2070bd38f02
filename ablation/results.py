"""A plan and what its records say: the frame, its means and findings, and the table that people read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ablation import paper
from ablation.figures import Drawing, forest_rows, is_search
from ablation.findings import Finding, judge, table
from ablation.frame import frame, summary
from ablation.measurements import measurements_of
from ablation.planning import Plan
from ablation.records import Record, read_records
from ablation.study import twins


@dataclass(frozen=True)
class Results:
    """A plan and what its records say: records by run id, and what follows from them."""

    wanted: Plan
    done: Mapping[str, Record]

    @classmethod
    def of(cls, wanted: Plan) -> "Results":
        """A plan with the records that there are."""
        return cls(wanted, read_records(wanted.execution.runs, (entry.run for entry in wanted.planned)))

    @property
    def folder(self) -> Path:
        """Where figures and tables go."""
        return self.wanted.results / self.wanted.name

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each arm and seed."""
        return frame(self.wanted.planned, self.done, measurements_of(self.wanted.execution.runs, self.done.values()))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row for each arm."""
        return summary(self.frame)

    @cached_property
    def findings(self) -> list[Finding]:
        """What the records say of the paper's claims; a search is no comparison of rules, so it has none."""
        return [] if is_search(self.summary) else judge(self.frame)

    @cached_property
    def judged(self) -> pd.DataFrame | None:
        """The table that the forest plot shows: all findings, None where none of them has an effect in points."""
        judged = table(self.findings)
        judged.attrs["note"] = note(self)
        return None if forest_rows(judged).empty else judged

    def shown(self, drawing: Drawing) -> pd.DataFrame | None:
        """The table that a figure shows, with the notes of its caption; None where the runs do not suffice."""
        rows = drawing.select(self.summary[self.summary["n"] > 0])
        shown = None if rows is None else drawing.tabulate(self.frame, rows)
        if shown is not None:
            shown.attrs["note"] = note(self)
        return shown

    @property
    def missing(self) -> list[str]:
        """Labels of the runs that have no record."""
        return list(dict.fromkeys(entry.label for entry in self.wanted.planned if entry.run.id not in self.done))


def note(results: Results) -> list[str]:
    """For captions: data and training set of a plan, which of its networks are the same, and which of its runs are missing."""
    planned = results.wanted.planned
    first, epochs = planned[0].run, sorted({entry.run.recipe.epochs for entry in planned})
    images = f"{first.data.train_size:,} training images" if first.data.train_size else "all training images"
    lines = [f"{first.data.name}, {images}, {', '.join(map(str, epochs))} epochs"]
    same = [f"same network: {' = '.join(labels)}" for labels in twins(planned)]
    lines += same if len(same) <= 3 else [f"{len(same)} networks are built by more than one arm (see the plan)"]
    missing = results.missing
    return [*lines, f"missing: {', '.join(missing[:5])}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"] if missing else lines


def results_rows(results: Results) -> list[dict[str, object]]:
    """Means over seeds with 95 % intervals, one row per arm, as people read them."""
    differing = [name for name in ("baseline", "setting") if results.summary[name].nunique() > 1]
    printed = printed_rows(results.wanted.name)
    rows = []
    for row in results.summary.to_dict("records"):
        known = row["n"] > 0
        flags = ", ".join(f"{row[name]} {name}" for name in ("diverged", "missing") if row[name])
        values = {name: row[name] for name in differing} | {
            "rule": row["rule"],
            "phi": "" if pd.isna(row["phi"]) else f"{row['phi']:.3g}",
            "cost": row["cost"],
            "d": f"{row['depth']:.2f}",
            "w": f"{row['width']:.2f}",
            "r": f"{row['resolution']:.2f}",
            "px": row["pixels"],
            "MMACs": f"{row['macs'] / 1e6:,.2f}",
            "off budget": "" if pd.isna(row["budget_error"]) else f"{row['budget_error']:+.1%}",
            f"{row['split']} accuracy": f"{row['mean']:.1%}" if known else "-",
            "95 % interval": ""
            if not known
            else ("one seed" if row["n"] == 1 else "no spread")
            if pd.isna(row["low"])
            else f"{row['low']:.1%} to {row['high']:.1%}",
            "n": f"{row['n']} ({flags})" if flags else row["n"],
        }
        if printed:
            paper = printed.get((row["baseline"], "baseline" if row["label"] == "baseline" else row["rule"]))
            values |= {"paper GFLOPs": paper.gflops if paper else "", "paper top-1": paper.top1 if paper else ""}
        rows.append(values)
    return rows


def printed_rows(study: str) -> Mapping[tuple[str, str], paper.Row]:
    """The paper's own rows of its Table 3 or 7 by (baseline, rule), for our small variants of its networks, too; of other studies none."""
    if study == "table7":
        return {(baseline, rule): row for rule, row in paper.TABLE_7.items() for baseline in ("b0", "mini")}
    small = {"mobilenet-v1": "mini-mobilenet-v1", "mobilenet-v2": "mini-mobilenet-v2", "resnet-50": "mini-resnet"}
    ours = {(small[name], rule): row for (name, rule), row in paper.TABLE_3.items()}
    return paper.TABLE_3 | ours if study == "table3" else {}


def results_table(results: Results, style: str = "simple") -> str:
    """The rows of `results_rows` as text."""
    return tabulate(results_rows(results), headers="keys", tablefmt=style, disable_numparse=True)
