"""What runs will cost: the seconds and the memory of each, from a calibration of the device or from records
of it, and the wall-clock of them all."""

import dataclasses
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.command.planning import Plan
from ablation.images.cache import Sizes, sizes
from ablation.measure.observed import Observed, observe
from ablation.measure.work import evaluated, times, work
from ablation.runs.config import Data, Execution, Run
from ablation.runs.files import slug, write_json

EVALUATED = 125  # images in a batch whose forward pass is calibrated
IN_MEMORY: Mapping[str, Any] = {"crop_from": "shrunk", "evaluation_crop": 1.0}  # of a recipe


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

    @property
    def told(self) -> str:
        """Where predictions come from, in a line."""
        at_once = f"{self.at_once} at once, {self.measured[:10]}"
        return f"as calibrated on {self.device}, threads={self.threads}, {at_once}"

    def seconds(self, run: Run, sizes: Sizes) -> float:
        """Seconds of a whole run, from reading images to its record."""
        steps = run.recipe.epochs * (sizes.train // run.recipe.batch_size)
        forward = times(self.forward, work(run.network, EVALUATED))
        loading = self.loading * sizes.total * run.data.side**2
        evaluation = evaluated(run, sizes) / EVALUATED * forward
        return self.fixed + loading + steps * self.step_seconds(run) + evaluation

    def step_seconds(self, run: Run) -> float:
        """Seconds of one training step."""
        recipe = run.recipe
        return recipe.accumulate * times(self.step, work(run.network, recipe.part))

    def bytes(self, run: Run, sizes: Sizes) -> float:
        """Memory at its peak, as records state it: of the GPU's allocator, or of the process; images that are
        streamed take none."""
        kept = sizes.total - (sizes.train if run.recipe.reads_train else 0)
        held = 3 * kept * run.network.pixels**2
        return (
            self.base
            + (held if held <= self.room else 0)
            + times(self.memory, work(run.network, run.recipe.part))
        )


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
    """Predicted seconds and bytes of the runs of a plan: from the calibration of a device, else from records
    of it. None without either, for a network of which the records say too little, or where the number of
    images is not known."""

    def __init__(self, wanted: Plan) -> None:
        self.where = wanted.execution
        self.found = wanted.sizes
        # By precision, and whether images are decoded while training.
        self.bases: dict[tuple[str, bool], Calibration | Observed | None] = {}
        self.sizes: dict[Data, Sizes | None] = {}

    def basis(self, run: Run) -> Calibration | Observed | None:
        """What predictions for the run's precision come from; where images are decoded while training, which
        no calibration knows, records of such runs alone."""
        precision, decoding = run.recipe.precision, run.recipe.from_original
        if (precision, decoding) not in self.bases:
            calibrated = None if decoding else newest_calibration(self.where, precision)
            found = calibrated or observe(self.where, precision, self.images, decoding)
            self.bases[precision, decoding] = found
        return self.bases[precision, decoding]

    def images(self, data: Data) -> Sizes | None:
        """Of each split, as far as they are known."""
        if data not in self.sizes:
            self.sizes[data] = self.found(data) or sizes(data, self.where.cache)
        return self.sizes[data]

    def of(self, run: Run) -> tuple[float | None, float | None]:
        """Seconds, and bytes at the peak."""
        basis, images = self.basis(run), self.images(run.data)
        if basis is None or images is None:
            return None, None
        return basis.seconds(run, images), basis.bytes(run, images)

    def seconds(self, run: Run) -> float | None:
        """Seconds alone."""
        return self.of(run)[0]

    def step_seconds(self, run: Run) -> float:
        """Of one training step, whose images are there; raises ValueError where it cannot be predicted."""
        held = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **IN_MEMORY))
        basis = self.basis(held)
        found = basis and basis.step_seconds(run)
        if found is None:
            raise ValueError(
                "budget.step_seconds: not calibrated for this device, threads and precision; "
                "python -m ablation.bench calibrate, a minute, once"
            )
        return found
