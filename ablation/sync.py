"""Upload to Weights & Biases what runs wrote offline. Repeatable: what has been uploaded is left out.

python -m ablation.sync
python -m ablation.sync runs=FOLDER
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from ablation.command.planning import plan
from ablation.door import door
from ablation.runs.checks import counted
from ablation.train.tracking import check_server

HEADER = (
    7  # bytes; W&B writes late, so that of a run that was killed early nothing more may be there
)


LIMIT = 120.0  # seconds for one run: W&B asks a server that refuses again and again
COMPLAINT = re.compile(r"error|fail|denied|deleted|refused|\b[45]\d\d\b", re.I)
NO_REASON = "W&B does not say why"


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
    refused = {folder: why for folder in folders if (why := upload(folder, runs))}
    if left := offline(runs):
        lines = [f"{folder.name}: {refused.get(folder, NO_REASON)}" for folder in left]
        some = f"{len(left)} of {counted(len(folders), 'W&B run')}"
        head = f"{some} {'was' if len(left) == 1 else 'were'} not uploaded"
        way_out = "the same command tries these again; a folder that is removed is left out"
        raise ConnectionError("; ".join([head, *lines, way_out]))


def upload(folder: Path, runs: Path) -> str:
    """Upload one W&B run; returns what stood against it, "" for nothing."""
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    settings = {"WANDB_SILENT": "false", "WANDB_DIR": str(runs)}
    try:
        # Its status is 0 whatever happens.
        done = subprocess.run(
            command,
            env=os.environ | settings,
            check=False,
            timeout=LIMIT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        said = error.output or b""
        told = said.decode(errors="replace") if isinstance(said, bytes) else said
        return ", ".join(filter(None, [f"no end within {LIMIT:.0f} s", _complaint(told)]))
    print(done.stdout, end="", flush=True)
    return _complaint(done.stdout)


def _complaint(output: str) -> str:
    """The last line of W&B's that tells of a fault, "" where none does."""
    lines = [line.strip() for line in output.splitlines() if COMPLAINT.search(line)]
    return lines[-1].removeprefix("wandb: ") if lines else ""


def main() -> None:
    """Entry point."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
