"""Train: one network, a multirun (-m) or a study.

python -m ablation.run scaling=compound phi=2
python -m ablation.run -m cost=matched scaling=depth,width phi=0,1,2 seed=0,1,2
python -m ablation.run study=quick
"""

import os
import shlex
import sys
import traceback
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ablation.command.completion import completion
from ablation.command.compose import execution
from ablation.command.ends import Interrupted, end_at_once, enduring, interrupt, on_signals
from ablation.command.errors import one_line
from ablation.command.overrides import arguments
from ablation.command.planning import single
from ablation.command.progress import Progress
from ablation.command.shipped import CONF
from ablation.command.storing import announce, stores
from ablation.command.sweep import ELSEWHERE, Incomplete
from ablation.door import about, fail, in_utf8, register
from ablation.runs.arms import Planned, starts
from ablation.runs.config import Execution
from ablation.runs.records import Record, record_path, weights_path
from ablation.runs.states import Busy, finished, forgive, held, leave_reason
from ablation.theory.cost import cost
from ablation.train.tracking import check_logger

# Of the single run of this process: Hydra would print more than one line about it.
_faults: list[BaseException] = []


def job(cfg: DictConfig) -> str | None:
    """Train one run; returns what went wrong in one line, None for nothing. In a sweep the parent does the
    talking."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        # Where the command was given: Ray's workers start elsewhere.
        os.chdir(HydraConfig.get().runtime.cwd)
        if cfg.study.name and not sweeping:
            raise ValueError(
                f"study={cfg.study.name} is many runs: give -m, or let its file say hydra: {{mode: MULTIRUN}}"
            )
        entry, found = single(cfg)
        where = execution(cfg)
        check_logger(where.logger)
        if cfg.expect and cfg.expect != entry.run.id:
            raise ValueError(
                f"{entry.label} was planned as {cfg.expect}, is now {entry.run.id}: a file changed "
                "meanwhile; start the command again"
            )
        if not sweeping:
            on_signals(interrupt)
            left = [] if finished(where, entry.run) else [(entry, found)]
            for said in filter(None, [found.said, *starts([entry])]):
                print(said, flush=True)
            announce(stores(left, where.cache), where.cache)
        _attempt(entry, where, _train if sweeping else _train_and_tell)
    except Busy:
        return ELSEWHERE
    except Exception as error:
        if not sweeping:
            _faults.append(error)
        return one_line(error)
    return None


def _attempt(entry: Planned, where: Execution, train: Callable[[Planned, Execution], None]) -> None:
    """Train, and where that fails leave the reason in the run's folder."""
    forgive(where.runs, entry.run.id)
    try:
        train(entry, where)
    except Exception as error:
        if not isinstance(error, Busy):
            leave_reason(where.runs, entry.run.id, one_line(error), traceback.format_exc())
        raise


def _train(entry: Planned, where: Execution) -> None:
    from ablation.train.execute import execute  # torch, only where something is trained

    execute(entry, where)


def _train_and_tell(entry: Planned, where: Execution) -> None:
    from ablation.train.execute import execute

    print(
        f"{entry.label}: {entry.run.network.pixels} px, {cost(entry.run.network).macs:,} MACs, run "
        f"{entry.run.id}",
        flush=True,
    )
    if held(where.runs, entry.run.id):
        print("another command is training it: waiting for its record", flush=True)
    with Progress([entry], where):
        record = execute(entry, where, wait=True)
    weights = str(weights_path(where.runs, entry.run.id)) if where.keep_weights else ""
    print(result(entry, record, str(record_path(where.runs, entry.run.id)), weights))


def result(entry: Planned, record: Record, path: str, weights: str = "") -> str:
    """The readable result of one run; path, weights: where its record lies, and its weights if it has
    them."""
    network, real = entry.run.network, entry.point.realised
    budget = (
        ""
        if entry.point.budget is None
        else f", {entry.point.budget_error:+.1%} off {entry.point.budget:.3g}x"
    )
    accuracy = (
        f"{record.accuracy:.1%} on the evaluation split, " if record.accuracy is not None else ""
    )
    rows = {
        "coefficients": (
            f"depth {real.depth:.3f}  width {real.width:.3f}  resolution {real.resolution:.3f}  "
            f"(cost={entry.arm.cost}{budget})"
        ),
        "depths": " ".join(map(str, network.layers)),
        "widths": " ".join(map(str, network.widths)),
        "pixels": f"{network.pixels}",
        "MACs": f"{record.macs:,}",
        "parameters": f"{record.params:,}",
        "accuracy": (
            f"{accuracy}{record.val_accuracy:.1%} validation, {record.train_accuracy:.1%} train "
            f"({record.status})"
        ),
        "seconds": f"{record.seconds:.1f} training, {record.total_seconds:.1f} in all",
        "images/s": f"{record.images_per_second:,.0f}",
        "record": path,
        **({"weights": weights} if weights else {}),
        "next": next_command(entry),
    }
    return "\n".join([entry.label, *(f"  {name:<13} {value}" for name, value in rows.items())])


def next_command(entry: Planned) -> str:
    """What tells whether a network is better than its baseline: both with three seeds, in the words of this
    command."""
    given = HydraConfig.get().overrides
    settled = ("phi", "seed", "devices", "expect")
    kept = [word for word in given.task if word.split("=")[0] not in settled]
    kept += [word for word in given.hydra if word.startswith("hydra.searchpath=")]
    phis = [f"phi=0,{entry.arm.phi or 1:g}"] if entry.arm.phi is not None else []
    return shlex.join(["python", "-m", "ablation.run", "-m", *kept, *phis, "seed=0,1,2"])


def main() -> None:
    """Entry point; Hydra's own flags (--help, --cfg job, -m) work as usual."""
    in_utf8()
    register()
    trace = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the door prints one line
    on_signals(end_at_once)
    try:
        with enduring():
            if told := about(sys.argv[1:]) or completion(sys.argv[1:]):
                print(told)
                return
            sys.argv[1:] = arguments(sys.argv[1:])
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
            if _faults:
                raise _faults[0]
    except Interrupted as stop:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(stop.status)
    except Incomplete as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)
    except Exception as error:
        if trace:
            raise
        fail(error)
    finally:
        on_signals(end_at_once)
        if trace is None:
            del os.environ["HYDRA_FULL_ERROR"]


if __name__ == "__main__":
    # A job sent to another process must not live in __main__.
    from ablation.run import (
        main as importable,
    )

    importable()
