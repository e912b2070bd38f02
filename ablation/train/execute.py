"""One run: plan in, record out."""

import contextlib
import dataclasses
import importlib.metadata
import logging
import math
import os
import platform
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment

from ablation.images.batches import Batches, standard
from ablation.images.cache import check_digest
from ablation.images.splits import Splits, load_for
from ablation.runs.answers import packed
from ablation.runs.arms import Planned
from ablation.runs.config import Execution, Run
from ablation.runs.records import Record, checkpoint_path, weights_path, write_record
from ablation.runs.states import finished, hold
from ablation.theory.cost import cost
from ablation.train.checkpoints import Checkpoints, save
from ablation.train.classifier import Averaging, Classifier, GiveSignalsBack, answers, synchronised
from ablation.train.devices import (
    Place,
    device_name,
    devices_of,
    image_room,
    peak_memory,
    readers,
    settle,
)
from ablation.train.model import net_of, refuse_corrupting
from ablation.train.processes import together
from ablation.train.start import begin
from ablation.train.tracking import Tracker
from ablation.train.watch import Watch, finite

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


class OutOfMemory(RuntimeError):
    """A run needs more memory than there is."""


def execute(planned: Planned, execution: Execution, wait: bool = False) -> Record:
    """Train one network, measure it, write its record and return it; resumes from a checkpoint, and a run
    that is done is not trained again.

    Raises Busy where another process trains this run; with `wait` its record is waited for. Raises
    OutOfMemory where a GPU or the machine has too little.
    """
    if record := finished(execution, planned.run):
        return record
    with hold(execution.runs, planned.run.id, wait):
        if record := finished(execution, planned.run):  # by whoever had the lock
            return record
        folder = execution.runs / planned.run.id
        for draft in folder.glob(".*"):  # of a process that was killed while it wrote
            draft.unlink()
        with devices_of(execution) as devices:
            attempt = _attempt if len(devices) == 1 else _together
            return attempt(planned, execution, Place(devices))


def _together(planned: Planned, execution: Execution, place: Place) -> Record:
    """One run over several devices: a fresh process for each, from which Lightning makes one group."""
    port = find_free_network_port()
    places = [dataclasses.replace(place, rank=rank) for rank in range(len(place.devices))]
    return together(_member, [(planned, execution, member, port) for member in places])[0]


def _member(planned: Planned, execution: Execution, place: Place, port: int) -> Record:
    if "SLURM_JOB_ID" in os.environ:
        _deaf_to(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    os.environ |= {
        "LOCAL_RANK": str(place.rank),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if not place.first:
        execution = dataclasses.replace(execution, wandb="disabled", logger=None)
    record = _attempt(planned, execution, place)
    torch.distributed.destroy_process_group()
    return record


def _deaf_to(*numbers: signal.Signals) -> None:
    """Slurm warns every process of a job, before a preemption and its time limit: the one that started this
    one answers for all, and whatever ends that ends this."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _memory_in_words(run: Run) -> Iterator[None]:
    """Out of memory is said with what asked for it and the way out: the batch is never made smaller
    silently."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _for_want_of_memory(error):
            raise
        where = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        asked = f"recipe.batch_size={run.recipe.batch_size} at {run.network.pixels} px"
        fewer = "fewer runs at once (hydra.launcher.n_jobs=..., gpu_memory=...)"
        less = "a smaller recipe.batch_size for every run of the study, or its batches in parts"
        ways = f"{less} (recipe.accumulate=2), or {fewer}"
        raise OutOfMemory(f"{where} ran out of memory with {asked}; take {ways}") from error


def _for_want_of_memory(error: BaseException) -> bool:
    """torch's allocator on the CPU, and oneDNN's, raise a plain RuntimeError."""
    said = ("can't allocate memory", "could not create a primitive")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        text in str(error) for text in said
    )


def _attempt(planned: Planned, execution: Execution, place: Place) -> Record:
    started, run = time.perf_counter(), planned.run
    # Lightning took it from the environment, which may be another launcher's.
    rank_zero_only.rank = place.rank
    settle(execution.threads)
    with _memory_in_words(run):
        room = image_room(execution, place.device)
        splits = load_for(run, execution.cache, room, readers(execution))
    check_digest(run.data, splits.digest, execution.runs, run.recipe.from_original)
    config = {
        "network": dataclasses.asdict(run.network),
        "recipe": dataclasses.asdict(run.recipe),
        "data": dataclasses.asdict(run.data) | run.data.identity(),
        "evaluate": run.evaluate,
        **({"init": run.init.told} if run.init else {}),
    }
    tracker = Tracker(planned, execution, config | {"seed": run.seed, "cost": planned.arm.cost})
    config["images"] = {**splits.told, **standard()}
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


def _train(
    planned: Planned,
    execution: Execution,
    place: Place,
    splits: Splits,
    tracker: Tracker,
    config: dict[str, Any],
    started: float,
) -> Record:
    """Fit, then measure what was fitted."""
    run, recipe, device = planned.run, planned.run.recipe, place.device
    torch.manual_seed(run.seed)
    net = net_of(run)
    refuse_corrupting(net, recipe, device)
    if run.init:
        assert planned.origin is not None
        begin(net, run.network, planned.origin.network, run.init)
    if len(place.devices) > 1:
        net = synchronised(net, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train = splits.train.to(device)
    validation = splits.validation.to(device)
    trainer: pl.Trainer
    batches = Batches(
        train,
        recipe,
        run.seed,
        epoch=lambda: trainer.current_epoch,
        rank=place.rank,
        ranks=len(place.devices),
    )
    module = Classifier(net, recipe, batches.steps, run.seed)
    averaging = Averaging(recipe.ema) if recipe.ema else None
    watch = Watch(planned, execution, place, validation, averaging, tracker, started)
    callbacks = [averaging] if averaging else []
    with quiet():
        trainer = trainer_for(run, execution, place, [*callbacks, watch], tracker, batches.steps)
        last = Checkpoints(run.id, len(place.devices)).resumable(watch.checkpoint)
        trainer.fit(module, batches, ckpt_path=last, weights_only=True)
    # Not the module's: a run resumed after its last epoch never gets the averages back.
    net = (averaging.network if averaging else net).to(device)
    images = {"validation": validation, "train": train.head(len(validation))}
    if splits.evaluation is not None:
        images["evaluation"] = splits.evaluation.to(device)
    found = {name: answers(net, each, recipe.precision) for name, each in images.items()}
    final = {name: (right.mean().item(), loss) for name, (right, loss) in found.items()}
    lost = not all(math.isfinite(loss) for _, loss in final.values())  # by the very last step
    watch.finish(final["validation"])
    if execution.keep_weights and place.first:
        save(net.state_dict(), weights_path(execution.runs, run.id))
    return record_of(
        planned,
        final,
        watch,
        config=config,
        status="diverged" if module.diverged or lost else "done",
        images_per_second=trainer.global_step * recipe.batch_size / watch.seconds,
        peak_memory=peak_memory(device),
        device=device_name(device),
        devices=len(place.devices),
        threads=execution.threads,
        data_digest=splits.digest,
        answers={name: packed(found[name][0], key) for name, key in splits.keys.items()},
    )


def trainer_for(
    run: Run,
    execution: Execution,
    place: Place,
    callbacks: Sequence[Callback],
    tracker: Tracker,
    steps: int,
) -> pl.Trainer:
    """Lightning's trainer of a run, `steps` an epoch; checkpoints, progress and signals are ours."""
    on_gpu = place.device.type == "cuda"
    ranks = len(place.devices)
    return pl.Trainer(
        max_epochs=run.recipe.epochs,
        accelerator=place.device.type,
        devices=[device.index for device in place.devices] if on_gpu else ranks,
        strategy="ddp" if ranks > 1 else "auto",
        precision="bf16-mixed" if run.recipe.precision == "bf16" else "32-true",
        gradient_clip_val=run.recipe.clip or None,
        accumulate_grad_batches=run.recipe.accumulate,
        callbacks=[*callbacks, GiveSignalsBack()],
        benchmark=on_gpu,  # every batch has one shape
        plugins=[LightningEnvironment(), Checkpoints(run.id, ranks)],
        logger=tracker.logger or False,
        log_every_n_steps=steps,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        default_root_dir=str(execution.runs / run.id),
    )


def record_of(
    planned: Planned,
    final: Mapping[str, tuple[float, float]],
    watch: Watch,
    **others: Any,
) -> Record:
    """What a run was and came to: (accuracy, loss) of each split, what was seen on the way, and the other
    fields by name."""
    run, real = planned.run, planned.point.realised
    counted = cost(run.network)
    accuracy, loss = final.get("evaluation", (None, None))
    val_accuracy, val_loss = final["validation"]
    train_accuracy, train_loss = final["train"]
    return Record(
        run_id=run.id,
        cost=planned.arm.cost,
        depth=real.depth,
        width=real.width,
        resolution=real.resolution,
        macs=counted.macs,
        params=counted.params,
        activations=counted.activations,
        seed=run.seed,
        epochs=run.recipe.epochs,
        accuracy=accuracy,
        val_accuracy=val_accuracy,
        train_accuracy=train_accuracy,
        loss=finite(loss),
        val_loss=finite(val_loss),
        train_loss=finite(train_loss),
        seconds=watch.seconds,
        total_seconds=watch.total_seconds(),
        history=tuple(watch.history),
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        **others,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's harmless warnings: on torch 2.13 it asks a tree the old way; and it wants srun,
    which submitit has used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
        warnings.filterwarnings("ignore", message=".*`srun` command is available")
        yield


@lru_cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {
        name: importlib.metadata.version(name) for name in ("torch", "pytorch-lightning", "numpy")
    }
    return {"python": platform.python_version(), **found}


@lru_cache
def commit() -> str | None:
    """The git commit of the code, with `+` where the tree differs from it; None outside a checkout.

    Looks without a lock: a person may be committing, and a run that is killed would leave it behind.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None
