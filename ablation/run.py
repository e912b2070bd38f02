"""Train: one network, a multirun (-m) or a study.

python -m ablation.run scaling=compound phi=2
python -m ablation.run -m cost=matched scaling=depth,width phi=0,1,2 seed=0,1,2
python -m ablation.run study=quick
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ablation.compose import CONF, arguments, execution, fail, one_line, register
from ablation.cost import cost
from ablation.planning import plan, single
from ablation.progress import Progress
from ablation.records import Record, read_records, record_path
from ablation.study import Planned, pending

_faults: list[BaseException] = []  # of the single run of this process: Hydra would print more than one line about it


def job(cfg: DictConfig) -> str | None:
    """Train one run; returns what went wrong in one line, None for nothing. In a sweep the parent does the talking."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        entry = single(cfg)
        where = execution(cfg)
        if cfg.expect and cfg.expect != entry.run.id:
            raise ValueError(f"{entry.label} was planned as {cfg.expect}, is now {entry.run.id}: a file changed meanwhile; start the command again")
        from ablation.execute import execute  # torch, only where something is trained

        if sweeping:
            execute(entry, where)
        else:
            print(f"{entry.label}: {entry.run.network.pixels} px, {cost(entry.run.network).macs:,} MACs, run {entry.run.id}", flush=True)
            with Progress([entry], where.runs):
                record = execute(entry, where)
            print(result(entry, record, str(record_path(where.runs, entry.run.id))))
    except Exception as error:
        if not sweeping:
            _faults.append(error)
        return one_line(error)
    return None


def result(entry: Planned, record: Record, path: str) -> str:
    """The readable result of one run."""
    network, real = entry.run.network, entry.point.realised
    budget = "" if entry.point.budget is None else f", {entry.point.budget_error:+.1%} off {entry.point.budget:.3g}x"
    accuracy = f"{record.accuracy:.1%} on the evaluation split, " if record.accuracy is not None else ""
    rows = {
        "coefficients": f"depth {real.depth:.3f}  width {real.width:.3f}  resolution {real.resolution:.3f}  (cost={entry.arm.cost}{budget})",
        "depths": " ".join(map(str, network.layers)),
        "widths": " ".join(map(str, network.widths)),
        "pixels": f"{network.pixels}",
        "MACs": f"{record.macs:,}",
        "parameters": f"{record.params:,}",
        "accuracy": f"{accuracy}{record.val_accuracy:.1%} validation, {record.train_accuracy:.1%} train ({record.status})",
        "seconds": f"{record.seconds:.1f} training, {record.total_seconds:.1f} in all",
        "images/s": f"{record.images_per_second:,.0f}",
        "record": path,
    }
    return "\n".join([entry.label, *(f"  {name:<13} {value}" for name, value in rows.items())])


def sweep(words: list[str], launch: Callable[[Sequence[Sequence[str]]], Sequence[Any]]) -> None:
    """Train what a study or `-m` overrides ask for and no record answers yet, through Hydra's launcher.

    Success is read from the records, never from exit states. Raises RuntimeError, naming what is missing, after everything that could
    be done is done.
    """
    wanted = plan(words)
    runs = {entry.run.id: entry.run for entry in wanted.planned}
    done = read_records(wanted.execution.runs, runs.values())
    left = pending(wanted.planned, done)
    print(f"{wanted.name}: {len(runs)} runs, {len(done)} done, {len(left)} to train", flush=True)
    faults: dict[str, str] = {}
    if left:
        overrides = {job.planned.run.id: job.overrides for job in wanted.jobs}
        with Progress(left, wanted.execution.runs):
            returns = launch([list(overrides[entry.run.id]) for entry in left])
        faults = {entry.label: fault for entry, returned in zip(left, returns, strict=True) if (fault := _fault(returned))}
        done = read_records(wanted.execution.runs, runs.values())
    missing = sorted({entry.label for entry in wanted.planned if entry.run.id not in done})
    if missing:
        named = ", ".join([*missing[:6], *(["..."] if len(missing) > 6 else [])])
        reasons = [f"{label}: {fault}" for label, fault in sorted(faults.items())[:3]]
        ending = ["the same command trains only these"]
        raise RuntimeError("; ".join([f"{len(missing)} of {len(runs)} runs are missing ({named})", *reasons, *ending]))
    multirun = "-m " if wanted.name == "sweep" else ""
    print(f"{len(runs)} of {len(runs)} runs done; figures and table: python -m ablation.report {multirun}{wanted.command}")


def _fault(returned: Any) -> str | None:
    try:
        return returned.return_value
    except Exception as error:
        return one_line(error)


def main() -> None:
    """Entry point; Hydra's own flags (--help, --cfg job, -m) work as usual."""
    register()
    sys.argv[1:] = arguments(sys.argv[1:])
    trace = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the door prints one line
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
        if _faults:
            raise _faults[0]
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, the same command goes on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if trace:
            raise
        fail(error)


if __name__ == "__main__":
    from ablation.run import main as importable  # a job sent to another process must not live in __main__

    importable()
