"""Show what a command would train, and train nothing: same overrides as ablation.run, and format=table or format=json.

python -m ablation.plan study=quick
python -m ablation.plan -m cost=matched scaling=depth,compound phi=0,1,2 format=json
"""

import json

from tabulate import tabulate

from ablation.compose import door
from ablation.planning import Plan, plan
from ablation.records import Record, read_records
from ablation.study import twins


def rows(wanted: Plan, done: dict[str, Record]) -> list[dict[str, object]]:
    """One plain mapping per run, as format=json prints them."""
    return [entry.row() | {"done": entry.run.id in done} for entry in wanted.planned]


def table(wanted: Plan, done: dict[str, Record]) -> str:
    """One line per arm, seeds counted."""
    lines: dict[str, list[object]] = {}
    differing = [name for name in ("baseline", "setting") if len({getattr(entry, name) for entry in wanted.planned}) > 1]
    for entry in wanted.planned:
        row = entry.row()
        key = f"{entry.baseline} {entry.setting} {entry.arm.name} {entry.arm.label}"
        error = "" if row["budget_error"] is None else f"{row['budget_error']:+.1%}"
        phi = "" if row["phi"] is None else f"{row['phi']:g}"
        part = [row[name] for name in differing]
        fixed = [*part, row["rule"], phi, row["cost"], f"{row['depth']:.3f}", f"{row['width']:.3f}", f"{row['resolution']:.3f}"]
        built = [" ".join(map(str, row["depths"])), " ".join(map(str, row["widths"])), row["pixels"]]
        line = lines.setdefault(key, [*fixed, *built, f"{row['macs']:,}", f"{row['params']:,}", f"{row['activations']:,}", error, 0, 0])
        line[-2] += 1  # type: ignore[operator]
        line[-1] += entry.run.id in done  # type: ignore[operator]
    names = [
        *differing,
        *["rule", "phi", "cost", "d", "w", "r", "depths", "widths", "px", "MACs", "params", "activations"],
        "off budget",
        "runs",
        "done",
    ]
    count = len({entry.run.id for entry in wanted.planned})
    notes = [f"{wanted.name}: {count} distinct runs, {len(done)} done, {count - len(done)} to train"]
    notes += [wanted.follows] if wanted.follows else []
    same = [f"same network: {' = '.join(labels)}" for labels in twins(wanted.planned)]
    return "\n".join([tabulate(lines.values(), headers=names, disable_numparse=True), *notes, *same])


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Print the plan of the overrides."""
    wanted = plan(words)
    done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
    print(json.dumps(rows(wanted, done), indent=1) if wanted.format == "json" else table(wanted, done))


if __name__ == "__main__":
    main()
