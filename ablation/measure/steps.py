"""What a step of a network costs on this device, measured alone: no pipeline of data, no logging, no other
network in memory."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor, nn

from ablation.runs.config import Run
from ablation.runs.measurements import Measurement
from ablation.theory.cost import cost
from ablation.train.classifier import Classifier
from ablation.train.model import net_of
from ablation.train.optimizer import make_optimizer

WARM_UP = 3  # calls before any is timed: memory is allocated, algorithms are chosen


class Trial:
    """The network of a run, its optimizer and one random batch on a device, as its recipe trains it; of a
    batch in parts, one of them for all."""

    def __init__(self, run: Run, device: torch.device) -> None:
        torch.manual_seed(run.seed)
        self.device = device
        # However many steps then leave the weights finite.
        self.recipe = dataclasses.replace(run.recipe, learning_rate=1e-9)
        self.net = net_of(run)
        self.module = Classifier(self.net, self.recipe, steps_per_epoch=1, seed=run.seed).to(device)
        self.module.on_train_epoch_start()
        self.optimizer = make_optimizer(self.net, self.recipe)
        shape = (self.recipe.part, run.network.pixels, run.network.pixels, 3)
        # (B, 3, side, side) in the memory format of batches.
        self.images = torch.randn(shape, device=device).permute(0, 3, 1, 2)
        self.labels = torch.randint(run.network.classes, (self.recipe.part,), device=device)

    def train(self) -> None:
        """One training step."""
        if not self.net.training:
            self.net.train()
        self.optimizer.zero_grad()
        for _ in range(self.recipe.accumulate):
            self._loss().backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.optimizer.step()

    @torch.inference_mode()
    def infer(self) -> None:
        """One forward pass in evaluation mode."""
        self.net.eval()
        with self._autocast():
            self.net(self.images)

    def step_bytes(self) -> int:
        """Memory of a training step; see Measurement. Training steps have been taken before."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.train()
            return torch.cuda.max_memory_allocated(self.device)
        self.net.train()
        held = [*self.net.parameters(), *self.net.buffers()]
        own = [*held, *self._gradients(), *self._state()]
        return sum(tensor.nbytes for tensor in own) + saved_bytes(self._loss, held)

    def _gradients(self) -> list[Tensor]:
        parameters = self.net.parameters()
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def _state(self) -> list[Tensor]:
        """What the optimizer keeps."""
        found: list[Tensor] = []
        for values in self.optimizer.state.values():
            found += [value for value in values.values() if isinstance(value, Tensor)]
        return found

    def _loss(self) -> Tensor:
        with self._autocast():
            return self.module.training_step((self.images, self.labels), 0)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bf16"
        )


def saved_bytes(forward: Callable[[], Tensor], held: list[Tensor]) -> int:
    """Bytes of all memory that a forward pass keeps for its backward pass, each piece once, without that of
    the tensors `held`."""
    own = {tensor.untyped_storage().data_ptr() for tensor in held}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself: an output that is kept for its own node would never be freed.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # alive until all is counted, so that no address is used twice
    total = sum(size for address, size in kept.items() if address not in own)
    del result
    return total


def seconds_per_call(call: Callable[[], None], seconds: float, device: torch.device) -> float:
    """Mean time of a call, over as many as take `seconds`, after a warm-up."""
    for _ in range(WARM_UP - 1):
        call()
    once = seconds_of(call, 1, device)
    count = max(1, math.ceil(seconds / once))
    return seconds_of(call, count, device) / count


def seconds_of(call: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds of so many calls; the device is waited for before and after, not between."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        call()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_steps(
    runs: Mapping[str, Run], device: torch.device, name: str, rounds: int, seconds: float
) -> dict[str, Measurement]:
    """Each run's network in turn, round after round, so that a change of the machine's speed meets all alike;
    one in memory at a time.

    name: of the device. A round times training steps for `seconds` and forward passes for as long.
    """
    turns: dict[str, list[tuple[float, float, int]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            turns[key].append(_turn(Trial(run, device), seconds))
    return {key: _measurement(run, name, np.array(turns[key])) for key, run in runs.items()}


def _turn(trial: Trial, seconds: float) -> tuple[float, float, int]:
    """Seconds of a training step, images per second of inference, bytes of a training step."""
    step, forward = (
        seconds_per_call(call, seconds, trial.device) for call in (trial.train, trial.infer)
    )
    return step, trial.recipe.part / forward, trial.step_bytes()


def _measurement(run: Run, device: str, turns: np.ndarray) -> Measurement:
    """turns: (rounds, 3), see _turn."""
    (step_low, images_low, _), (step, images, step_bytes), (step_high, images_high, _) = (
        np.percentile(turns, [25, 50, 75], axis=0).tolist()
    )
    return Measurement(
        device=device,
        threads=torch.get_num_threads(),
        pixels=run.network.pixels,
        macs=cost(run.network).macs,
        batch_size=run.recipe.batch_size,
        precision=run.recipe.precision,
        step_seconds=step,
        step_low=step_low,
        step_high=step_high,
        images_per_second=images,
        images_low=images_low,
        images_high=images_high,
        step_bytes=round(step_bytes),
        rounds=len(turns),
        torch=torch.__version__,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
