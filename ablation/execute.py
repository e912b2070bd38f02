"""One run: plan in, record out."""

import contextlib
import dataclasses
import importlib.metadata
import logging
import math
import platform
import resource
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment

from ablation.config import Execution
from ablation.cost import cost, training_flops
from ablation.data import Batches, Splits, check_digest, load
from ablation.model import ConvNet
from ablation.records import Record, read_record, write_json, write_record
from ablation.study import Planned
from ablation.tracking import Tracker
from ablation.training import Averaging, Classifier, GiveSignalsBack, measure

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def execute(planned: Planned, execution: Execution) -> Record:
    """Train one network, measure it, write its record and return it; a run that has a record is not trained again."""
    run = planned.run
    if (record := read_record(execution.runs, run)) is not None:
        return record
    started = time.perf_counter()
    torch.set_num_threads(execution.threads)
    device = pick_device(execution.accelerator)
    splits = load(run.data, run.network.pixels, execution.cache, run.evaluate)
    check_digest(run.data, splits.digest, execution.runs)
    config = {name: dataclasses.asdict(getattr(run, name)) for name in ("network", "recipe", "data")} | {"evaluate": run.evaluate}
    config["data"] |= run.data.identity()
    tracker = Tracker(planned, execution, config | {"seed": run.seed, "cost": planned.arm.cost})
    record = None
    try:
        record = _train(planned, execution, device, splits, tracker, config, started)
        write_record(execution.runs, record)
    finally:
        tracker.finish(None if record is None else _summary(record))
    return record


def _summary(record: Record) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    return {name: values[name] for name in ("status", "macs", "params", "activations", "accuracy", "val_accuracy", "train_accuracy", "seconds")}


def _train(
    planned: Planned, execution: Execution, device: torch.device, splits: Splits, tracker: Tracker, config: dict[str, Any], started: float
) -> Record:
    run, recipe = planned.run, planned.run.recipe
    torch.manual_seed(run.seed)
    net = ConvNet(run.network, recipe.norm_momentum, recipe.dropout, recipe.drop_path, recipe.zero_init)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train, validation = splits.train.to(device), splits.validation.to(device)
    trainer: pl.Trainer
    batches = Batches(train, recipe, run.seed, epoch=lambda: trainer.current_epoch)
    module = Classifier(net, recipe, len(batches), run.seed)
    averaging = Averaging(recipe.ema) if recipe.ema else None
    watch = _Watch(planned, execution, validation, averaging, tracker)
    trainer = pl.Trainer(
        max_epochs=recipe.epochs,
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        gradient_clip_val=recipe.clip or None,
        callbacks=[*([averaging] if averaging else []), watch, GiveSignalsBack()],
        plugins=[LightningEnvironment()],
        logger=tracker.logger or False,
        log_every_n_steps=len(batches),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        default_root_dir=str(execution.runs / run.id),
    )
    fit_started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")  # Lightning 2.6 on torch 2.13, harmless
        trainer.fit(module, batches)
    seconds = time.perf_counter() - fit_started - watch.seconds
    module.to(device)
    final = {name: measure(net, images, recipe.precision) for name, images in (("val", validation), ("train", train.head(len(validation))))}
    if splits.evaluation is not None:
        final["evaluation"] = measure(net, splits.evaluation.to(device), recipe.precision)
    watch.row(module, trainer.current_epoch, final["val"])
    accuracy, loss = final.get("evaluation", (None, None))
    counted, real = cost(run.network), planned.point.realised
    return Record(
        run_id=run.id,
        status="diverged" if module.diverged else "done",
        cost=planned.arm.cost,
        depth=real.depth,
        width=real.width,
        resolution=real.resolution,
        macs=counted.macs,
        params=counted.params,
        activations=counted.activations,
        seed=run.seed,
        epochs=recipe.epochs,
        accuracy=accuracy,
        val_accuracy=final["val"][0],
        train_accuracy=final["train"][0],
        loss=finite(loss),
        val_loss=finite(final["val"][1]),
        train_loss=finite(final["train"][1]),
        seconds=seconds,
        total_seconds=time.perf_counter() - started,
        images_per_second=trainer.global_step * recipe.batch_size / seconds,
        peak_memory=peak_memory(device),
        device=device_name(device),
        threads=execution.threads,
        config=config,
        history=tuple(watch.history),
        data_digest=splits.digest,
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class _Watch(Callback):
    """At epoch ends: history, progress.json for whoever looks, and W&B; validation every few epochs, on the averaged weights."""

    def __init__(self, planned: Planned, execution: Execution, validation: Any, averaging: Averaging | None, tracker: Tracker) -> None:
        self.planned, self.validation, self.averaging, self.tracker = planned, validation, averaging, tracker
        self.path = execution.runs / planned.run.id / "progress.json"
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        started, epoch, recipe = time.perf_counter(), trainer.current_epoch + 1, self.planned.run.recipe
        module.close_epoch()
        if epoch < recipe.epochs and not module.diverged:  # the final epoch is measured after the fit
            due = epoch % recipe.validate_every == 0
            net = self.averaging.network if self.averaging else module.net
            self.row(module, epoch, measure(net, self.validation, recipe.precision) if due else None)
        self.seconds += time.perf_counter() - started

    def row(self, module: Any, epoch: int, validation: tuple[float, float] | None) -> None:
        """One row of history at the end of `epoch`."""
        run = self.planned.run
        flops = training_flops(run.network, epoch * module.steps_per_epoch * run.recipe.batch_size)
        row = {"epoch": epoch, "flops": flops, "train/loss": finite(module.train_loss), "train/accuracy": module.train_accuracy}
        if validation:
            row |= {"val/accuracy": validation[0], "val/loss": finite(validation[1])}
        self.history.append(row)
        with contextlib.suppress(OSError):  # only a view; the record is what must be written
            write_json(self.path, {"label": self.planned.label, "epochs": run.recipe.epochs, **row})
        self.tracker.epoch({name: value for name, value in row.items() if value is not None})


def finite(value: float | None) -> float | None:
    """JSON has no NaN: a loss that is not finite is written as null, and the status says diverged."""
    return value if value is not None and math.isfinite(value) else None


def pick_device(accelerator: str) -> torch.device:
    """The device of a run; raises ValueError for gpu where there is none."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError("accelerator=gpu: torch sees no CUDA device here; take accelerator=cpu or auto")
    return torch.device("cuda", 0) if accelerator != "cpu" and torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's allocator at its peak, or the process' resident set at its peak (of all its runs, where it had several)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@lru_cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {name: importlib.metadata.version(name) for name in ("torch", "pytorch-lightning", "numpy")}
    return {"python": platform.python_version(), **found}


@lru_cache
def commit() -> str | None:
    """The git commit of the code, with `+` where the tree differs from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
