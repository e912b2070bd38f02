"""A sweep: what is planned and has no record is launched, stage after stage, until every run is accounted
for."""

import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from hydra.core.utils import JobReturn, JobStatus
from tabulate import tabulate

from ablation.command.ends import Interrupted, interrupt, on_signals
from ablation.command.errors import one_line
from ablation.command.planning import Plan, plan
from ablation.command.progress import Progress
from ablation.command.storing import announce
from ablation.command.tracked import summarise
from ablation.runs.arms import Planned, pending, starts
from ablation.runs.checks import counted
from ablation.runs.records import Record
from ablation.runs.states import all_finished, forgive, held, leave_reason, state, sweeping
from ablation.theory.cost import cost
from ablation.train.tracking import check_logger

ELSEWHERE = "trained by another command"  # what a job answers whose run is locked: no fault
NAMED = 6  # missing runs that are named before the rest is counted
Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]


class Incomplete(RuntimeError):
    """A sweep ended without all of its records: which are missing and why, and the command that finishes
    it."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def outcome(planned: Sequence[Planned], done: Mapping[str, Record]) -> str:
    """The table at the end of a sweep: each network and its accuracy over seeds."""
    places = [_place(entry) for entry in planned]
    head = [name for name in places[0] if name == "network" or _differs(places, name)]
    networks: dict[tuple[str, ...], dict[str, Planned]] = {}
    for entry, place in zip(planned, places, strict=True):
        names = tuple(place[name] for name in head)
        networks.setdefault(names, {})[entry.run.id] = entry
    rows = [[*names, *_outcome_of(entries, done)] for names, entries in networks.items()]
    headers = [*head, "px", "MACs", "accuracy", "lowest", "highest", "runs"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _place(entry: Planned) -> dict[str, str]:
    """What tells one network of a sweep from another."""
    arm = entry.arm
    return {
        "baseline": entry.baseline,
        "setting": entry.setting,
        "cost": arm.cost,
        "network": arm.label,
    }


def _differs(places: Sequence[Mapping[str, str]], name: str) -> bool:
    return len({place[name] for place in places}) > 1


def _outcome_of(entries: Mapping[str, Planned], done: Mapping[str, Record]) -> list[object]:
    """One network: pixels, MACs, mean, lowest and highest accuracy, and how many runs."""
    network = next(iter(entries.values())).run.network
    records = [done[run_id] for run_id in entries]
    found = [record.reported for record in records]
    diverged = sum(record.status == "diverged" for record in records)
    return [
        network.pixels,
        f"{cost(network).macs:,}",
        f"{sum(found) / len(found):.1%}",
        f"{min(found):.1%}",
        f"{max(found):.1%}",
        f"{len(found)} ({diverged} diverged)" if diverged else len(found),
    ]


def sweep(words: list[str], launch: Launch, launcher: Sequence[str] = ()) -> None:
    """Train what a study or `-m` overrides ask for and no record answers yet, through Hydra's launcher,
    chosen by the overrides `launcher`.

    Success is read from the records, never from exit states. A study that grows with its records is trained
    stage after stage. Raises Incomplete after everything that could be done is done.
    """
    wanted = plan(words)
    wanted.taken.refuse()
    check_logger(wanted.execution.logger)
    for recipe in {entry.run.recipe for entry in wanted.planned}:
        recipe.check_split(wanted.execution.devices)
    on_signals(interrupt)
    for said in [*wanted.found, *starts(wanted.planned)]:
        print(said, flush=True)
    _train_all(wanted, launch, launcher)


def _train_all(wanted: Plan, launch: Launch, launcher: Sequence[str]) -> None:
    """Every run of a plan that has no record."""
    runs = {entry.run.id: entry.run for entry in wanted.planned}
    finished = all_finished(wanted.execution, runs.values())
    left = pending(wanted.planned, finished)
    announce(wanted.stores(finished), wanted.execution.cache)
    print(
        f"{wanted.name}: {counted(len(runs), 'run')}, {len(runs) - len(left)} done, {len(left)} to train",
        flush=True,
    )
    faults: dict[str, str] = {}
    status = 1
    try:
        with sweeping(wanted.execution.runs, runs.values()), Progress(left, wanted.execution):
            _rounds(wanted, left, launch, faults)
    except Interrupted as stop:
        status = stop.status
    done = all_finished(wanted.execution, runs.values())
    if missing := pending(wanted.planned, done):
        raise Incomplete(_account(wanted, missing, faults, launcher), status)
    summarise(wanted, done)
    print(outcome(wanted.planned, done))
    next_ = f"figures and table: {wanted.through('report')}"
    print(f"{len(runs)} of {counted(len(runs), 'run')} done; {next_}", flush=True)


def _rounds(wanted: Plan, left: list[Planned], launch: Launch, faults: dict[str, str]) -> None:
    """Launch what is left, then wait for runs that other commands train and launch those that they gave up;
    fills `faults` by run id."""
    # Of a shared run the first, as in `left`.
    overrides = {job.planned.run.id: list(job.overrides) for job in reversed(wanted.jobs)}
    where = wanted.execution
    while left:
        for entry in left:
            forgive(where.runs, entry.run.id)
        answers = _launched(launch, [overrides[entry.run.id] for entry in left])
        for entry, answer in zip(left, answers, strict=True):
            if answer not in (None, ELSEWHERE):
                faults[entry.run.id] = answer
                # Its process did not live to leave a reason.
                if state(where, entry.run).name == "planned":
                    leave_reason(where.runs, entry.run.id, answer)
        elsewhere = [
            entry for entry, answer in zip(left, answers, strict=True) if answer == ELSEWHERE
        ]
        while any(held(where.runs, entry.run.id) for entry in elsewhere):
            time.sleep(1)
        left = pending(elsewhere, all_finished(where, (entry.run for entry in elsewhere)))


def _launched(launch: Launch, overrides: Sequence[Sequence[str]]) -> list[str | None]:
    """What each job answered, or why it did not; a launcher that gives up (Ray's does when one job is lost
    for good) answers for all."""
    # Its KeyboardInterrupt is the one exception that ends Ray's waiting.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        returns = launch(overrides)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except Exception as error:
        return [one_line(error)] * len(overrides)
    finally:
        signal.signal(signal.SIGINT, handler)
    return [
        one_line(job._return_value) if job.status == JobStatus.FAILED else job._return_value
        for job in returns
    ]


def _account(
    wanted: Plan, missing: Sequence[Planned], faults: Mapping[str, str], launcher: Sequence[str]
) -> str:
    """The last lines of a sweep that is not complete: what is missing, why, and the command that finishes
    it."""
    total = len({entry.run.id for entry in wanted.planned})
    lines = [
        f"{len(missing)} of {counted(total, 'run')} {'is' if len(missing) == 1 else 'are'} missing"
    ]
    for entry in missing[:NAMED]:
        now = state(wanted.execution, entry.run)
        reason = faults.get(entry.run.id, now.reason)
        lines.append(
            f"  {entry.label}: "
            + (f"failed, {reason}" if reason and now.name != "running" else now.name)
        )
    if len(missing) > NAMED:
        lines.append(f"  and {len(missing) - NAMED} more: {wanted.through('status')}")
    return "\n".join(
        [
            *lines,
            "what is done is kept; this trains the rest: "
            f"{shlex.join([*shlex.split(wanted.through('run')), *launcher])}",
        ]
    )
