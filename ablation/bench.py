"""Measure time and memory on this device; same overrides as ablation.run.

python -m ablation.bench networks study=quick                  each network of a study alone: a training step, inference, memory
python -m ablation.bench networks study=quick bench.rounds=3   fewer rounds (bench.again=true measures finished ones anew)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra import compose
from omegaconf import OmegaConf
from tabulate import tabulate

from ablation.compose import door
from ablation.config import build, within
from ablation.cost import training_flops
from ablation.measurements import Measurement, measurements_path, read_measurements, step_key, write_measurements
from ablation.planning import plan
from ablation.study import Planned


@dataclass(frozen=True)
class Repeats:
    """rounds: times that each network has its turn. seconds: of training steps, and of inference, in a turn. again: also what is measured."""

    rounds: int
    seconds: float
    again: bool

    def __post_init__(self) -> None:
        within("bench.rounds", self.rounds, 1)
        within("bench.seconds", self.seconds, 0.001)


def repeats_of(words: Sequence[str]) -> Repeats:
    """How often, from the overrides; raises ValueError for what makes no sense."""
    settings = compose("config", [word for word in words if word.startswith("bench.")]).bench
    return build(Repeats, OmegaConf.to_container(settings), "bench")  # type: ignore[arg-type]


def networks(words: Sequence[str]) -> None:
    """Measure the distinct networks of a plan and add them to the file of this device; print all of them."""
    wanted, repeats = plan(words), repeats_of(words)
    import torch  # only where something is measured

    from ablation.devices import device_name, devices_of
    from ablation.steps import measure_steps

    runs, threads = wanted.execution.runs, wanted.execution.threads
    torch.set_num_threads(threads)
    distinct = {step_key(entry.run): entry for entry in reversed(wanted.planned)}
    with devices_of(wanted.execution) as [device]:
        name = device_name(device)
        known = {} if repeats.again else read_measurements(runs, name, threads)
        left = {key: entry.run for key, entry in distinct.items() if key not in known}
        print(f"{name}, threads={threads}: {len(distinct)} networks, {len(distinct) - len(left)} measured, {len(left)} to measure", flush=True)
        write_measurements(runs, measure_steps(left, device, name, repeats.rounds, repeats.seconds))
    print(table(distinct, read_measurements(runs, name, threads)))
    print(measurements_path(runs, name, threads))


def table(entries: Mapping[str, Planned], measured: Mapping[str, Measurement]) -> str:
    """Networks in the order of their counted cost, as people read them."""
    rows = []
    for key, entry in sorted(entries.items(), key=lambda item: measured[item[0]].macs):
        found = measured[key]
        rows.append(
            {
                "network": f"{entry.baseline} {entry.arm.label}",
                "px": found.pixels,
                "MMACs": f"{found.macs / 1e6:,.2f}",
                "batch": found.batch_size,
                "ms a step": f"{1e3 * found.step_seconds:.2f}",
                "quartiles": f"{1e3 * found.step_low:.2f} to {1e3 * found.step_high:.2f}",
                "GFLOP/s": f"{training_flops(entry.run.network, found.batch_size) / found.step_seconds / 1e9:,.1f}",
                "images/s": f"{found.images_per_second:,.0f}",
                "MiB a step": f"{found.step_bytes / 2**20:,.1f}",
                "rounds": found.rounds,
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


BENCHES: Mapping[str, Callable[[Sequence[str]], None]] = {"networks": networks}


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Do the benchmark that is named; raises ValueError where none is, or one that there is not."""
    names = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(names) != 1 or names[0] not in BENCHES:
        raise ValueError(
            f"{' '.join(names) or 'no benchmark'}: name one of {', '.join(BENCHES)}, as in python -m ablation.bench networks study=quick"
        )
    BENCHES[names[0]]([word for word in words if word not in names])


if __name__ == "__main__":
    main()
