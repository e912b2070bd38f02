"""What runs will cost: the seconds and the memory of each, from a calibration of the device, and the
wall-clock of them all."""

import dataclasses
import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ablation.command.planning import Plan
from ablation.images.cache import Sizes, sizes
from ablation.runs.config import Data, Execution, Run
from ablation.runs.files import slug, write_json
from ablation.theory.cost import cost
from ablation.theory.network import Network
from ablation.theory.own import Own

EVALUATED = 125  # images in a batch whose forward pass is calibrated


@dataclass(frozen=True)
class Calibration:
    """What work costs on a device while it carries `at_once` runs side by side, as fitted to a few networks;
    rows of factors go with `work`.

    step, forward: seconds of a training step and of a forward pass in evaluation mode. memory: bytes of a
    training step. loading: seconds to bring a decoded pixel of an image to a network's side. fixed, base:
    seconds and bytes of a run beside all this. room: bytes of images that a run keeps in memory; more are
    streamed. error: median relative error of a step's seconds, each network predicted from the others.
    """

    device: str
    on_gpu: bool
    threads: int
    at_once: int
    precision: str
    step: Sequence[float]
    forward: Sequence[float]
    memory: Sequence[float]
    loading: float
    fixed: float
    base: float
    room: float
    error: float
    torch: str
    measured: str

    def seconds(self, run: Run, sizes: Sizes) -> float:
        """Seconds of a whole run, from reading images to its record."""
        steps = run.recipe.epochs * (sizes.train // run.recipe.batch_size)
        forward = times(self.forward, work(run.network, EVALUATED))
        loading = self.loading * sizes.total * run.data.side**2
        evaluation = evaluated(run, sizes) / EVALUATED * forward
        return self.fixed + loading + steps * self.step_seconds(run) + evaluation

    def step_seconds(self, run: Run) -> float:
        """Seconds of one training step."""
        return times(self.step, work(run.network, run.recipe.batch_size))

    def bytes(self, run: Run, sizes: Sizes) -> float:
        """Memory at its peak, as records state it: of the GPU's allocator, or of the process; images that are
        streamed take none."""
        kept = sizes.total - (sizes.train if run.recipe.from_stored else 0)
        held = 3 * kept * run.network.pixels**2
        return (
            self.base
            + (held if held <= self.room else 0)
            + times(self.memory, work(run.network, run.recipe.batch_size))
        )


@lru_cache(maxsize=65536)
def work(network: Network | Own, images: int) -> tuple[float, ...]:
    """What the cost of a batch grows with: multiply-adds of its full and of its grouped convolutions,
    elements of its feature maps, and, whatever the batch, convolutions and parameters."""
    counted = cost(network)
    return (
        images * (counted.macs - counted.grouped),
        images * counted.grouped,
        images * counted.activations,
        counted.products,
        counted.params,
    )


def times(factors: Sequence[float], terms: Sequence[float]) -> float:
    """The sum of factors x terms."""
    return sum(factor * term for factor, term in zip(factors, terms, strict=True))


def evaluated(run: Run, sizes: Sizes) -> int:
    """Images that a run evaluates: validation every few epochs, and at its end, with as many training images
    and the evaluation split."""
    between = (run.recipe.epochs - 1) // run.recipe.validate_every
    final = (
        sizes.validation
        + min(sizes.validation, sizes.train)
        + (sizes.evaluation if run.evaluate else 0)
    )
    return between * sizes.validation + final


def wall_clock(seconds: Iterable[float], at_once: int) -> float:
    """Seconds until the last of these runs ends, each begun in this order as soon as fewer than `at_once` go
    on."""
    busy = [0.0] * at_once
    for one in seconds:
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def calibration_path(cache: Path, found: Calibration) -> Path:
    """Where the calibration of a device, at its threads and precision, lies."""
    return cache / "calibration" / f"{slug(found.device)}-{found.threads}-{found.precision}.json"


def write_calibration(cache: Path, found: Calibration) -> Path:
    """Write it in place of an earlier one; raises OSError with the old file whole."""
    path = calibration_path(cache, found)
    write_json(path, dataclasses.asdict(found), setting="cache")
    return path


def newest_calibration(where: Execution, precision: str) -> Calibration | None:
    """The newest for as many threads, this precision, and the accelerator if one is chosen; None where there
    is none of this version."""
    found = [
        _read(path)
        for path in (where.cache / "calibration").glob(f"*-{where.threads}-{precision}.json")
    ]
    wanted = [
        one
        for one in found
        if one and where.accelerator in ("auto", "gpu" if one.on_gpu else "cpu")
    ]
    return max(wanted, key=lambda one: one.measured, default=None)


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class Forecast:
    """Predicted seconds and bytes of the runs of a plan: None without a calibration, or where the number of
    images is not known."""

    def __init__(self, wanted: Plan) -> None:
        self.where = wanted.execution
        self.found = wanted.sizes
        self.calibrations: dict[str, Calibration | None] = {}  # by precision
        self.sizes: dict[Data, Sizes | None] = {}

    def calibration(self, run: Run) -> Calibration | None:
        """That of the run's precision."""
        precision = run.recipe.precision
        if precision not in self.calibrations:
            self.calibrations[precision] = newest_calibration(self.where, precision)
        return self.calibrations[precision]

    def of(self, run: Run) -> tuple[float | None, float | None]:
        """Seconds, and bytes at the peak."""
        if run.data not in self.sizes:
            self.sizes[run.data] = self.found(run.data) or sizes(run.data, self.where.cache)
        calibration = self.calibration(run)
        images = self.sizes[run.data]
        if calibration is None or images is None:
            return None, None
        return calibration.seconds(run, images), calibration.bytes(run, images)

    def seconds(self, run: Run) -> float | None:
        """Seconds alone."""
        return self.of(run)[0]

    def step_seconds(self, run: Run) -> float:
        """Of one training step; raises ValueError without a calibration."""
        calibration = self.calibration(run)
        if calibration is None:
            raise ValueError(
                "budget.step_seconds: not calibrated for this device, threads and precision; "
                "python -m ablation.bench calibrate, a minute, once"
            )
        return calibration.step_seconds(run)
