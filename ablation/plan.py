"""Show what a command would train and what that costs, and train nothing: same overrides as ablation.run, and
format=table or format=json.

Seconds come from records of this device where runs= holds some, else, and memory, from a calibration, once:
python -m ablation.bench calibrate

python -m ablation.plan study=quick
python -m ablation.plan -m cost=matched scaling=depth,compound phi=0,1,2 format=json
"""

import json
from collections.abc import Sequence

from hydra import compose

from ablation.command.planning import plan
from ablation.command.storing import refuse_full
from ablation.door import door
from ablation.measure.outlook import rows, table
from ablation.runs.records import read_records


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Print the plan of the overrides."""
    wanted = plan(words)
    done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
    refuse_full(wanted.stores(done), wanted.execution.cache)
    if wanted.format == "json":
        print(json.dumps(rows(wanted, done), indent=1))
    else:
        print(table(wanted, done, runs_at_once(words)))


def runs_at_once(words: Sequence[str]) -> int | None:
    """Of the chosen launcher; None where it fits them to the machine."""
    chosen = [word for word in words if word.startswith("hydra")]
    launcher = compose("config", chosen, return_hydra_config=True).hydra.launcher
    return launcher.get("n_jobs") or launcher.get("array_parallelism")


if __name__ == "__main__":
    main()
