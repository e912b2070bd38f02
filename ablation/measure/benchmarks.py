"""What benchmarks found: ours against something else, round by round, with the goal; one JSON file for each
device."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.runs.files import read_measured, slug, write_measured

BUSY = 0.2  # cores taken by others from which on a benchmark was not alone


@dataclass(frozen=True)
class Benchmark:
    """Something measured, in `unit`, once a round: rates, of which more is better, or seconds, of which less.

    what: was measured, with its sizes. against: what `theirs` are, which took turns with ours; without them
    ours stand alone. goal: the least median ratio of ours over theirs, or the largest median of seconds; None
    where there is none. device, cores, torch, measured: on what, with which version, when. taken: cores that
    others took before and after, as far as the kernel says.
    """

    what: str
    unit: str
    ours: Sequence[float]
    against: str = ""
    theirs: Sequence[float] = ()
    goal: float | None = None
    device: str = ""
    cores: int = 0
    torch: str = ""
    measured: str = ""
    taken: Sequence[float] = ()

    @property
    def values(self) -> Sequence[float]:
        """Of each round: the ratio of ours over theirs, or ours."""
        return (
            tuple(a / b for a, b in zip(self.ours, self.theirs, strict=True))
            if self.theirs
            else self.ours
        )

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.theirs else self.median <= self.goal


def disturbed(taken: Sequence[float]) -> str:
    """What is said of cores that others took before and after; empty where there were next to none."""
    if max(taken, default=0.0) < BUSY:
        return ""
    looks = " and ".join(f"{one:.1f}" for one in taken)
    return f"not alone: other work took {looks} cores before and after; measure again without it"


def in_turn(rounds: int, *calls: Callable[[], float]) -> list[tuple[float, ...]]:
    """What each call returned in each round; they take turns (A B A B), so that a change of the machine's
    speed meets all alike."""
    turns = [_turn(calls) for _ in range(rounds)]
    return list(zip(*turns, strict=True))


def _turn(calls: Sequence[Callable[[], float]]) -> list[float]:
    return [call() for call in calls]


def benchmarks_path(results: Path, device: str) -> Path:
    """Where the benchmarks of a device lie."""
    return results / "bench" / f"{slug(device)}.json"


def read_benchmarks(results: Path, device: str) -> dict[str, Benchmark]:
    """Benchmarks by name, none where there is no file; raises ValueError for a file that holds something
    else."""
    return read_measured(benchmarks_path(results, device), Benchmark)


def write_benchmarks(results: Path, device: str, found: Mapping[str, Benchmark]) -> None:
    """Add to the file of a device, to four digits, replacing what bears the same name; raises OSError with
    the old file whole."""
    known = read_benchmarks(results, device) | {
        name: _rounded(value) for name, value in found.items()
    }
    write_measured(benchmarks_path(results, device), known, "results")


def _rounded(value: Benchmark) -> Benchmark:
    rounded = {name: _four_digits(getattr(value, name)) for name in ("ours", "theirs", "taken")}
    return dataclasses.replace(value, **rounded)


def _four_digits(numbers: Sequence[float]) -> list[float]:
    return [float(f"{number:.4g}") for number in numbers]
