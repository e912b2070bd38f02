"""Draw every figure that has records, and print and write the tables. Trains nothing.

python -m ablation.report                    every study that ships
python -m ablation.report study=quick        one study
python -m ablation.report -m cost=matched scaling=depth,width phi=0,1   what such a run trained
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ablation import paper
from ablation.compose import door, studies
from ablation.drawing import style
from ablation.figures import DRAWINGS, FOREST, Drawing, forest_rows, is_search
from ablation.findings import Finding, judge, table, tables
from ablation.frame import frame, summary
from ablation.measurements import measurements_of
from ablation.planning import Plan, plan
from ablation.records import Record, read_records
from ablation.search_figures import SEARCH_DRAWINGS, grid_table
from ablation.study import NotYet, twins


@dataclass(frozen=True)
class Results:
    """A plan and what its records say: records by run id, and what follows from them."""

    wanted: Plan
    done: Mapping[str, Record]

    @classmethod
    def of(cls, wanted: Plan) -> "Results":
        return cls(wanted, read_records(wanted.execution.runs, (entry.run for entry in wanted.planned)))

    @property
    def folder(self) -> Path:
        """Where figures and tables go."""
        return self.wanted.results / self.wanted.name

    @cached_property
    def frame(self) -> pd.DataFrame:
        return frame(self.wanted.planned, self.done, measurements_of(self.wanted.execution.runs, self.done.values()))

    @cached_property
    def summary(self) -> pd.DataFrame:
        return summary(self.frame)

    @cached_property
    def findings(self) -> list[Finding]:
        """What the records say of the paper's claims; a search is no comparison of rules, so it has none."""
        return [] if is_search(self.summary) else judge(self.frame)

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


def write(figure_table: pd.DataFrame, drawing: Drawing, folder: Path) -> Path:
    """One figure as PNG and SVG beside the CSV that it shows; returns the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    figure_table.to_csv(folder / f"{drawing.name}.csv", index=False, float_format="%.6g")
    with style():
        figure = drawing.draw(figure_table)
        figure.savefig(folder / f"{drawing.name}.png", dpi=144, metadata={"Software": None})
        figure.savefig(folder / f"{drawing.name}.svg", metadata={"Date": None})
    return folder / f"{drawing.name}.png"


def report(results: Results) -> list[tuple[str, str]]:
    """Write figures, tables and findings of one plan; returns (title, where it lies or the command that trains it) of each that it plans."""
    lines = [line for drawing in (*DRAWINGS, *SEARCH_DRAWINGS) for line in draw(results, drawing)]
    if results.done:
        results.folder.mkdir(parents=True, exist_ok=True)
        results.frame.to_csv(results.folder / "runs.csv", index=False)
        lines += [
            *write_findings(results),
            *write_fitted(results),
            *write_activation_maps(results),
            ("Table", str(write_table(results_rows(results), results.folder))),
        ]
    return lines


def draw(results: Results, drawing: Drawing) -> list[tuple[str, str]]:
    """One figure, if the study has such a one: its title and where it lies, or what is missing to draw it."""
    if drawing.select(results.summary) is None:
        return []
    rows = drawing.select(results.summary[results.summary["n"] > 0])
    shown = None if rows is None else drawing.tabulate(results.frame, rows)
    if shown is None:
        return [(drawing.title, f"{'too few' if results.done else 'no'} records yet: {results.wanted.through('run')}")]
    shown.attrs["note"] = note(results)
    return [(drawing.title, str(write(shown, drawing, results.folder)))]


def write_findings(results: Results) -> list[tuple[str, str]]:
    """Findings as Markdown and CSV, and their forest plot where one of them has an effect in points."""
    if not results.findings:
        return []
    (results.folder / "findings.md").write_text(tables(results.findings) + "\n")
    judged = table(results.findings)
    if forest_rows(judged).empty:
        judged.to_csv(results.folder / "findings.csv", index=False, float_format="%.6g")
        return [("Findings", str(results.folder / "findings.md"))]
    judged.attrs["note"] = note(results)
    return [("Findings", str(results.folder / "findings.md")), ("Findings, forest plot", str(write(judged, FOREST, results.folder)))]


def write_fitted(results: Results) -> list[tuple[str, str]]:
    """The best triple of a finished grid search as the file that scaling=fitted reads, and where it lies; of anything else nothing."""
    if not is_search(results.summary) or results.missing or results.wanted.follows:
        return []
    found = grid_table(results.frame, results.summary)
    best, region = found[found["best"]].iloc[0], found[found["region"]]
    path = results.folder / "fitted.yaml"
    words = [f"# Best of {len(found)} candidates after {best['epochs']}, {best['n']} seeds: {best['mean']:.1%} on validation images."]
    words += [f"# Not distinguishable from it: {', '.join(name for name in region['rule'] if name != best['rule']) or 'none'}."]
    words += [f"{name}: {float(best[name])!r}" for name in ("alpha", "beta", "gamma")]
    path.write_text("\n".join(words) + "\n")
    return [(f"Best triple {best['rule']}", str(path))]


def write_activation_maps(results: Results) -> list[tuple[str, str]]:
    """Class activation maps of a study that keeps its weights; of any other nothing."""
    if not results.wanted.execution.keep_weights:
        return []
    from ablation.activation import activation_figure, examples, maps_of  # torch, only where there are weights

    first = {entry.arm: entry for entry in reversed(results.wanted.planned) if entry.run.id in results.done}
    found = [maps for entry in reversed(first.values()) if (maps := maps_of(entry, results.wanted.execution))]
    if not found:
        return []
    data = results.wanted.planned[0].run.data
    path = results.folder / "activation.png"
    with style():
        figure = activation_figure(examples(data, results.wanted.execution.cache, data.native), found, note(results))
        figure.savefig(path, dpi=96, metadata={"Software": None})
    return [("Class activation maps (Fig. 7)", str(path))]


def write_table(rows: Sequence[Mapping[str, object]], folder: Path) -> Path:
    """The table of results as Markdown, CSV and LaTeX; returns the Markdown's path."""
    (folder / "table.md").write_text(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True) + "\n")
    (folder / "table.tex").write_text(tabulate(rows, headers="keys", tablefmt="latex_booktabs", disable_numparse=True) + "\n")
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.md"


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Report on what the overrides ask for, or on every study that ships; print the tables and where the figures are."""
    chosen = multirun or any(word.split("=")[0] in ("study", "scaling", "phi", "seed") for word in words)
    lines: list[tuple[str, str, str]] = []
    for asked in [words] if chosen else [[*words, f"study={name}"] for name in studies()]:
        try:
            wanted = plan(asked)
        except NotYet as error:
            if chosen:
                raise
            lines.append((asked[-1].removeprefix("study="), "-", str(error)))
            continue
        results = Results.of(wanted)
        lines += [(wanted.name, *line) for line in report(results)]
        if results.done:
            print(f"\n{wanted.name}\n{results_table(results)}")
        if results.findings:
            print(f"\n{tables(results.findings, 'simple')}")
    print("\n" + tabulate(lines, headers=["study", "figure", "where"]))


if __name__ == "__main__":
    main()
