"""make chaos: a sweep whose workers and parents are killed at random, whose files are damaged and whose disk
is full for a while, started again until it is done, then held against an undisturbed one.

python -m tests.chaos [SEED]
"""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan
from ablation.door import hydra
from ablation.images import shapes
from ablation.images.cache import stamp
from ablation.runs.records import read_records
from ablation.runs.states import state
from tests.conftest import ROOT, TINY
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
KILLS = 40  # faults; then it may finish
HURTS = 0.1  # share of the looks, ten a second, at which a file is damaged
FULL = 1  # first starts at which the disk has no room for decoded images
COUNT = 480  # images
ROOM = 100_000  # bytes of a file on it
PAUSE = (0.1, 1.5)  # seconds until the next one
AT_ONCE = 2
PARENT = 0.15  # share of the kills that hit the command itself, by one of
WAYS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def start(words: list[str], room: int | None = None) -> subprocess.Popen[bytes]:
    """The sweep; no file of it grows beyond `room` bytes."""
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

    def limit() -> None:
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=limit,
    )


def flip(path: Path, chance: random.Random) -> None:
    """One bit of a file, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def flip_image(path: Path, chance: random.Random) -> None:
    """In decoded images, which are verified when the machine is started: as after that."""
    flip(path, chance)
    stamp(path.parent).unlink(missing_ok=True)


def cut(path: Path, chance: random.Random) -> None:
    """A file that a file system lost the end of."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


Deck = dict[str, tuple[str, Callable[[Path, random.Random], None]]]
# What may be hurt, where, and how.
DECK: Deck = {
    "checkpoints flipped": ("*/checkpoint.pt", flip),
    "checkpoints cut": ("*/checkpoint.pt", cut),
    "records flipped": ("*/record.json", flip),
    "records cut": ("*/record.json", cut),
}
# And only between two starts, since a process reads them once it has verified them.
AT_REST: Deck = {"decoded images flipped": ("../rough-cache/photos-*/*.npy", flip_image)}


def hurt(deck: Deck, runs: Path, chance: random.Random) -> str | None:
    """Damage a file; returns what was done, None where there was nothing to hurt."""
    name = chance.choice(list(deck))
    pattern, how = deck[name]
    there = sorted(path for path in runs.glob(pattern) if path.parent.suffix != ".damaged")
    if not there:
        return None
    how(chance.choice(there), chance)
    return name


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
        process = start(words, ROOM if starts < FULL else None)
        killed.update(["full disks"] if starts < FULL else [])
        starts += 1
        while process.poll() is None and killed.total() < KILLS:
            with contextlib.suppress(ProcessLookupError):  # it was done first
                killed.update(filter(None, [kill_one(wanted, process.pid, chance)]))
            if chance.random() < HURTS:
                with contextlib.suppress(FileNotFoundError):  # replaced or done first
                    killed.update(filter(None, [hurt(DECK, wanted.execution.runs, chance)]))
            time.sleep(0.1)
        if process.wait() == 0 and killed.total() >= KILLS:
            return killed + Counter(starts=starts)
        if killed.total() < KILLS:
            killed.update(filter(None, [hurt(AT_REST, wanted.execution.runs, chance)]))


def photographs(folder: Path) -> None:
    """A folder of images by class, which can be decoded again."""
    images, labels = shapes.render("train", COUNT, 0)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def main() -> int:
    """Exit status 0 where all records are equal, times and memory excepted."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder / "photos")
        calm, rough = (
            [
                *[*WORDS, f"data.path={folder / 'photos'}"],
                *[f"runs={folder / runs}", f"cache={folder / f'{runs}-cache'}"],
            ]
            for runs in ("calm", "rough")
        )
        with hydra():
            wanted = plan(arguments(rough))
        if start(calm).wait():
            print("the undisturbed sweep failed")
            return 1
        told = torment(wanted, rough, random.Random(seed))
        runs = {entry.run.id: entry.run for entry in wanted.planned}
        first, second = (read_records(folder / name, runs.values()) for name in ("calm", "rough"))
        lost = [run_id for run_id in runs if run_id not in second]
        wrong = [run_id for run_id in second if untimed(first[run_id]) != untimed(second[run_id])]
    print(", ".join(f"{count} {what}" for what, count in told.most_common()))
    print(
        f"seed {seed}: of {len(runs)} records {len(lost)} lost, {len(wrong)} wrong, held against the "
        f"undisturbed sweep; {time.monotonic() - started:.0f} s"
    )
    return 1 if lost or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
