"""What is kept at the end of each epoch, and shown while it goes on."""

import contextlib
import math
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ablation.images.splits import Images, Streamed
from ablation.runs.arms import Planned
from ablation.runs.config import Execution
from ablation.runs.files import write_json
from ablation.runs.records import checkpoint_path
from ablation.theory.cost import training_flops
from ablation.train.classifier import Averaging, measure
from ablation.train.devices import Place
from ablation.train.tracking import Tracker

EVERY = 1.0  # seconds between two looks within an epoch


class Watch(Callback):
    """At epoch ends: history, a checkpoint, progress.json for whoever looks, and W&B; validation every few
    epochs, on the averaged weights. Within an epoch progress.json alone, once a second at most.

    seconds: spent in training epochs, those before a resume included. began: seconds from the start of this
    process' run to its first step.
    """

    def __init__(
        self,
        planned: Planned,
        execution: Execution,
        place: Place,
        validation: Images | Streamed,
        averaging: Averaging | None,
        tracker: Tracker,
        started: float,
    ) -> None:
        self.planned = planned
        self.place = place
        self.validation = validation
        self.averaging = averaging
        self.tracker = tracker
        self.progress = execution.runs / planned.run.id / "progress.json"
        self.checkpoint = checkpoint_path(execution.runs, planned.run.id)
        self.history: list[dict[str, Any]] = []
        self.seconds, self.before, self.started = 0.0, 0.0, started
        self.began, self.steps, self.due = 0.0, 1, math.inf

    def total_seconds(self) -> float:
        """Since the run began, without the time in which it was stopped."""
        return self.before + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "seconds": self.seconds, "before": self.total_seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.seconds = state["seconds"]
        self.before = state["before"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.began = time.perf_counter() - self.started
        self.steps, self.due = module.steps_per_epoch, time.monotonic() + EVERY
        # After a resume; W&B may have lost what it had not written yet.
        for row in self.history[:-1]:
            self.track(row)
        self.publish()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.epoch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + EVERY
            self.show((index + 1) // trainer.accumulate_grad_batches, durable=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        recipe = self.planned.run.recipe
        module.close_epoch()
        self.seconds += time.perf_counter() - self.epoch_started
        self.history.append(self.row(module, epoch))
        over = epoch == recipe.epochs or module.diverged  # the last epoch is measured after the fit
        if epoch % recipe.validate_every == 0 and not over:
            net = self.averaging.network if self.averaging else module.net
            self.validated(measure(net, self.validation, recipe.precision))
        # A run that diverged is over; stopped before its record, it repeats its last epoch.
        if not module.diverged:
            trainer.save_checkpoint(self.checkpoint)
        if not over:
            self.publish()

    def row(self, module: Any, epoch: int) -> dict[str, Any]:
        """What history says of one epoch; flops: training FLOPs up to its end."""
        run = self.planned.run
        flops = training_flops(run.network, epoch * module.steps_per_epoch * run.recipe.batch_size)
        return {
            "epoch": epoch,
            "flops": flops,
            "train/loss": finite(module.train_loss),
            "train/accuracy": module.train_accuracy,
        }

    def validated(self, validation: tuple[float, float]) -> None:
        """Accuracy and loss on the validation images join the newest row."""
        self.history[-1] |= {"val/accuracy": validation[0], "val/loss": finite(validation[1])}

    def finish(self, validation: tuple[float, float]) -> None:
        """The last row, measured after the fit."""
        self.validated(validation)
        self.publish()

    def publish(self) -> None:
        """Show the newest row to whoever looks, and to W&B."""
        self.show()
        if self.history and self.place.first:
            self.track(self.history[-1])

    def show(self, step: int = 0, durable: bool = True) -> None:
        """Write the newest row, and how many steps of the epoch after it are done, for whoever looks."""
        if not self.place.first:
            return
        row = self.history[-1] if self.history else {"epoch": 0}
        about = {
            "label": self.planned.label,
            "host": platform.node(),
            "pid": os.getpid(),
            "began": self.began,
            "seconds": self.total_seconds(),
            "step": step,
            "steps": self.steps,
            "epochs": self.planned.run.recipe.epochs,
        }
        with contextlib.suppress(OSError):  # only a view; the record is what must be written
            write_json(self.progress, about | row, durable=durable)

    def track(self, row: Mapping[str, Any]) -> None:
        """One row for W&B."""
        self.tracker.epoch({name: value for name, value in row.items() if value is not None})


def finite(value: float | None) -> float | None:
    """JSON has no NaN: a loss that is not finite is written as null, and the status says diverged."""
    return value if value is not None and math.isfinite(value) else None
