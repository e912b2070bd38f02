"""Weights & Biases and, where one is chosen, another logger, through Lightning's: views of runs. Records are
the truth; nothing is read back from here."""

import importlib.util
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ablation.runs.arms import Planned
from ablation.runs.checks import first_line
from ablation.runs.config import Execution
from ablation.runs.records import Record

if TYPE_CHECKING:
    import wandb
    from pytorch_lightning.loggers import Logger, WandbLogger

# A second logger, and the packages of which it needs one.
LOGGERS: Mapping[str, tuple[str, ...]] = {
    "csv": (),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "mlflow": ("mlflow",),
}
PATIENCE = 2.0  # seconds for the server's first answer
# Of another agent or launcher: with these W&B would give our runs its identity.
FOREIGN = (
    *("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"),
    *("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_LAUNCH", "WANDB_TAGS", "WANDB_DIR"),
)
LIMIT = 10.0  # seconds that starting or ending an online run may take

log = logging.getLogger(__name__)


def check_logger(name: str | None) -> None:
    """Raises ValueError where the client of a second logger is not installed."""
    needs = LOGGERS[name] if name else ()
    if needs and not any(importlib.util.find_spec(package) for package in needs):
        raise ValueError(
            f"logger={name}: its client is not installed; pip install {needs[0]}, or take logger=csv, which "
            "needs none"
        )


class Tracker:
    """One W&B run per training, or none, and beside it what a second logger writes; one that is missing, full
    or away is said once and never stops or holds up a run.

    Its id is the run's, so that a resumed run goes on with its own; its steps are epochs, so that a repeated
    one changes nothing.
    """

    def __init__(self, planned: Planned, execution: Execution, config: Mapping[str, Any]) -> None:
        self.logger: WandbLogger | None = None
        self.second: Logger | None = None
        if execution.wandb != "disabled":
            self._try(lambda: self._start(planned, execution, config))
        if execution.logger:
            self._try_second(lambda: self._start_second(planned, execution, config))

    def _start(self, planned: Planned, execution: Execution, config: Mapping[str, Any]) -> None:
        from pytorch_lightning.loggers import WandbLogger

        run = begin(
            execution,
            execution.runs / planned.run.id,
            id=planned.run.id,
            name=planned.label,
            group=planned.rule,
            job_type="run",
            tags=tags(planned, execution.study),
            config=dict(config) | place(planned),
        )
        for metrics, axis in (("train/*", "epoch"), ("val/*", "flops")):
            run.define_metric(axis)
            run.define_metric(metrics, step_metric=axis)
        self.logger = WandbLogger(experiment=run)

    def _start_second(
        self, planned: Planned, execution: Execution, config: Mapping[str, Any]
    ) -> None:
        self.second = second(planned, execution)
        self.second.log_hyperparams(dict(config) | place(planned))

    def _try(self, action: Callable[[], Any]) -> None:
        if not attempt(action, "W&B is left out of this run"):
            self.logger = None

    def _try_second(self, action: Callable[[], Any]) -> None:
        way_out = "logger=null silences this"
        if not attempt(action, "the second logger is left out of this run", way_out):
            self.second = None

    def epoch(self, values: Mapping[str, float]) -> None:
        """One row of history; `epoch` and `flops` (training FLOPs so far) are its axes."""
        step = int(values["epoch"])
        if logger := self.logger:
            self._try(lambda: logger.experiment.log(dict(values), step=step))
        if other := self.second:
            self._try_second(lambda: other.log_metrics(dict(values), step=step))

    def finish(self, record: Record | None) -> None:
        """Write the summary, in which accuracy stands beside macs, and close; in any case close."""
        if logger := self.logger:
            run = logger.experiment
            if record is not None:
                self._try(lambda: run.summary.update(_summary(record)))
            self._try(lambda: run.finish(exit_code=0 if record is not None else 1))
        if other := self.second:
            self._try_second(lambda: _close(other, record))


def second(planned: Planned, execution: Execution) -> "Logger":
    """Lightning's logger of a run, begun anew: a run that goes on tells its whole history again."""
    from pytorch_lightning import loggers

    folder = execution.runs / planned.run.id
    if execution.logger == "mlflow":
        told = {"run": planned.run.id, "rule": planned.rule, "study": execution.study}
        beside = f"sqlite:///{execution.runs.absolute() / 'mlflow.db'}"
        where = os.environ.get("MLFLOW_TRACKING_URI") or beside
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        with FileLock(
            execution.runs / "mlflow.lock"
        ):  # of runs side by side each would make the tables
            found = loggers.MLFlowLogger(execution.project, planned.label, where, tags=told)
            _ = found.experiment
        return found
    shutil.rmtree(folder / str(execution.logger), ignore_errors=True)
    where = {"save_dir": folder, "name": "", "version": execution.logger}
    if execution.logger == "tensorboard":
        return loggers.TensorBoardLogger(**where, default_hp_metric=False)
    return loggers.CSVLogger(**where, flush_logs_every_n_steps=1)


def _close(logger: "Logger", record: Record | None) -> None:
    """Its last row, the numbers of a record, and its end."""
    if record is not None:
        numbers = {
            name: value
            for name, value in _summary(record).items()
            if isinstance(value, int | float)
        }
        logger.log_metrics(numbers, step=record.epochs)
    logger.finalize("success" if record is not None else "failed")


def tags(planned: Planned, study: str) -> list[str]:
    """By which a person finds a run: its study, rule, cost, data and phi. Another study that the run serves
    lists it in its own table."""
    arm = planned.arm
    phi = "" if arm.phi is None else f"phi {arm.phi:g}"
    named = (study, planned.rule, f"cost {arm.cost}", planned.run.data.name, phi)
    return [tag[:64] for tag in dict.fromkeys(filter(None, named))]


def place(planned: Planned) -> dict[str, Any]:
    """Where a run stands among others, in flat values to group and filter by: rule, coefficients as built,
    and costs as counted."""
    row = planned.row()
    short = {"d": "depth", "w": "width", "r": "resolution", "px": "pixels"}
    same = ("baseline", "setting", "phi", "macs", "params", "budget")
    shown = {name: row[name] for name in same} | {name: row[full] for name, full in short.items()}
    return shown | {"rule": planned.rule}


def _summary(record: Record) -> dict[str, Any]:
    names = (
        "status",
        "macs",
        "params",
        "activations",
        "accuracy",
        "val_accuracy",
        "train_accuracy",
        "seconds",
    )
    return {name: getattr(record, name) for name in names if getattr(record, name) is not None}


def begin(execution: Execution, folder: Path, **about: Any) -> "wandb.Run":
    """A W&B run that keeps its files in `folder`/wandb: offline, or online where the server takes it now;
    raises what W&B raises."""
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in FOREIGN:
        os.environ.pop(name, None)
    import wandb  # a second of start-up, so only where it is used

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=LIMIT,
        finish_timeout=LIMIT,
        x_stats_pid=os.getpid(),
    )
    about |= {
        "project": execution.project,
        "dir": str(folder),
        "resume": "allow",
        "reinit": "finish_previous",
        "settings": settings,
    }
    if execution.wandb == "online":
        try:
            check_server()
            return wandb.init(mode="online", **about)
        except Exception as error:
            log.warning(
                "W&B is written offline: %s; `make wandb-sync` uploads it later", first_line(error)
            )
            wandb.teardown()  # else it takes the id for one in use
    return wandb.init(mode="offline", **about)


def check_server() -> None:
    """Raises ConnectionError where the W&B server does not answer at once, or nobody is logged in."""
    import wandb

    server = wandb.setup().settings.base_url
    try:
        urllib.request.urlopen(server, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        pass  # an answer, whatever it says
    except OSError as error:
        raise ConnectionError(
            f"{server} does not answer ({getattr(error, 'reason', error)})"
        ) from error
    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError(
            f"nobody is logged in at {server}; `wandb login`, or set WANDB_API_KEY"
        )


def attempt(
    action: Callable[[], Any], loss: str, way_out: str = "wandb.mode=disabled silences this"
) -> bool:
    """Whether a view was written; it never stops anything, so what it raises is said in one line."""
    try:
        action()
    except Exception as error:
        log.warning("%s: %s; %s", loss, first_line(error), way_out)
        return False
    return True
