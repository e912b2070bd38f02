"""Draw every figure that has records, and print and write the tables. Trains nothing.

python -m ablation.report                    every study that ships
python -m ablation.report study=quick        one study
python -m ablation.report -m cost=matched scaling=depth,width phi=0,1   what such a run trained
"""

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ablation.compose import Plan, door, plan, studies
from ablation.figures import DRAWINGS, Drawing, style
from ablation.frame import frame, summary
from ablation.records import Record, read_records
from ablation.study import twins


def note(wanted: Plan) -> list[str]:
    """Baseline, data and training set of a plan, for captions."""
    first = wanted.planned[0].run
    images = f"{first.data.train_size:,} training images" if first.data.train_size else "all training images"
    same = [f"same network: {' = '.join(labels)}" for labels in twins(wanted.planned)]
    return [f"{first.data.name}, {images}, {first.recipe.epochs} epochs", *same]


def results_table(wanted: Plan, done: dict[str, Record], style: str = "simple") -> str:
    """Means over seeds with 95 % intervals, one row per arm."""
    table = frame(wanted.planned, done)
    rows = []
    for row in summary(table).to_dict("records"):
        known = row["n"] > 0
        spread = f"{row['low']:.1%} to {row['high']:.1%}" if known and row["low"] == row["low"] else "one seed" if known else ""
        flags = ", ".join(f"{row[name]} {name}" for name in ("diverged", "missing") if row[name])
        error = "" if row["budget_error"] is None or row["budget_error"] != row["budget_error"] else f"{row['budget_error']:+.1%}"
        phi = "" if row["phi"] is None or row["phi"] != row["phi"] else f"{row['phi']:g}"
        coefficients = [f"{row[name]:.2f}" for name in ("depth", "width", "resolution")]
        rows.append([row["rule"], phi, row["cost"], *coefficients, row["pixels"], f"{row['macs'] / 1e6:,.2f}", error,
                     f"{row['mean']:.1%}" if known else "-", spread, f"{row['n']} ({flags})" if flags else row["n"]])  # fmt: skip
    split = table["split"].iloc[0]
    names = ["rule", "phi", "cost", "d", "w", "r", "px", "MMACs", "off budget", f"{split} accuracy", "95 % interval", "n"]
    return tabulate(rows, headers=names, tablefmt=style, disable_numparse=True)


def write(figure_table: pd.DataFrame, drawing: Drawing, folder: Path) -> Path:
    """One figure as PNG and SVG beside the CSV that it shows; returns the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    figure_table.to_csv(folder / f"{drawing.name}.csv", index=False, float_format="%.6g")
    with style():
        figure = drawing.draw(figure_table)
        figure.savefig(folder / f"{drawing.name}.png", dpi=144, metadata={"Software": None})
        figure.savefig(folder / f"{drawing.name}.svg", metadata={"Date": None})
    return folder / f"{drawing.name}.png"


def report(wanted: Plan) -> list[tuple[str, str]]:
    """Write figures and tables of one plan; returns (title, where it lies or the command that trains it) for each figure it plans."""
    folder = wanted.results / wanted.name
    done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
    table = frame(wanted.planned, done)
    means = summary(table)
    planned = summary(table.assign(accuracy=0.0))  # what the figures would show, had everything been trained
    lines = []
    for drawing in DRAWINGS:
        if drawing.tabulate(table.assign(accuracy=0.0), planned) is None:
            continue
        shown = drawing.tabulate(table, means)
        if shown is None:
            lines.append((drawing.title, f"no records yet: {train_command(wanted)}"))
            continue
        shown.attrs["note"] = note(wanted)
        lines.append((drawing.title, str(write(shown, drawing, folder))))
    if done:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(results_table(wanted, done, "github") + "\n")
        table.to_csv(folder / "runs.csv", index=False)
        lines.append(("Table", str(folder / "table.md")))
    return lines


def train_command(wanted: Plan) -> str:
    """The command that trains what a plan asks for."""
    multirun = "" if wanted.name != "sweep" else "-m "
    return f"python -m ablation.run {multirun}{wanted.command}"


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Report on what the overrides ask for, or on every study that ships; print the tables and where the figures are."""
    chosen = multirun or any(word.split("=")[0] in ("study", "scaling", "phi", "seed") for word in words)
    plans = [plan(words)] if chosen else [plan([*words, f"study={name}"]) for name in studies()]
    lines = [(wanted.name, *line) for wanted in plans for line in report(wanted)]
    for wanted in plans:
        done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
        if done:
            print(f"\n{wanted.name}\n{results_table(wanted, done)}")
    print("\n" + tabulate(lines, headers=["study", "figure", "where"]))


if __name__ == "__main__":
    main()
