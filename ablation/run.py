"""Train: one network, a multirun (-m) or a study.

python -m ablation.run scaling=compound phi=2
python -m ablation.run -m cost=matched scaling=depth,width phi=0,1,2 seed=0,1,2
python -m ablation.run study=quick
"""

import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import DictConfig
from tabulate import tabulate

from ablation.compose import CONF, arguments, execution, fail, one_line, register
from ablation.config import Execution
from ablation.cost import cost
from ablation.planning import Plan, plan, single
from ablation.progress import Progress
from ablation.records import Record, record_path
from ablation.states import Busy, all_finished, forgive, held, leave_reason, state
from ablation.study import Planned, pending
from ablation.tracking import summarise

ELSEWHERE = "trained by another command"  # what a job answers whose run is locked: no fault
NAMED = 6  # missing runs that are named before the rest is counted

Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]

_faults: list[BaseException] = []  # of the single run of this process: Hydra would print more than one line about it


class Interrupted(BaseException):
    """SIGINT or SIGTERM; not an Exception, so that nothing on the way to the door takes it for a fault of a run."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


class Incomplete(RuntimeError):
    """A sweep ended without all of its records: which are missing and why, and the command that finishes it."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def job(cfg: DictConfig) -> str | None:
    """Train one run; returns what went wrong in one line, None for nothing. In a sweep the parent does the talking."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        os.chdir(HydraConfig.get().runtime.cwd)  # where the command was given: Ray's workers start elsewhere
        if cfg.study.name and not sweeping:
            raise ValueError(f"study={cfg.study.name} is many runs: give -m, or let its file say hydra: {{mode: MULTIRUN}}")
        entry, where = single(cfg), execution(cfg)
        if cfg.expect and cfg.expect != entry.run.id:
            raise ValueError(f"{entry.label} was planned as {cfg.expect}, is now {entry.run.id}: a file changed meanwhile; start the command again")
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
    from ablation.execute import execute  # torch, only where something is trained

    execute(entry, where)


def _train_and_tell(entry: Planned, where: Execution) -> None:
    from ablation.execute import execute

    print(f"{entry.label}: {entry.run.network.pixels} px, {cost(entry.run.network).macs:,} MACs, run {entry.run.id}", flush=True)
    if held(where.runs, entry.run.id):
        print("another command is training it: waiting for its record", flush=True)
    with Progress([entry], where):
        record = execute(entry, where, wait=True)
    print(result(entry, record, str(record_path(where.runs, entry.run.id))))


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
        "next": next_command(entry),
    }
    return "\n".join([entry.label, *(f"  {name:<13} {value}" for name, value in rows.items())])


def next_command(entry: Planned) -> str:
    """What tells whether a network is better than its baseline: both with three seeds, in the words of this command."""
    given = HydraConfig.get().overrides
    settled = ("phi", "seed", "devices", "expect")
    kept = [word for word in given.task if word.split("=")[0] not in settled]
    kept += [word for word in given.hydra if word.startswith("hydra.searchpath=")]
    phis = [f"phi=0,{entry.arm.phi or 1:g}"] if entry.arm.phi is not None else []
    return shlex.join(["python", "-m", "ablation.run", "-m", *kept, *phis, "seed=0,1,2"])


def outcome(planned: Sequence[Planned], done: Mapping[str, Record]) -> str:
    """The table at the end of a sweep: each network and its accuracy over seeds."""
    places = [{"baseline": e.baseline, "setting": e.setting, "cost": e.arm.cost, "network": e.arm.label} for e in planned]
    head = [name for name in places[0] if name == "network" or len({place[name] for place in places}) > 1]
    runs: dict[tuple[str, ...], dict[str, Planned]] = {}
    for entry, place in zip(planned, places, strict=True):
        runs.setdefault(tuple(place[name] for name in head), {})[entry.run.id] = entry
    rows = []
    for names, entries in runs.items():
        network = next(iter(entries.values())).run.network
        found = [done[run_id].reported for run_id in entries]
        diverged = sum(done[run_id].status == "diverged" for run_id in entries)
        accuracies = [f"{value:.1%}" for value in (sum(found) / len(found), min(found), max(found))]
        rows.append(
            [*names, network.pixels, f"{cost(network).macs:,}", *accuracies, f"{len(found)} ({diverged} diverged)" if diverged else len(found)]
        )
    return tabulate(rows, headers=[*head, "px", "MACs", "accuracy", "lowest", "highest", "runs"], disable_numparse=True)


def sweep(words: list[str], launch: Launch, launcher: Sequence[str] = ()) -> None:
    """Train what a study or `-m` overrides ask for and no record answers yet, through Hydra's launcher, chosen by the overrides `launcher`.

    Success is read from the records, never from exit states. A study that grows with its records is trained stage after stage. Raises
    Incomplete after everything that could be done is done.
    """
    wanted = plan(words)
    if wanted.execution.devices > 1:
        way_out = "split a single run (no -m, no study=), or drop devices= and let the launcher run several side by side"
        raise ValueError(f"devices={wanted.execution.devices}: in a sweep each run has one device; {way_out}")
    while True:
        _train_all(wanted, launch, launcher)
        if not wanted.follows:
            return
        wanted = plan(words)


def _train_all(wanted: Plan, launch: Launch, launcher: Sequence[str]) -> None:
    """One stage: every run that is planned by now."""
    runs = {entry.run.id: entry.run for entry in wanted.planned}
    left = pending(wanted.planned, all_finished(wanted.execution, runs.values()))
    print(f"{wanted.name}: {len(runs)} runs, {len(runs) - len(left)} done, {len(left)} to train", flush=True)
    faults: dict[str, str] = {}
    status = 1
    try:
        with Progress(left, wanted.execution):
            _rounds(wanted, left, launch, faults)
    except Interrupted as stop:
        status = stop.status
    done = all_finished(wanted.execution, runs.values())
    if missing := pending(wanted.planned, done):
        raise Incomplete(_account(wanted, missing, faults, launcher), status)
    if not wanted.follows:
        summarise(wanted.name, wanted.planned, done, wanted.execution)
    print(outcome(wanted.planned, done))
    next_ = wanted.follows or f"figures and table: {wanted.through('report')}"
    print(f"{len(runs)} of {len(runs)} runs done; {next_}", flush=True)


def _rounds(wanted: Plan, left: list[Planned], launch: Launch, faults: dict[str, str]) -> None:
    """Launch what is left, then wait for runs that other commands train and launch those that they gave up; fills `faults` by run id."""
    overrides = {job.planned.run.id: list(job.overrides) for job in reversed(wanted.jobs)}  # of a shared run the first, as in `left`
    where = wanted.execution
    while left:
        for entry in left:
            forgive(where.runs, entry.run.id)
        answers = _launched(launch, [overrides[entry.run.id] for entry in left])
        for entry, answer in zip(left, answers, strict=True):
            if answer not in (None, ELSEWHERE):
                faults[entry.run.id] = answer
                if state(where, entry.run).name == "planned":  # its process did not live to leave a reason
                    leave_reason(where.runs, entry.run.id, answer)
        elsewhere = [entry for entry, answer in zip(left, answers, strict=True) if answer == ELSEWHERE]
        while any(held(where.runs, entry.run.id) for entry in elsewhere):
            time.sleep(1)
        left = pending(elsewhere, all_finished(where, (entry.run for entry in elsewhere)))


def _launched(launch: Launch, overrides: Sequence[Sequence[str]]) -> list[str | None]:
    """What each job answered, or why it did not; a launcher that gives up (Ray's does when one job is lost for good) answers for all."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # its KeyboardInterrupt is the one exception that ends Ray's waiting
    try:
        returns = launch(overrides)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except Exception as error:
        return [one_line(error)] * len(overrides)
    finally:
        signal.signal(signal.SIGINT, handler)
    return [one_line(job._return_value) if job.status == JobStatus.FAILED else job._return_value for job in returns]


def _account(wanted: Plan, missing: Sequence[Planned], faults: Mapping[str, str], launcher: Sequence[str]) -> str:
    """The last lines of a sweep that is not complete: what is missing, why, and the command that finishes it."""
    total = len({entry.run.id for entry in wanted.planned})
    lines = [f"{len(missing)} of {total} runs are missing"]
    for entry in missing[:NAMED]:
        now = state(wanted.execution, entry.run)
        reason = faults.get(entry.run.id, now.reason)
        lines.append(f"  {entry.label}: " + (f"failed, {reason}" if reason and now.name != "running" else now.name))
    if len(missing) > NAMED:
        lines.append(f"  and {len(missing) - NAMED} more: {wanted.through('status')}")
    return "\n".join([*lines, f"what is done is kept; this trains the rest: {shlex.join([*shlex.split(wanted.through('run')), *launcher])}"])


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def main() -> None:
    """Entry point; Hydra's own flags (--help, --cfg job, -m) work as usual."""
    register()
    trace = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the door prints one line
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
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


if __name__ == "__main__":
    from ablation.run import main as importable  # a job sent to another process must not live in __main__

    importable()
