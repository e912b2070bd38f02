"""The calibration: a few small networks of every kind, timed on this device side by side, and one tiny
run."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ablation.images.cache import Sizes, decoded, listed
from ablation.images.splits import load_for
from ablation.measure.forecast import Calibration
from ablation.measure.steps import measure_steps
from ablation.measure.work import fit, left_out_error, work
from ablation.runs.arms import Planned
from ablation.runs.config import Execution, Run
from ablation.runs.measurements import Measurement
from ablation.theory.baselines import BASELINES
from ablation.theory.matching import nominal
from ablation.theory.scaling import Coefficients
from ablation.train.devices import device_name, devices_of, image_room, on_gpu, settle
from ablation.train.execute import execute
from ablation.train.processes import together

SMALL_B0 = 64 / 224
PROBES: Sequence[tuple[str, Coefficients]] = (
    ("mini", Coefficients()),
    ("mini", Coefficients(depth=4)),
    ("mini", Coefficients(width=2)),
    ("mini", Coefficients(width=4)),
    ("mini", Coefficients(resolution=2)),
    ("mini", Coefficients(1.5, 1.25, 1.25)),
    ("mini-mobilenet-v1", Coefficients()),
    ("mini-mobilenet-v2", Coefficients()),
    ("mini-resnet", Coefficients()),
    ("b0", Coefficients(resolution=SMALL_B0)),
)
# Images in a batch of a probe, on a CPU and on a GPU, so that a calibration takes a minute.
MOST = {
    False: 64,
    True: 512,
}
STEPS, IMAGES = 20, 100  # of the tiny run, in its epoch and in each of its other splits


def calibrate(
    entry: Planned, where: Execution, at_once: int, rounds: int, seconds: float
) -> Calibration:
    """What work costs on this device with so many processes at once: of the probes, with the recipe of a
    planned run, and of its data.

    rounds, seconds: see measure_steps.
    """
    gpu = on_gpu(where.accelerator)
    batch = min(entry.run.recipe.part, MOST[gpu])
    runs = {f"{name} {scaled}": _probe(entry.run, name, scaled, batch) for name, scaled in PROBES}
    measured = together(_measured, [(runs, where, rounds, seconds)] * at_once)
    terms = np.array([work(run.network, run.recipe.batch_size) for run in runs.values()])
    each = [list(found.values()) for found, _ in measured]
    step = _means(each, "step_seconds")
    images = _means(each, "images_per_second")
    memory = _means(each, "step_bytes")
    some = next(iter(measured[0][0].values()))
    found = Calibration(
        device=some.device,
        on_gpu=gpu,
        threads=where.threads,
        at_once=at_once,
        precision=entry.run.recipe.precision,
        step=fit(terms, step),
        forward=fit(terms, batch / images),
        memory=fit(terms, memory),
        loading=0.0,
        fixed=0.0,
        base=0.0,
        room=measured[0][1],
        error=left_out_error(terms, step),
        torch=torch.__version__,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return _with_a_run(found, entry, where)


def _means(each: Sequence[Sequence[Measurement]], name: str) -> NDArray[np.float64]:
    """A field of each network's measurement (networks,), averaged over the processes."""
    rows = [[getattr(found, name) for found in process] for process in each]
    return np.array(rows).mean(0)


def _probe(run: Run, name: str, scaled: Coefficients, batch: int) -> Run:
    """A run that trains a probe as `run` trains its network."""
    network = nominal(BASELINES[name], scaled).network
    data = dataclasses.replace(run.data, detail=None, upsample=True)
    return dataclasses.replace(
        run,
        network=network,
        recipe=dataclasses.replace(run.recipe, batch_size=batch, accumulate=1),
        data=data,
    )


def _measured(
    runs: Mapping[str, Run], where: Execution, rounds: int, seconds: float
) -> tuple[dict[str, Measurement], float]:
    settle(where.threads)
    with devices_of(where) as [device]:
        return measure_steps(runs, device, device_name(device), rounds, seconds), image_room(
            where, device
        )


def _with_a_run(found: Calibration, entry: Planned, where: Execution) -> Calibration:
    """With what a tiny run of the smallest probe costs beside its steps and evaluation."""
    recipe = dataclasses.replace(entry.run.recipe, epochs=1, warmup_epochs=0.5)
    sizes = Sizes(STEPS * recipe.batch_size, IMAGES, IMAGES)
    counts = {f"{split}_size": count for split, count in vars(sizes).items()}
    data = dataclasses.replace(entry.run.data, **counts, detail=None, upsample=True)
    baseline = BASELINES["mini"].network
    run = Run(dataclasses.replace(baseline, classes=data.classes), recipe, data, entry.run.seed)
    prepared = listed if recipe.from_original else decoded
    prepared(data, where.cache)
    with tempfile.TemporaryDirectory() as folder:
        places = [
            dataclasses.replace(where, runs=Path(folder) / str(place), wandb="disabled")
            for place in range(found.at_once)
        ]
        loading = 0.0  # of images that stay encoded: what decoding takes is measured apart
        if not recipe.from_original:
            loading = np.mean(together(_loading_seconds, [(run, where)] * found.at_once))
        tiny = dataclasses.replace(entry, run=run)
        records = together(execute, [(tiny, place) for place in places])
    found = dataclasses.replace(found, loading=float(loading) / (sizes.total * data.side**2))
    seconds = float(np.mean([record.total_seconds for record in records]))
    memory = max(record.peak_memory for record in records)
    return dataclasses.replace(
        found,
        fixed=max(0.0, seconds - found.seconds(run, sizes)),
        base=max(0.0, memory - found.bytes(run, sizes)),
    )


def _loading_seconds(run: Run, where: Execution) -> float:
    settle(where.threads)
    started = time.perf_counter()
    load_for(run, where.cache)
    return time.perf_counter() - started
