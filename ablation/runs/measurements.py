"""What networks cost when they were measured alone: one JSON file for each device and number of threads,
beside the records."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ablation.runs.config import Run, content, digest
from ablation.runs.files import read_measured, slug, write_measured
from ablation.runs.records import Record

# What changes the cost of a step, of all that a recipe says.
STEP = (
    "batch_size",
    "precision",
    "channels_last",
    "optimizer",
    "momentum",
    "clip",
    "dropout",
    "drop_path",
)
# The same of settings that came later: only where they are not as before.
NEWER = ("accumulate", "randaugment", "mixup", "cutmix")


@dataclass(frozen=True)
class Measurement:
    """A network alone on a device: medians with their quartiles (low, high) over rounds that take turns with
    the other networks.

    step_seconds: a training step of one batch that lies on the device: forward, loss, backward, clipping,
    optimizer. images_per_second: a forward pass of the same batch in evaluation mode. step_bytes: of a GPU
    the allocator's peak during a training step; of a CPU, exactly and without temporaries, parameters and
    buffers, gradients, optimizer state, and whatever the forward pass keeps for the backward pass (the batch
    is part of it). torch: its version. measured: when.
    """

    device: str
    threads: int
    pixels: int
    macs: int
    batch_size: int
    precision: str
    step_seconds: float
    step_low: float
    step_high: float
    images_per_second: float
    images_low: float
    images_high: float
    step_bytes: int
    rounds: int
    torch: str
    measured: str

    @property
    def step_device(self) -> str:
        """Where it was measured, for a caption."""
        return f"{self.device}, threads={self.threads}"


def step_key(run: Run) -> str:
    """A hash of what a step of this run costs: its network, and what its recipe does in a step."""
    done = {name: getattr(run.recipe, name) for name in STEP}
    newer = {name: it for name, it in content(run.recipe).items() if name in NEWER}
    return digest({"network": content(run.network)} | done | newer)


def measurements_path(runs: Path, device: str, threads: int) -> Path:
    """Where the measurements of a device lie."""
    return runs / "networks" / f"{slug(device)}-{threads}.json"


def read_measurements(runs: Path, device: str, threads: int) -> dict[str, Measurement]:
    """Measurements by step key, none where there is no file; raises ValueError for a file that holds
    something else."""
    return read_measured(measurements_path(runs, device, threads), Measurement)


def write_measurements(runs: Path, measured: Mapping[str, Measurement]) -> None:
    """Add to the files of their devices, replacing what was measured before; raises OSError with the old file
    whole."""
    for device, threads in sorted({(value.device, value.threads) for value in measured.values()}):
        known = read_measurements(runs, device, threads)
        known |= {
            key: value
            for key, value in measured.items()
            if (value.device, value.threads) == (device, threads)
        }
        write_measured(measurements_path(runs, device, threads), known)


def measurements_of(runs: Path, records: Iterable[Record]) -> dict[str, Measurement]:
    """By step key, what was measured on the device, with its number of threads, on which most of these
    records were made."""
    places = Counter((record.device, record.threads) for record in records)
    return read_measurements(runs, *places.most_common(1)[0][0]) if places else {}
