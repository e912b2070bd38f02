"""make chaos: a sweep whose workers and parents are killed at random, started again until it is done, then
held against an undisturbed one.

python -m tests.chaos [SEED]
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ablation.command.planning import Plan, plan
from ablation.door import hydra
from ablation.images import shapes
from ablation.images.cache import decoded
from ablation.runs.config import Data
from ablation.runs.records import read_records
from ablation.runs.states import state
from tests.conftest import ROOT, SMALL, TINY
from tests.test_training import untimed

WORDS = [
    *[
        "scaling=width,depth",
        "phi=-1,1",
        "seed=0,1,2",
        *TINY,
        "recipe.epochs=8",
        "wandb.mode=disabled",
    ],
    *[
        "recipe.ema=0.9",
        "recipe.dropout=0.2",
        "recipe.drop_path=0.2",
        "recipe.shift=0.1",
        "recipe.crop=0.5",
    ],
]
KILLS = 24  # then it may finish
PAUSE = (0.1, 1.5)  # seconds until the next one
AT_ONCE = 2
PARENT = 0.15  # share of the kills that hit the command itself, by one of
WAYS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "ablation.run",
        "-m",
        *words,
        f"hydra.launcher.n_jobs={AT_ONCE}",
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_one(wanted: Plan, parent: int, chance: random.Random) -> str | None:
    """Kill a running worker, or its parent; returns what was killed, None where nothing ran."""
    running = [
        now
        for entry in wanted.planned
        if (now := state(wanted.execution, entry.run)).name == "running" and now.progress
    ]
    if not running:
        return None
    time.sleep(chance.uniform(*PAUSE))
    if chance.random() < PARENT:
        way = chance.choice(WAYS)
        os.kill(parent, way)
        return f"commands by {way.name}"
    os.kill(chance.choice(running).progress["pid"], signal.SIGKILL)
    return "workers by SIGKILL"


def torment(wanted: Plan, words: list[str], chance: random.Random) -> Counter[str]:
    """Start the sweep again and again, killing at random, until it says it is done; returns what was killed,
    and the starts."""
    killed: Counter[str] = Counter()
    starts = 0
    while True:
        process = start(words)
        starts += 1
        while process.poll() is None and killed.total() < KILLS:
            with contextlib.suppress(ProcessLookupError):  # it was done first
                killed.update(filter(None, [kill_one(wanted, process.pid, chance)]))
            time.sleep(0.1)
        if process.wait() == 0:
            return killed + Counter(starts=starts)


def main() -> int:
    """Exit status 0 where all records are equal, times and memory excepted."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes.SIZES = SMALL
        decoded(Data("shapes", shapes.CLASSES, shapes.SIDE), folder / "cache")
        calm, rough = (
            [*WORDS, f"runs={folder / runs}", f"cache={folder / 'cache'}"]
            for runs in ("calm", "rough")
        )
        with hydra():
            wanted = plan(rough)
        if start(calm).wait():
            print("the undisturbed sweep failed")
            return 1
        told = torment(wanted, rough, random.Random(seed))
        runs = {entry.run.id: entry.run for entry in wanted.planned}
        first, second = (read_records(folder / name, runs.values()) for name in ("calm", "rough"))
        differing = [run_id for run_id in runs if untimed(first[run_id]) != untimed(second[run_id])]
    print(", ".join(f"{count} {what}" for what, count in told.most_common()))
    print(
        f"seed {seed}: {len(runs) - len(differing)} of {len(runs)} records equal those of the undisturbed "
        f"sweep, {time.monotonic() - started:.0f} s"
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
