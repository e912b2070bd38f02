"""Write the page, the figures and the tables of what has records, and print the tables. Trains nothing.

python -m ablation.report                    every study that ships
python -m ablation.report study=quick        one study
python -m ablation.report -m cost=matched scaling=depth,width phi=0,1   what such a run trained
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ablation.command.compose import FOUND
from ablation.command.errors import NotYet
from ablation.command.planning import plan
from ablation.command.shipped import studies
from ablation.command.tracked import attach
from ablation.door import door
from ablation.judge.findings import table
from ablation.runs.arms import starts
from ablation.runs.checks import counted
from ablation.runs.files import write_text
from ablation.show.answer import answer
from ablation.show.comparisons import COMPARISONS
from ablation.show.drawing import Drawing, save, style, write
from ablation.show.forest import OF_FINDINGS
from ablation.show.kinds import KINDS
from ablation.show.learning import LEARNING
from ablation.show.page import brief, in_order, page
from ablation.show.results import Results, note
from ablation.show.searches import SEARCHES, grid_found, grid_table
from ablation.show.tables import results_rows, results_table, tables
from ablation.show.words import as_csv, as_latex, as_markdown

DRAWINGS = (*COMPARISONS, *KINDS, LEARNING, *SEARCHES)


def report(results: Results) -> list[tuple[str, str]]:
    """Write page, figures, tables and findings of one plan; returns (title, where it lies or the command that
    trains it) of each that it plans."""
    asked = [(drawing, results.shown(drawing)) for drawing in drawings_of(results)]
    asked += judged(results)
    drawn = [(drawing, shown) for drawing, shown in asked if shown is not None]
    where = {drawing.name: str(write(shown, drawing, results.folder)) for drawing, shown in drawn}
    yet = f"{'too few' if results.done else 'no'} records yet: {results.wanted.through('run')}"
    lines = [(drawing.title, where.get(drawing.name, yet)) for drawing, _ in asked]
    return lines + write_tables(results, drawn) if results.done else lines


def judged(results: Results) -> list[tuple[Drawing, pd.DataFrame]]:
    """The figures of findings, each with those that it shows."""
    if results.judged is None:
        return []
    shown = [(drawing, drawing.select(results.judged)) for drawing in OF_FINDINGS]
    return [(drawing, rows) for drawing, rows in shown if rows is not None and len(rows)]


def drawings_of(results: Results) -> list[Drawing]:
    """The figures that a study has rows for; a grid search has those of searches alone, since its arms are no
    rules to compare."""
    same_kind = [drawing for drawing in DRAWINGS if drawing.search == results.wanted.search]
    return [drawing for drawing in same_kind if drawing.select(results.summary) is not None]


def write_tables(
    results: Results, drawn: Sequence[tuple[Drawing, pd.DataFrame]]
) -> list[tuple[str, str]]:
    """All but the figures, of a plan with records; returns (title, where it lies)."""
    write_text(
        results.folder / "runs.csv",
        as_csv(results.frame.drop(columns=["answers", "history", "alike"]), None),
    )
    lines = write_findings(results) + write_found(results)
    maps = write_activation_maps(results)
    table = write_table(results_rows(results), results.folder)
    page = write_page(results, drawn, [Path(path) for _, path in maps])
    attach(results.wanted, results.folder)
    return [*lines, *maps, ("Table", str(table)), ("Page", str(page))]


def write_page(
    results: Results, drawn: Sequence[tuple[Drawing, pd.DataFrame]], photographs: Sequence[Path]
) -> Path:
    """The whole report as one HTML file, and one screen of it as Markdown; returns the path of the
    first."""
    path = results.folder / "report.html"
    figures = in_order(results, drawn, photographs)
    write_text(path, page(results, figures))
    write_text(path.with_suffix(".md"), brief(results, figures))
    return path


def write_findings(results: Results) -> list[tuple[str, str]]:
    """Findings as Markdown and CSV."""
    if not results.findings:
        return []
    told = [*starts(results.wanted.planned), tables(results.findings)]
    write_text(results.folder / "findings.md", "\n\n".join(told) + "\n")
    write_text(results.folder / "findings.csv", as_csv(table(results.findings)))
    return [("Findings", str(results.folder / "findings.md"))]


def write_found(results: Results) -> list[tuple[str, str]]:
    """What a finished grid search found, as the files that scaling=fitted and scaling=inside read, and where
    they lie; of anything else nothing."""
    if not results.wanted.search or results.missing:
        return []
    found = grid_table(results.frame, results.summary)
    best = found[found["best"]].iloc[0]
    region = found[found["region"]]
    others = [name for name in region["rule"] if name != best["rule"]]
    seeds = f"By {counted(best['n'], 'seed')}, on {best['split']} images."
    as_good = f"{seeds} May be as good: {', '.join(others) or 'none'}."
    fitted, inside = (results.folder / f"{name}.yaml" for name in FOUND)
    _write_triple(fitted, [*grid_found(found), as_good], best)
    written = [(f"Best triple {best['rule']}", str(fitted))]
    interior = found[found["interior"]]
    if not interior.empty:
        first = interior.iloc[0]
        said = f"The best triple that grows in all three is {first['rule']}."
        _write_triple(inside, [said, seeds], first)
        written.append((f"Best triple in all three {first['rule']}", str(inside)))
    return written


def _write_triple(path: Path, said: Sequence[str], row: pd.Series) -> None:
    """A row of the search as a file that a rule is read from."""
    triple = [f"{name}: {float(row[name])!r}" for name in ("alpha", "beta", "gamma")]
    write_text(path, "\n".join([*(f"# {line}" for line in said), *triple]) + "\n")


def write_activation_maps(results: Results) -> list[tuple[str, str]]:
    """Class activation maps of a study that keeps its weights; of any other nothing."""
    if not results.wanted.execution.keep_weights:
        return []
    # Torch, only where there are weights.
    from ablation.show.activation import (
        activation_figure,
        examples,
        maps_of,
    )

    first = {
        entry.arm: entry
        for entry in reversed(results.wanted.planned)
        if entry.run.id in results.done
    }
    found = [
        maps
        for entry in reversed(first.values())
        if (maps := maps_of(entry, results.wanted.execution))
    ]
    if not found:
        return []
    run = results.wanted.planned[0].run
    data, cache = run.data, results.wanted.execution.cache
    path = results.folder / "activation.png"
    with style():
        figure = activation_figure(
            examples(data, cache, data.side, run.recipe), found, note(results)
        )
        save(figure, path, dpi=96, metadata={"Software": None})
    return [("Class activation maps (Fig. 7)", str(path))]


def write_table(rows: Sequence[Mapping[str, object]], folder: Path) -> Path:
    """The table of results as Markdown, CSV and LaTeX; returns the Markdown's path."""
    write_text(folder / "table.md", as_markdown(rows) + "\n")
    write_text(folder / "table.tex", as_latex(rows) + "\n")
    write_text(folder / "table.csv", as_csv(pd.DataFrame(rows), None))
    return folder / "table.md"


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Report on what the overrides ask for, or on every study that ships; print the tables, where the figures
    are and, last, the answers."""
    chosen = multirun or any(
        word.split("=")[0] in ("study", "scaling", "phi", "seed") for word in words
    )
    lines: list[tuple[str, str, str]] = []
    answers: list[str] = []
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
        if said := answer(results.findings, wanted.claim):
            answers.append(f"{wanted.name}: {said} All of it: {results.folder / 'report.html'}")
        if results.done:
            print(f"\n{wanted.name}\n{results_table(results)}")
        for said in starts(wanted.planned):
            print(f"\n{said}")
        if results.findings:
            print(f"\n{tables(results.findings, 'simple')}")
    print("\n" + tabulate(lines, headers=["study", "figure", "where"]))
    print("".join(f"\n{said}\n" for said in answers), end="")


if __name__ == "__main__":
    main()
