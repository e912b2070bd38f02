"""What `python -m ablation.bench` measures: ours against something else, in turn, every turn in processes of
its own.

Plans are made here, so Hydra must be initialised. `words` are overrides beside those that a benchmark gives
itself.
"""

import dataclasses
import math
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from ablation.command.planning import plan
from ablation.images.splits import load
from ablation.measure.benchmarks import Benchmark, in_turn
from ablation.measure.reading import (
    HEIGHT,
    WIDTH,
    batches_rate,
    datasets_rate,
    loader_rate,
    pillow_rate,
    turbo_rate,
    views_rate,
    write_photographs,
)
from ablation.measure.rivals import bare_rate, matrix_rate, step_seconds, usual_rate, write_jpegs
from ablation.runs.arms import Planned
from ablation.runs.checks import counted
from ablation.runs.config import Execution, Run
from ablation.runs.measurements import step_key
from ablation.runs.records import read_record, read_records, write_record
from ablation.theory.cost import training_flops
from ablation.train.devices import capacity, cores, device_name, on_gpu
from ablation.train.execute import execute
from ablation.train.processes import alone, together

EPOCH = (
    "recipe.epochs=1",
    "recipe.warmup_epochs=0.5",
    "data.validation_size=100",
    "evaluate=false",
)
STEPS: Mapping[str, Sequence[str]] = {
    "mini": ("phi=0", "recipe.batch_size=128", "data.train_size=3840"),
    "B0 at 64 px": (
        "baseline=b0",
        "scaling=coefficients",
        f"scaling.resolution={64 / 224}",
        "recipe.batch_size=128",
        "data.train_size=1024",
    ),
}
# Every network once, a third of the images.
SHORT = (
    "study=quick",
    "study.seeds=[0]",
    "data.train_size=1600",
    "data.evaluation_size=1000",
)
TINY = ("phi=0", *EPOCH, "recipe.batch_size=32", "data.train_size=32")  # a run of one step
# 13 networks, 1,001 runs.
THOUSAND = (
    "-m",
    "cost=matched",
    "scaling=width,depth,resolution,compound",
    "phi=0,1,2,3",
    "seed=range(0,77)",
)
RECORDS = 10_000
PHOTOS = 1040  # of which some validate
READ = (
    "data=custom",
    "recipe=short",
    "baseline=b0",
    "phi=0",
    "recipe.batch_size=64",
    "recipe.crop=0.08",
    "data.validation_size=16",
)
FEW, MORE = 2, 8  # tiny runs, whose difference in time is what six of them cost
ALONE = 2.0  # seconds of steps of one network, and of matrix products


@dataclass(frozen=True)
class Machine:
    """device: its name; cores, gpu: what there is; at_once: runs side by side that the launcher takes it to
    carry; torch: its version."""

    device: str
    cores: int
    gpu: bool
    at_once: int
    torch: str


def machine_of(where: Execution) -> Machine:
    """The machine that runs compute on."""
    gpu = on_gpu(where.accelerator)
    return Machine(
        device_name(torch.device("cuda" if gpu else "cpu")),
        cores(),
        gpu,
        capacity(where),
        torch.__version__,
    )


def step(words: Sequence[str], rounds: int, folder: Path, machine: Machine) -> dict[str, Benchmark]:
    """A training step in our Lightning run, and in a bare loop."""
    found = {}
    for name, own in STEPS.items():
        entry, where = _one([*own, *EPOCH, *words])
        ours, theirs = in_turn(
            rounds,
            lambda entry=entry, where=where: alone(_our_rate, entry, _anew(where, folder)),
            lambda entry=entry, where=where: alone(bare_rate, entry.run, _steps(entry.run), where),
        )
        what = (
            f"training {name}, batch {entry.run.recipe.batch_size}, {_steps(entry.run)} steps, "
            f"threads={where.threads}"
        )
        found[f"step, {name}"] = Benchmark(
            what,
            "images/s",
            ours,
            "a bare loop of the same module and optimizer",
            theirs,
            goal=0.97,
        )
    return found


def pipeline(
    words: Sequence[str], rounds: int, folder: Path, machine: Machine
) -> dict[str, Benchmark]:
    """Training in our Lightning run, and in the usual pipeline; both have all cores."""
    entry, where = _one([*STEPS["mini"], *EPOCH, f"threads={machine.cores}", *words])
    images = load(entry.run.data, entry.run.data.native, where.cache, evaluate=False).train
    files = write_jpegs(images, folder / "jpeg")
    ours, theirs = in_turn(
        rounds,
        lambda: alone(_our_rate, entry, _anew(where, folder)),
        lambda: alone(usual_rate, entry.run, files, machine.cores, where, folder),
    )
    what = (
        f"training mini, batch {entry.run.recipe.batch_size}, {_steps(entry.run)} steps, "
        f"threads={where.threads}"
    )
    against = (
        f"stock Lightning, {machine.cores} DataLoader workers that decode JPEG files of "
        f"{entry.run.data.native} px, logging at each step"
    )
    return {"pipeline, mini": Benchmark(what, "images/s", ours, against, theirs, goal=2.0)}


def study(
    words: Sequence[str], rounds: int, folder: Path, machine: Machine
) -> dict[str, Benchmark]:
    """A study and its report by the launcher; its runs one after another with all cores; its networks in
    plain loops; a matrix product."""
    own = [*SHORT, *words]
    wanted = plan(own)
    where = wanted.execution
    runs = list({entry.run.id: entry.run for entry in wanted.planned}.values())
    one_by_one = ("hydra.launcher.n_jobs=1", f"threads={machine.cores}")
    side_by_side = folder / "study"
    single = folder / "single"
    swept, drawn, alone_, plain, product = in_turn(
        rounds,
        lambda: command("run", *own, *_folders(_emptied(side_by_side))),
        lambda: command("report", *own, *_folders(side_by_side)),
        lambda: command("run", *own, *_folders(_emptied(single)), *one_by_one),
        lambda: _plain_seconds(runs, where, machine.at_once),
        lambda: sum(together(matrix_rate, [(where, ALONE)] * machine.at_once)),
    )
    flops = sum(_training_flops(run) for run in runs)
    whole = [flops / (sweep + report) for sweep, report in zip(swept, drawn, strict=True)]
    loops = [flops / seconds for seconds in plain]
    each = f"{machine.at_once} at once, threads={where.threads}"
    images = f"{runs[0].recipe.epochs} x {runs[0].data.train_size} images"
    what = f"study={wanted.name}, {counted(len(runs), 'run')} of {images}, {each}"
    all_of_it = f"{what}, start-up and figures included"
    of_networks = f"plain loops of the networks of study={wanted.name}, {each}"
    return {
        "study, launcher": Benchmark(
            what,
            "runs/h",
            [3600 * len(runs) / seconds for seconds in swept],
            f"one run after another, threads={machine.cores}",
            [3600 * len(runs) / seconds for seconds in alone_],
            goal=2.0 if machine.gpu else 1.3,
        ),
        "study, limit": Benchmark(
            all_of_it, "FLOP/s", whole, "plain loops of its networks", loops, goal=0.85
        ),
        "study, product": Benchmark(
            all_of_it, "FLOP/s", whole, "matrix products (float32)", product
        ),
        "loops, product": Benchmark(of_networks, "FLOP/s", loops, "matrix products", product),
    }


def _training_flops(run: Run) -> int:
    """Of a whole run."""
    images = _steps(run) * run.recipe.epochs * run.recipe.batch_size
    return training_flops(run.network, images)


def start(
    words: Sequence[str], rounds: int, folder: Path, machine: Machine
) -> dict[str, Benchmark]:
    """What is paid beside the steps: a command's start, a run's, planning, reading records."""
    entry, _ = _one([*TINY, *words])
    first, run, planned = in_turn(
        rounds,
        lambda: _until_first_step(entry.run, [*TINY, *words], _emptied(folder / "start")),
        lambda: _seconds_of_a_run(words, folder / "sweep"),
        lambda: command("plan", *THOUSAND, *words, *_folders(folder / "none")),
    )
    read = _reading_seconds(entry.run, folder / "start" / "runs", folder / "records", rounds)
    return {
        "start, first step": Benchmark("from the command to the first step of a run", "s", first),
        "start, run": Benchmark(
            "a run of a sweep beside its steps and evaluation", "s", run, goal=2.0
        ),
        "start, plan": Benchmark(
            "planning 1,001 runs of 13 networks at matched cost, from the command on",
            "s",
            planned,
            goal=2.0,
        ),
        "start, records": Benchmark(f"reading {RECORDS:,} records", "s", read, goal=2.0),
    }


def reading(
    words: Sequence[str], rounds: int, folder: Path, machine: Machine
) -> dict[str, Benchmark]:
    """Images read by one core from the three places where ours may lie; bare decoding of the same files;
    torch's DataLoader; Hugging Face `datasets`."""
    photos, cache = folder / "photos", folder / "cache"
    files = write_photographs(photos, PHOTOS)
    own = [f"data.path={photos}", f"cache={cache}", *READ, *words]
    laws = ("recipe.crop_from=original", "recipe.crop_from=stored", "recipe.crop=1")
    original, stored, whole = (_one([*own, law])[0].run for law in laws)
    side, batch = original.network.pixels, original.recipe.batch_size
    calls: dict[str, Callable[[], float]] = {
        "views": lambda: alone(views_rate, original, cache),
        "encoded": lambda: alone(batches_rate, original, cache, 0.0),
        "mapped": lambda: alone(batches_rate, stored, cache, 0.0),
        "memory": lambda: alone(batches_rate, whole, cache, math.inf),
        "pillow": lambda: alone(pillow_rate, files),
        "loader": lambda: alone(loader_rate, files, side, batch),
        "datasets": lambda: alone(datasets_rate, photos, folder / "datasets"),
    }
    if find_spec("simplejpeg"):
        calls["turbo"] = lambda: alone(turbo_rate, files)
    found = dict(zip(calls, in_turn(rounds, *calls.values()), strict=True))
    each = sum(file.stat().st_size for file in files) / len(files) / 1000
    photographs = f"{len(files)} JPEGs of {WIDTH} x {HEIGHT} px and {each:.0f} kB"
    cut = f"random crops of {photographs}, to {side} px"
    process, reader = "in one process", f"as batches of {batch}, one reader process"
    views = f"{cut}, from the files, {process}"
    batches = {
        "encoded": f"{cut}, from the files, {reader}",
        "mapped": f"{cut}, from what is stored at {stored.data.side} px, {reader}",
        "memory": f"the same images whole at {side} px, from memory, as batches of {batch}",
    }
    limits = {"pillow": "Pillow", "turbo": "simplejpeg"}
    theirs = "torch's DataLoader, one worker, transforms of torchvision's ImageNet script"
    iterated = "Hugging Face datasets, iterated over, whole images"
    rows = {
        f"input, {name}": ("views", views, name, f"bare decoding by {by}", 0.85)
        for name, by in limits.items()
        if name in found
    }
    rows["input, datasets"] = ("views", views, "datasets", iterated, None)
    for name, what in batches.items():
        goal = 1.5 if name == "encoded" else None
        rows[f"input, {name}"] = (name, what, "loader", theirs, goal)
    return {
        name: Benchmark(what, "images/s", found[ours], against, found[other], goal)
        for name, (ours, what, other, against, goal) in rows.items()
    }


CONTESTS: Mapping[str, Callable[[Sequence[str], int, Path, Machine], dict[str, Benchmark]]] = {
    "step": step,
    "pipeline": pipeline,
    "study": study,
    "start": start,
    "input": reading,
}


def command(door: str, *words: str) -> float:
    """Seconds of a command of ours; raises RuntimeError with the last line that it printed where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"ablation.{door}", *words], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        raise RuntimeError(f"python -m ablation.{door} {shlex.join(words)}: {last}")
    return time.perf_counter() - started


def _one(words: Sequence[str]) -> tuple[Planned, Execution]:
    wanted = plan(words)
    return wanted.planned[0], wanted.execution


def _steps(run: Run) -> int:
    """Steps of an epoch."""
    return (run.data.train_size or 0) // run.recipe.batch_size


def _emptied(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return place


def _folders(place: Path) -> list[str]:
    """Overrides that keep records and figures in one place."""
    return [f"runs={place / 'runs'}", f"results={place / 'results'}"]


def _anew(where: Execution, folder: Path) -> Execution:
    """With no record yet."""
    return dataclasses.replace(where, runs=_emptied(folder / "alone"))


def _our_rate(entry: Planned, where: Execution) -> float:
    return execute(entry, where).images_per_second


def _plain_seconds(runs: Sequence[Run], where: Execution, at_once: int) -> float:
    """Seconds that all steps of these runs take in plain loops, so many at once."""
    distinct = {step_key(run): run for run in runs}
    each = {
        key: statistics.mean(together(step_seconds, [(run, where, ALONE)] * at_once))
        for key, run in distinct.items()
    }
    return sum(each[step_key(run)] * _steps(run) * run.recipe.epochs for run in runs) / at_once


def _until_first_step(run: Run, words: Sequence[str], place: Path) -> float:
    """Seconds from the command until the run says that it begins to train."""
    said = place / "runs" / run.id / "progress.json"
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "ablation.run", *words, *_folders(place)], stdout=subprocess.DEVNULL
    ) as process:
        while not said.exists():
            if process.poll() is not None:
                raise RuntimeError(
                    f"python -m ablation.run {shlex.join(words)}: ended without a step"
                )
            time.sleep(0.002)
        return time.perf_counter() - started


def _seconds_of_a_run(words: Sequence[str], place: Path) -> float:
    """Seconds of a run of one step, beside those of the command that starts it."""
    one_by_one = ("-m", *TINY, "hydra.launcher.n_jobs=1", *words)
    few, more = (
        command("run", *one_by_one, f"seed=range(0,{count})", *_folders(_emptied(place)))
        for count in (FEW, MORE)
    )
    return (more - few) / (MORE - FEW)


def _reading_seconds(run: Run, template: Path, folder: Path, rounds: int) -> list[float]:
    """Seconds in which so many records like that of `run` are read, once a round."""
    record = read_record(template, run)
    runs = [dataclasses.replace(run, seed=seed) for seed in range(RECORDS)]
    for one in runs:
        write_record(folder, dataclasses.replace(record, run_id=one.id, seed=one.seed))
    return [_timed(lambda: read_records(folder, runs)) for _ in range(rounds)]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
