"""Weights & Biases through Lightning's logger: a view of a run. Records are the truth; nothing is read back from here."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ablation.config import Execution
from ablation.study import Planned

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

log = logging.getLogger(__name__)


class Tracker:
    """One W&B run per training, or none; a W&B that is missing, full or away is reported once and never stops a run."""

    def __init__(self, planned: Planned, execution: Execution, config: Mapping[str, Any]) -> None:
        self.logger: WandbLogger | None = None
        if execution.wandb != "disabled":
            self._try(lambda: self._start(planned, execution, config))

    def _start(self, planned: Planned, execution: Execution, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb  # a second of start-up, so only where it is used
        from pytorch_lightning.loggers import WandbLogger

        folder = execution.runs / planned.run.id
        folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            name=planned.label,
            id=planned.run.id,
            project=execution.project,
            group=planned.arm.name,
            dir=str(folder),
            mode=execution.wandb,  # type: ignore[arg-type]
            resume="allow",
            reinit="finish_previous",
            config=dict(config) | {"rule": planned.arm.name, "phi": planned.arm.phi},
        )
        logger = WandbLogger(experiment=run)
        for metrics, axis in (("train/*", "epoch"), ("val/*", "flops"), ("accuracy", "macs")):
            run.define_metric(axis)
            run.define_metric(metrics, step_metric=axis)
        self.logger = logger

    def _try(self, action: Any) -> None:
        try:
            action()
        except Exception as error:
            log.warning("W&B is left out of this run: %s; wandb.mode=disabled silences this", error)
            self.logger = None

    def epoch(self, values: Mapping[str, float]) -> None:
        """One row of history; `epoch` and `flops` (training FLOPs so far) are its axes."""
        if self.logger:
            self._try(lambda: self.logger.log_metrics(dict(values)))

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Write the summary, so that accuracy is plotted against macs over runs, and close; in any case close."""
        if self.logger is None:
            return
        run = self.logger.experiment
        if summary is not None:
            accuracy = {"macs": summary["macs"], "accuracy": summary["accuracy"]} if summary.get("accuracy") is not None else {}
            self._try(lambda: (run.log(accuracy) if accuracy else None, run.summary.update(dict(summary))))
        self._try(lambda: run.finish(exit_code=0 if summary is not None else 1))
