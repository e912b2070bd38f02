"""Put the records of a study into one Parquet file, beside those that it holds already: to ship them, or to
carry them to another machine.

python -m ablation.pack study=quick                          makes results/quick/records.parquet
python -m ablation.report study=quick runs=results/quick     a folder with an archive is a folder of records
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ablation.command.planning import plan
from ablation.door import door
from ablation.runs.checks import counted
from ablation.runs.files import replacing
from ablation.runs.records import archive_path, read_archive, read_records, write_archive


def show(words: list[str], multirun: bool) -> None:
    """Pack what the overrides ask for and has a record; raises ValueError where nothing has."""
    wanted = plan(words)
    done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
    if not done:
        raise ValueError(
            f"{wanted.name} has no record below {wanted.execution.runs}; {wanted.through('run')}"
        )
    folder = wanted.results / wanted.name
    before = read_archive(folder)
    after = {run_id: dataclasses.asdict(record) for run_id, record in done.items()}
    kept = {run_id for run_id in before.keys() & after if lost(before[run_id], after[run_id])}
    rows = {**before, **{run_id: row for run_id, row in after.items() if run_id not in kept}}
    with replacing(path := archive_path(folder), "results") as file:
        write_archive(file, map(_travelling, rows.values()))
    distinct = len({entry.run.id for entry in wanted.planned})
    print(
        f"{path}: {len(done)} of {counted(distinct, 'run')} of {wanted.name}, {len(rows)} in all, "
        f"{path.stat().st_size / 1e3:,.0f} kB"
    )


def lost(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether only the packed record of a run says which images it got right."""
    return bool(before.get("answers")) and not after["answers"]


def _travelling(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record without the folder of the machine that trained it in which its images lay; the digest of their
    files stays."""
    config = row["config"]
    return {**row, "config": {**config, "data": {**config["data"], "path": None}}}


def main() -> None:
    """Entry point."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
