"""One run: plan in, record out."""

import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.plugins.environments import LightningEnvironment

from ablation.images.batches import Batches
from ablation.images.cache import check_digest
from ablation.images.splits import Splits, load
from ablation.runs.arms import Planned
from ablation.runs.config import Execution, Run
from ablation.runs.records import Record, checkpoint_path, weights_path, write_record
from ablation.runs.states import finished, hold
from ablation.theory.cost import cost
from ablation.train.checkpoints import Atomic, resumable, save
from ablation.train.classifier import Averaging, Classifier, GiveSignalsBack, measure, synchronised
from ablation.train.devices import Place, device_name, devices_of, image_room, peak_memory, readers, settle
from ablation.train.model import ConvNet
from ablation.train.processes import together
from ablation.train.tracking import Tracker
from ablation.train.watch import Watch, finite

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


class OutOfMemory(RuntimeError):
    """A run needs more memory than there is."""


def execute(planned: Planned, execution: Execution, wait: bool = False) -> Record:
    """Train one network, measure it, write its record and return it; resumes from a checkpoint, and a run that is done is not trained again.

    Raises Busy where another process trains this run; with `wait` its record is waited for. Raises OutOfMemory where a GPU or the machine
    has too little.
    """
    if record := finished(execution, planned.run):
        return record
    with hold(execution.runs, planned.run.id, wait):
        if record := finished(execution, planned.run):  # by whoever had the lock
            return record
        for draft in (execution.runs / planned.run.id).glob(".*"):  # of a process that was killed while it wrote
            draft.unlink()
        with devices_of(execution) as devices:
            return (_attempt if len(devices) == 1 else _together)(planned, execution, Place(devices))


def _together(planned: Planned, execution: Execution, place: Place) -> Record:
    """One run over several devices: a fresh process for each, from which Lightning makes one group."""
    port = find_free_network_port()
    places = [dataclasses.replace(place, rank=rank) for rank in range(len(place.devices))]
    return together(_member, [(planned, execution, member, port) for member in places])[0]


def _member(planned: Planned, execution: Execution, place: Place, port: int) -> Record:
    os.environ |= {"LOCAL_RANK": str(place.rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    record = _attempt(planned, execution if place.first else dataclasses.replace(execution, wandb="disabled"), place)
    torch.distributed.destroy_process_group()
    return record


@contextlib.contextmanager
def _memory_in_words(run: Run) -> Iterator[None]:
    """Out of memory is said with what asked for it and the way out: the batch is never made smaller silently."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's CPU allocator raises a plain RuntimeError
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        where = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        asked = f"recipe.batch_size={run.recipe.batch_size} at {run.network.pixels} px"
        ways = "a smaller recipe.batch_size for every run of the study, or fewer runs at once (hydra.launcher.n_jobs=..., gpu_memory=...)"
        raise OutOfMemory(f"{where} ran out of memory with {asked}; take {ways}") from error


def _attempt(planned: Planned, execution: Execution, place: Place) -> Record:
    started, run = time.perf_counter(), planned.run
    settle(execution.threads)
    with _memory_in_words(run):
        room, beside = image_room(execution, place.device), readers(execution)
        splits = load(run.data, run.network.pixels, execution.cache, run.evaluate, room, beside)
    check_digest(run.data, splits.digest, execution.runs)
    config = {name: dataclasses.asdict(getattr(run, name)) for name in ("network", "recipe", "data")} | {"evaluate": run.evaluate}
    config["data"] |= run.data.identity()
    tracker = Tracker(planned, execution, config | {"seed": run.seed, "cost": planned.arm.cost})
    record = None
    try:
        with _memory_in_words(run):
            record = _train(planned, execution, place, splits, tracker, config, started)
        if place.first:
            write_record(execution.runs, record)
            checkpoint_path(execution.runs, run.id).unlink(missing_ok=True)
    finally:
        tracker.finish(record)
    return record


def _train(planned: Planned, execution: Execution, place: Place, splits: Splits, tracker: Tracker, config: dict[str, Any], started: float) -> Record:
    run, recipe, device, ranks = planned.run, planned.run.recipe, place.device, len(place.devices)
    torch.manual_seed(run.seed)
    net = ConvNet(run.network, recipe.norm_momentum, recipe.dropout, recipe.drop_path, recipe.zero_init)
    if ranks > 1:
        net = synchronised(net, device)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train, validation = splits.train.to(device), splits.validation.to(device)
    trainer: pl.Trainer
    batches = Batches(train, recipe, run.seed, epoch=lambda: trainer.current_epoch, rank=place.rank, ranks=ranks)
    module = Classifier(net, recipe, len(batches), run.seed)
    averaging = Averaging(recipe.ema) if recipe.ema else None
    watch = Watch(planned, execution, place, validation, averaging, tracker, started)
    with quiet():
        trainer = pl.Trainer(
            max_epochs=recipe.epochs,
            accelerator=device.type,
            devices=[one.index for one in place.devices] if device.type == "cuda" else ranks,
            strategy="ddp" if ranks > 1 else "auto",
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            gradient_clip_val=recipe.clip or None,
            callbacks=[*([averaging] if averaging else []), watch, GiveSignalsBack()],
            benchmark=device.type == "cuda",  # every batch has one shape
            plugins=[LightningEnvironment(), Atomic()],
            logger=tracker.logger or False,
            log_every_n_steps=len(batches),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            default_root_dir=str(execution.runs / run.id),
        )
        trainer.fit(module, batches, ckpt_path=resumable(watch.checkpoint), weights_only=True)
    net = (averaging.network if averaging else net).to(device)  # not the module's: a run resumed after its last epoch never gets the averages back
    final = {name: measure(net, images, recipe.precision) for name, images in (("val", validation), ("train", train.head(len(validation))))}
    if splits.evaluation is not None:
        final["evaluation"] = measure(net, splits.evaluation.to(device), recipe.precision)
    watch.finish(final["val"])
    if execution.keep_weights and place.first:
        save(net.state_dict(), weights_path(execution.runs, run.id))
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
        seconds=watch.seconds,
        total_seconds=watch.total_seconds(),
        images_per_second=trainer.global_step * recipe.batch_size / watch.seconds,
        peak_memory=peak_memory(device),
        device=device_name(device),
        devices=ranks,
        threads=execution.threads,
        config=config,
        history=tuple(watch.history),
        data_digest=splits.digest,
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's harmless warnings: on torch 2.13 it asks a tree the old way; and it wants srun, which submitit has used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
        warnings.filterwarnings("ignore", message=".*`srun` command is available")
        yield


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
