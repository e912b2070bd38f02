"""What runs cost on this device as their records say: networks by their own seconds, others from them."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np

from ablation.images.cache import Sizes
from ablation.measure.work import evaluated, fit, times, work
from ablation.runs.config import Data, Execution, Run
from ablation.runs.machine import cores, maybe_gpus, processor
from ablation.runs.measurements import step_key
from ablation.runs.records import Record
from ablation.runs.trained import trained

T = TypeVar("T")
LEAST = 3  # networks from whose seconds those of another are predicted


@dataclass(frozen=True)
class Here:
    """The device that runs compute on: its name, whether it is a GPU, and how many runs it carries at
    once."""

    device: str
    on_gpu: bool
    at_once: int


@dataclass(frozen=True)
class Seen:
    """Runs that differ in their seed alone, by medians: those that computed beside other work were slower.

    image: seconds of training one. trained, evaluated: images that a run trains on and evaluates. rest:
    seconds of a run beside its training.
    """

    run: Run
    image: float
    trained: float
    evaluated: int
    rest: float

    @property
    def seconds(self) -> float:
        """Of a whole run."""
        return self.rest + self.trained * self.image


@dataclass(frozen=True)
class Observed:
    """What runs cost here, from so many records of this device, at these threads and precision.

    images: seconds of training an image, peaks: bytes of a run, by step key of the networks that have
    records. step: factors of `work` for a step of another network, none where too few are known (LEAST, and
    one more to see how far off they are). fixed: seconds of a run beside training and evaluation; evaluating:
    what an evaluated image costs, in images that are trained on. error: median relative error of a run's
    seconds, each network predicted from the others; NaN where there are too few.
    """

    here: Here
    threads: int
    records: int
    images: Mapping[str, float]
    peaks: Mapping[str, int]
    step: Sequence[float]
    fixed: float
    evaluating: float
    error: float = math.nan

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.here.on_gpu

    @property
    def at_once(self) -> int:
        """Runs that the device carries side by side."""
        return self.here.at_once

    @property
    def told(self) -> str:
        """Where predictions come from and how far they are off, in a line."""
        where = f"from {self.records} records of {self.here.device}, threads={self.threads}"
        if math.isnan(self.error):
            return f"{where}, of {len(self.images)} networks"
        off = f"the others within {self.error:.0%} (median, each network left out)"
        return f"{where}: their {len(self.images)} networks by their own seconds, {off}"

    def seconds(self, run: Run, sizes: Sizes) -> float | None:
        """Of a whole run; None for a network that cannot be predicted."""
        step = self.step_seconds(run)
        if step is None:
            return None
        size = run.recipe.batch_size
        images = run.recipe.epochs * (sizes.train // size) * size
        return self.fixed + step / size * (images + self.evaluating * evaluated(run, sizes))

    def step_seconds(self, run: Run) -> float | None:
        """Of one training step: the network's own where it has records, else predicted from the others'."""
        size, own = run.recipe.batch_size, self.images.get(step_key(run))
        if own is not None:
            return size * own
        part = work(run.network, run.recipe.part)
        return run.recipe.accumulate * times(self.step, part) if self.step else None

    def bytes(self, run: Run, sizes: Sizes) -> float | None:
        """Memory at its peak, of networks that have records."""
        return self.peaks.get(step_key(run))


def observe(
    where: Execution,
    precision: str,
    sizes: Callable[[Data], Sizes | None],
    decoding: bool = False,
) -> Observed | None:
    """From the records in the folder of runs; None where none is of this device, threads and precision.
    decoding: of runs that decode images while they train, or of the others."""
    here = device_here(where)
    if here is None:
        return None
    pairs = trained(where.runs, device=here.device, threads=where.threads, status="done")
    alike = [
        (run, record)
        for run, record in pairs
        if record.devices == 1
        and run.recipe.precision == precision
        and run.recipe.from_original == decoding
        and record.images_per_second > 0
    ]
    return observed(alike, here, where.threads, sizes) if alike else None


def device_here(where: Execution) -> Here | None:
    """The device that runs would compute on, one each; None where they ask for a GPU and there is none."""
    if where.accelerator != "cpu" and maybe_gpus():
        import torch

        from ablation.train.devices import capacity, device_name, on_gpu

        if torch.cuda.is_available() and on_gpu(where.accelerator):
            at_once = capacity(dataclasses.replace(where, devices=1))
            return Here(device_name(torch.device("cuda", 0)), True, at_once)
    if where.accelerator == "gpu":
        return None
    return Here(processor(), False, max(1, cores() // where.threads))


def observed(
    pairs: Sequence[tuple[Run, Record]],
    here: Here,
    threads: int,
    sizes: Callable[[Data], Sizes | None],
) -> Observed:
    """From runs and their records, at least one."""
    seen = _seen(pairs, sizes)
    step, fixed, evaluating = _fitted(seen)
    error = _left_out(seen)
    by_network = _grouped(pairs, lambda pair: step_key(pair[0]))
    return Observed(
        here,
        threads,
        records=len(pairs),
        images={key: _image(group) for key, group in by_network.items()},
        peaks={key: max(one.peak_memory for _, one in group) for key, group in by_network.items()},
        step=() if math.isnan(error) else step,  # without its error no prediction
        fixed=fixed,
        evaluating=evaluating,
        error=error,
    )


def _grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Hashable, list[T]]:
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _image(pairs: Sequence[tuple[Run, Record]]) -> float:
    """Seconds of training an image."""
    return median(1 / record.images_per_second for _, record in pairs)


def _seen(pairs: Sequence[tuple[Run, Record]], sizes: Callable[[Data], Sizes | None]) -> list[Seen]:
    """Runs that differ in their seed alone, together."""
    groups = _grouped(pairs, lambda pair: (pair[0].alike, pair[0].recipe.epochs))
    return [_together(group, sizes(group[0][0].data)) for group in groups.values()]


def _together(pairs: Sequence[tuple[Run, Record]], sizes: Sizes | None) -> Seen:
    """sizes: None where they are not known; evaluation then counts as fixed."""
    run = pairs[0][0]
    return Seen(
        run,
        image=_image(pairs),
        trained=median(record.images_per_second * record.seconds for _, record in pairs),
        evaluated=evaluated(run, sizes) if sizes else 0,
        rest=median(record.total_seconds - record.seconds for _, record in pairs),
    )


def _fitted(seen: Sequence[Seen]) -> tuple[Sequence[float], float, float]:
    """Factors of a step, seconds that are fixed, and what an evaluated image costs (see Observed)."""
    networks = _grouped(seen, lambda one: step_key(one.run)).values()
    runs = [group[0].run for group in networks]
    terms = np.array([work(run.network, run.recipe.part) for run in runs])
    images = [median(one.image for one in group) for group in networks]
    sizes = [run.recipe.part for run in runs]
    steps = np.array(images) * sizes
    beside = np.array([(1.0, one.image * one.evaluated) for one in seen])
    rest = np.array([max(one.rest, 1e-3) for one in seen])
    fixed, evaluating = fit(beside, rest)
    return fit(terms, steps) if len(networks) >= LEAST else (), fixed, evaluating


def _left_out(seen: Sequence[Seen]) -> float:
    """Median relative error of a run's seconds, each network predicted from the others."""
    errors = []
    for left in {one.run.network for one in seen}:
        step, fixed, evaluating = _fitted([one for one in seen if one.run.network != left] or seen)
        for one in (one for one in seen if one.run.network == left and step):
            size = one.run.recipe.part
            image = times(step, work(left, size)) / size
            seconds = fixed + image * (one.trained + evaluating * one.evaluated)
            errors.append(abs(seconds / one.seconds - 1))
    return median(errors) if errors else math.nan
