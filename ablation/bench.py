"""Measure speed and memory on this device; same overrides as ablation.run.

python -m ablation.bench all              ours against what one would use instead, in turn (minutes)
python -m ablation.bench step             one of step, pipeline, study, start, input; bench.rounds=3: fewer
python -m ablation.bench table            what has been found on this device
python -m ablation.bench calibrate        what work costs here, from which ablation.plan predicts (a minute)
python -m ablation.bench networks study=quick     each network alone: a training step, inference, memory
python -m ablation.bench networks study=quick bench.again=true     finished ones, too, are measured anew
"""

import contextlib
import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hydra import compose
from omegaconf import OmegaConf
from tabulate import tabulate

from ablation.command.planning import plan
from ablation.door import door
from ablation.measure.benchmarks import (
    Benchmark,
    benchmarks_path,
    disturbed,
    read_benchmarks,
    write_benchmarks,
)
from ablation.measure.forecast import write_calibration
from ablation.runs.arms import Planned
from ablation.runs.checks import build, counted, within
from ablation.runs.machine import taken
from ablation.runs.measurements import (
    Measurement,
    measurements_path,
    read_measurements,
    step_key,
    write_measurements,
)
from ablation.theory.cost import training_flops
from ablation.train.processes import alone

# With the rounds that are enough for each.
ENOUGH: Mapping[str, int] = {
    "step": 3,
    "pipeline": 3,
    "study": 2,
    "start": 3,
    "input": 3,
}
ROUNDS, PROBE_ROUNDS = 7, 3  # of networks, of a calibration


@dataclass(frozen=True)
class Repeats:
    """seconds: of training steps, and of inference, in a turn of a network. again: also networks that have
    been measured. rounds: times that each has its turn, None for as many as are enough."""

    seconds: float
    again: bool
    rounds: int | None = None

    def __post_init__(self) -> None:
        if self.rounds is not None:
            within("bench.rounds", self.rounds, 1)
        within("bench.seconds", self.seconds, 0.001)


def repeats_of(words: Sequence[str]) -> Repeats:
    """How often, from the overrides; raises ValueError for what makes no sense."""
    settings = compose("config", [word for word in words if word.startswith("bench.")]).bench
    return build(Repeats, OmegaConf.to_container(settings), "bench")  # type: ignore[arg-type]


def networks(words: Sequence[str]) -> None:
    """Measure the distinct networks of a plan and add them to the file of this device; print all of them."""
    wanted, repeats = plan(words), repeats_of(words)
    from ablation.measure.steps import measure_steps
    from ablation.train.devices import device_name, devices_of, settle

    where = dataclasses.replace(wanted.execution, devices=1)
    runs, threads = where.runs, where.threads
    settle(threads)
    distinct = {step_key(entry.run): entry for entry in reversed(wanted.planned)}
    with devices_of(where) as [device]:
        name = device_name(device)
        known = {} if repeats.again else read_measurements(runs, name, threads)
        left = {key: entry.run for key, entry in distinct.items() if key not in known}
        print(
            f"{name}, threads={threads}: {counted(len(distinct), 'network')}, "
            f"{len(distinct) - len(left)} measured, {len(left)} to measure",
            flush=True,
        )
        if left:
            with looking() as looks:
                found = measure_steps(left, device, name, repeats.rounds or ROUNDS, repeats.seconds)
            write_measurements(runs, found)
            warn(looks)
    print(networks_table(distinct, read_measurements(runs, name, threads)))
    print(measurements_path(runs, name, threads))


def networks_table(entries: Mapping[str, Planned], measured: Mapping[str, Measurement]) -> str:
    """Networks in the order of their counted cost, as people read them."""
    ordered = sorted(entries.items(), key=lambda item: measured[item[0]].macs)
    rows = [_network_row(entry, measured[key]) for key, entry in ordered]
    return tabulate(rows, headers="keys", disable_numparse=True)


def _network_row(entry: Planned, found: Measurement) -> dict[str, object]:
    """One network and what was measured of it."""
    flops = training_flops(entry.run.network, found.batch_size)
    return {
        "network": f"{entry.baseline} {entry.arm.label}",
        "px": found.pixels,
        "MMACs": f"{found.macs / 1e6:,.2f}",
        "batch": found.batch_size,
        "ms a step": f"{1e3 * found.step_seconds:.2f}",
        "quartiles": f"{1e3 * found.step_low:.2f} to {1e3 * found.step_high:.2f}",
        "GFLOP/s": f"{flops / found.step_seconds / 1e9:,.1f}",
        "images/s": f"{found.images_per_second:,.0f}",
        "MiB a step": f"{found.step_bytes / 2**20:,.1f}",
        "rounds": found.rounds,
    }


def contest(name: str, words: Sequence[str]) -> None:
    """Measure ours against theirs, write what is found and print it."""
    from ablation.measure import contests  # torch, only where something is measured

    wanted = plan(words)
    rounds = repeats_of(words).rounds or ENOUGH[name]
    machine = contests.machine_of(wanted.execution)
    with tempfile.TemporaryDirectory() as folder, looking() as looks:
        found = contests.CONTESTS[name](words, rounds, Path(folder), machine)
    about = {
        "taken": looks,
        "device": machine.device,
        "cores": machine.cores,
        "torch": machine.torch,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found = {key: dataclasses.replace(value, **about) for key, value in found.items()}
    write_benchmarks(wanted.results, machine.device, found)
    print(table(found), benchmarks_path(wanted.results, machine.device), sep="\n", flush=True)


@contextlib.contextmanager
def looking() -> Iterator[list[float]]:
    """The cores that others take, looked at before and after what is done with this open."""
    looks = [taken()]
    found: list[float] = []
    yield found
    looks.append(taken())
    found += [look for look in looks if look is not None]


def warn(looks: Sequence[float]) -> None:
    """Say where a measurement was not alone."""
    if said := disturbed(looks):
        print(said)


def known(words: Sequence[str]) -> None:
    """Print what was found on this device."""
    from ablation.measure.contests import machine_of

    wanted = plan(words)
    device = machine_of(wanted.execution).device
    print(
        table(read_benchmarks(wanted.results, device)),
        benchmarks_path(wanted.results, device),
        sep="\n",
    )


def table(found: Mapping[str, Benchmark]) -> str:
    """Benchmarks as people read them: medians, and the range of the rounds."""
    rows = [_benchmark_row(name, value) for name, value in found.items()]
    notes = [_note(name, value) for name, value in found.items()]
    return "\n".join([tabulate(rows, headers="keys", disable_numparse=True), *notes])


def _benchmark_row(name: str, value: Benchmark) -> dict[str, str]:
    """One benchmark: ours, theirs, the ratio, and whether the goal is met."""
    values = value.values
    compared = bool(value.theirs)
    limit = "at least" if compared else "at most"
    return {
        "": name,
        "ours": _quantity(statistics.median(value.ours), value.unit),
        "theirs": _quantity(statistics.median(value.theirs), value.unit) if compared else "",
        "ratio": f"{value.median:.2f}" if compared else "",
        "rounds": f"{_number(min(values))} to {_number(max(values))} in {len(values)}",
        "goal": "" if value.goal is None else f"{limit} {value.goal:g}",
        "met": {True: "yes", False: "no", None: ""}[value.met],
    }


def _note(name: str, value: Benchmark) -> str:
    """What was measured, and against what."""
    theirs = f"; theirs: {value.against}" if value.against else ""
    beside = disturbed(value.taken)
    return f"{name}: {value.what}{theirs}" + (f"; {beside}" if beside else "")


def _quantity(value: float, unit: str) -> str:
    return f"{value / 1e9:,.1f} GFLOP/s" if unit == "FLOP/s" else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def calibration(words: Sequence[str]) -> None:
    """Calibrate this device for the threads, recipe and data of a plan, and print how well that predicts."""
    wanted, repeats = plan(words), repeats_of(words)
    from ablation.measure.calibrate import calibrate
    from ablation.train.devices import capacity

    where = dataclasses.replace(wanted.execution, devices=1)
    with looking() as looks:
        found = calibrate(
            wanted.planned[0],
            where,
            alone(capacity, where),
            repeats.rounds or PROBE_ROUNDS,
            repeats.seconds,
        )
    about = f"{found.device}, threads={found.threads}, {found.at_once} at once, {found.precision}"
    print(
        f"{about}: the step of a network is predicted from the others' within {found.error:.0%} (median)"
    )
    warn(looks)
    print(write_calibration(where.cache, found))


def everything(words: Sequence[str]) -> None:
    """All contests, one after another."""
    for name in ENOUGH:
        contest(name, words)


BENCHES: Mapping[str, Callable[[Sequence[str]], None]] = {
    "all": everything,
    **{name: partial(contest, name) for name in ENOUGH},
    "table": known,
    "networks": networks,
    "calibrate": calibration,
}


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Do the benchmark that is named; raises ValueError where none is, or one that there is not."""
    names = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(names) != 1 or names[0] not in BENCHES:
        raise ValueError(
            f"{' '.join(names) or 'no benchmark'}: name one of {', '.join(BENCHES)}, "
            "as in python -m ablation.bench networks study=quick"
        )
    BENCHES[names[0]]([word for word in words if word not in names])


if __name__ == "__main__":
    main()
