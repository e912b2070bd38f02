"""Upload to Weights & Biases what runs wrote offline. Repeatable: what has been uploaded is left out.

python -m ablation.sync
python -m ablation.sync runs=FOLDER
"""

import os
import subprocess
import sys
from pathlib import Path

from ablation.command.planning import plan
from ablation.door import door
from ablation.train.tracking import check_server

HEADER = (
    7  # bytes; W&B writes late, so that of a run that was killed early nothing more may be there
)


def offline(runs: Path) -> list[Path]:
    """The folders that W&B wrote below a folder of records and has not uploaded, in the order in which they
    were begun."""
    files = [
        *runs.glob("*/wandb/offline-run-*/*.wandb"),
        *runs.glob("studies/*/wandb/offline-run-*/*.wandb"),
    ]
    waiting = [
        file.parent
        for file in files
        if file.stat().st_size > HEADER and not file.with_name(f"{file.name}.synced").exists()
    ]
    return sorted(waiting, key=lambda folder: folder.name)


def show(words: list[str], multirun: bool) -> None:
    """Upload what waits; raises ConnectionError where W&B cannot take it, or not all of it."""
    runs = plan(words).execution.runs
    folders = offline(runs)
    if not folders:
        print(f"nothing to upload below {runs}")
        return
    os.environ |= {"WANDB_SILENT": "true", "WANDB_MODE": "online"}
    check_server()
    command = [sys.executable, "-m", "wandb", "sync", *map(str, folders)]
    # Its status is 0 whatever happens.
    subprocess.run(
        command, env=os.environ | {"WANDB_SILENT": "false", "WANDB_DIR": str(runs)}, check=False
    )
    if left := offline(runs):
        raise ConnectionError(
            f"{len(left)} of {len(folders)} W&B runs were not uploaded; the same command goes on with these"
        )


def main() -> None:
    """Entry point."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
