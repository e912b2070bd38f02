"""Part 3: how many small runs at once: processes that share a GPU, with and without MPS, and seeds as a batch
dimension of one process."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablation.measure.steps import WARM_UP, Trial, seconds_per_call
from ablation.runs.config import Run
from ablation.theory.baselines import BASELINES
from ablation.train.model import net_of
from ablation.train.optimizer import make_optimizer
from ablation.train.processes import together
from tests.gpu import mps
from tests.gpu.checks import BOTH, GPU, Check, Site
from tests.gpu.correctness import below, error, run_of
from tests.gpu.step import BATCH, SECONDS, Step, graphed

AT_ONCE: Mapping[str, Sequence[int]] = {"cpu": (1, 2), "cuda": (1, 4, 16)}
SEEDS: Mapping[str, Sequence[int]] = {"cpu": (1, 2), "cuda": (1, 4, 16)}
PATIENCE = 60.0  # seconds until all processes have begun
ALIKE = 1e-3  # relative: a seed's gradients among others, against those of the seed alone


def mini(site: Site, seed: int = 0, **recipe: Any) -> Run:
    """A run of the small network, as its seed draws it."""
    run = run_of(BASELINES["mini"].network, batch_size=BATCH[site.device], **recipe)
    return dataclasses.replace(run, seed=seed)


def processes(count: int, shared: bool, site: Site) -> dict[str, Any]:
    """Steps an hour of so many processes at once, each launching kernels one by one, and on a GPU each
    replaying a graph of a step; shared: through MPS."""
    folder = site.folder / f"{count}-{shared}"
    folder.mkdir()
    variables = mps.environment(site.folder) if shared else {}
    if shared and (why := mps.start(site.folder)):
        return {"left out": why}
    try:
        rates = together(
            _rates, [(site, place, count, folder, variables) for place in range(count)]
        )
    finally:
        mps.stop(site.folder)
    return {name: round(3600 * sum(rate[name] for rate in rates)) for name in rates[0]}


def _rates(
    site: Site, place: int, count: int, folder: Path, variables: Mapping[str, str]
) -> dict[str, float]:
    """Steps a second of this process while all others do the same."""
    os.environ |= variables  # before CUDA is touched
    torch.set_num_threads(1)
    step = Step(mini(site, place, clip=1.0, ema=0.99), torch.device(site.device))
    ways = {"steps/h": step.train} | ({"steps/h, graph": graphed(step)} if site.gpu else {})
    found = {}
    for number, (name, call) in enumerate(ways.items()):
        for _ in range(WARM_UP):
            call()
        meet(folder, f"{number}-{place}", count, f"{number}-*")
        found[name] = steps_a_second(call, 2 * SECONDS[site.device], step.device)
    return found


def meet(folder: Path, name: str, count: int, pattern: str) -> None:
    """Wait until all have come here; raises TimeoutError where they do not."""
    (folder / name).touch()
    ends = time.monotonic() + PATIENCE
    while len(list(folder.glob(pattern))) < count:
        if time.monotonic() > ends:
            raise TimeoutError(f"fewer than {count} processes began within {PATIENCE:.0f} s")
        time.sleep(0.002)


def steps_a_second(call: Callable[[], None], seconds: float, device: torch.device) -> float:
    """Calls a second, waiting for the device after every few, until so many seconds are over."""
    started, count = time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        for _ in range(5):
            call()
        count += 5
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return count / (now - started) if count else 0.0


class Seeds:
    """Runs that differ in their seed alone as one module: weights (S, ...), batches (S, B, 3, H, W), and one
    optimizer over all, which is each seed's own since its steps are elementwise."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        nets = []
        for run in runs:
            torch.manual_seed(run.seed)
            nets.append(net_of(run).to(device))
        self.device, self.recipe, self.net = device, runs[0].recipe, nets[0]
        weights, self.buffers = torch.func.stack_module_state(nets)  # type: ignore[arg-type]
        self.weights: dict[str, Tensor] = weights
        batch, network = self.recipe.batch_size, runs[0].network
        shape = (len(runs), batch, 3, network.pixels, network.pixels)
        self.images = torch.randn(shape, device=device)
        self.labels = torch.randint(network.classes, shape[:2], device=device)
        self.optimizer = _optimizer(nets[0], self.weights, self.recipe)

    def train(self) -> None:
        """One training step of every seed."""
        self.optimizer.zero_grad()
        losses = torch.func.vmap(self._loss, randomness="different")(
            self.weights, self.buffers, self.images, self.labels
        )
        losses.sum().backward()
        if self.recipe.clip:
            self._clip()
        self.optimizer.step()

    def _loss(
        self,
        weights: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        images: Tensor,
        labels: Tensor,
    ) -> Tensor:
        enabled = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            logits = torch.func.functional_call(self.net, ({**weights}, {**buffers}), (images,))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _clip(self) -> None:
        """The norm of each seed's own gradients."""
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)  # (S,)
        scale = (self.recipe.clip / (norms + 1e-6)).clamp(max=1.0)
        for each in gradients:
            each.mul_(scale.view(-1, *[1] * (each.ndim - 1)))


def _optimizer(net: nn.Module, weights: Mapping[str, Tensor], recipe: Any) -> torch.optim.Optimizer:
    """The recipe's, over the stacked weights, in the groups of one network's."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    made = make_optimizer(net, recipe)
    groups = [
        {
            **group,
            "lr": 1e-9,
            "params": [weights[names[parameter]] for parameter in group["params"]],
        }
        for group in made.param_groups
    ]
    return type(made)(groups)


def seeds(count: int, precision: str, site: Site) -> dict[str, Any]:
    """Steps an hour, over all seeds, of so many as one batch dimension; on a GPU of its graph, too."""
    runs = [mini(site, seed, clip=1.0, precision=precision) for seed in range(count)]
    device = torch.device(site.device)
    found = {"steps/h": _an_hour(Seeds(runs, device).train, count, site)}
    if site.gpu:
        found["steps/h, graph"] = _an_hour(graphed(Seeds(runs, device)), count, site)  # type: ignore[arg-type]
    return found


def _an_hour(call: Callable[[], None], count: int, site: Site) -> int:
    device = torch.device(site.device)
    return round(3600 * count / seconds_per_call(call, SECONDS[site.device], device))


def each_its_own(site: Site) -> dict[str, Any]:
    """Gradients, losses' weights and statistics of a seed among others are those of the seed alone, with
    clipping."""
    runs = [mini(site, seed, clip=1.0) for seed in range(3)]
    all_of_them = Seeds(runs, torch.device(site.device))
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        all_of_them.train()
        found = {}
        for place, run in enumerate(runs):
            trial = Trial(run, torch.device(site.device))
            trial.images, trial.labels = all_of_them.images[place], all_of_them.labels[place]
            trial.train()
            found |= {
                f"seed {run.seed}, {name}": value
                for name, value in _apart(trial, all_of_them, place)
            }
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    return below(ALIKE, found)


def _apart(trial: Trial, together: Seeds, place: int) -> list[tuple[str, float]]:
    """How far a seed's gradients and statistics are from its own."""
    alone = dict(trial.net.named_parameters())
    theirs = torch.cat([together.weights[name].grad[place].flatten() for name in alone])
    ours = torch.cat([parameter.grad.flatten() for parameter in alone.values()])
    means = {name: each for name, each in trial.net.named_buffers() if "running" in name}
    stacked = torch.cat([together.buffers[name][place].flatten() for name in means])
    return [
        ("gradients", error(theirs, ours)),
        ("statistics", error(stacked, torch.cat([each.flatten() for each in means.values()]))),
    ]


def _checks() -> list[Check]:
    """Seeds first: they take no time. What a CPU does, too, comes with small numbers."""
    found = [Check("each seed its own", each_its_own)]
    for count in SEEDS["cuda"]:
        found += [
            Check(f"{count} seeds, {name}", partial(seeds, count, name), GPU)
            for name in ("fp32", "bf16")
        ]
    found += [
        Check(f"{count} seeds", partial(seeds, count, "fp32"), ("cpu",)) for count in SEEDS["cpu"]
    ]
    for shared, devices in ((False, BOTH), (True, GPU)):
        for count in dict.fromkeys([*AT_ONCE["cpu"], *AT_ONCE["cuda"]]):
            where = tuple(device for device in devices if count in AT_ONCE[device])
            name = f"{count} processes" + (", MPS" if shared else "")
            found += [Check(name, partial(processes, count, shared), where)] if where else []
    return found


CHECKS = tuple(_checks())
