"""Part 2: where a training step goes: forward, loss, backward, clipping, optimizer and averages, launched one
by one, replayed as one CUDA graph, and compiled."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ablation.measure.steps import WARM_UP, Trial, seconds_per_call
from ablation.runs.config import Run
from ablation.theory.baselines import BASELINES
from ablation.theory.cost import training_flops
from ablation.theory.network import Network
from ablation.train.classifier import Averaging
from tests.gpu.checks import BOTH, GPU, Check, Site
from tests.gpu.correctness import b0, below, error, exactly, flat, run_of

# By device: images in a batch; seconds of steps in a measurement; steps that are profiled.
BATCH: Mapping[str, int] = {"cpu": 8, "cuda": 128}
SECONDS: Mapping[str, float] = {"cpu": 0.02, "cuda": 0.5}
PROFILED: Mapping[str, int] = {"cpu": 1, "cuda": 10}
SIDE: Mapping[str, int] = {"cpu": 256, "cuda": 8192}  # of the matrices of a product
COPIED: Mapping[str, int] = {"cpu": 2**24, "cuda": 2**32}  # bytes
LAYERS: Mapping[str, int] = {"cpu": 8, "cuda": 1024}  # images: more than a GPU's cache holds
ALIKE = 1e-2  # relative: weights after a few steps of a graph against those of eager steps
FEW = 5
NETWORKS: Mapping[str, Network] = {"mini": BASELINES["mini"].network, "B0 at 64 px": b0(64)}
PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Step(Trial):
    """A trial whose step also averages weights, as a run with clipping and averages does."""

    def __init__(self, run: Run, device: torch.device, learning_rate: float = 1e-9) -> None:
        super().__init__(run, device)
        self.averaging = Averaging(self.recipe.ema)
        self.averaging._average_model = torch.optim.swa_utils.AveragedModel(
            self.module, use_buffers=True
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def train(self) -> None:
        """One training step; the average is that of a step long after its warm-up."""
        super().train()
        self.averaging.update(self.net, 10_000)


def step_of(site: Site, network: str, precision: str, **how: Any) -> Step:
    """Of one network, as a recipe with clipping and averages trains it, and as Lightning is told to: with
    cuDNN trying its algorithms."""
    torch.backends.cudnn.benchmark = site.gpu
    recipe = {"batch_size": BATCH[site.device], "precision": precision, "clip": 1.0, "ema": 0.99}
    return Step(run_of(NETWORKS[network], **recipe), torch.device(site.device), **how)


def eager(step: Step) -> Callable[[], None]:
    """Kernels launched one by one."""
    return step.train


def fused(step: Step) -> Callable[[], None]:
    """The same with torch's fused optimizer: one kernel for many tensors."""
    kind = type(step.optimizer)
    groups = [{**group, "fused": True} for group in step.optimizer.param_groups]
    step.optimizer = kind(groups, fused=True)
    return step.train


def graphed(step: Step) -> Callable[[], None]:
    """The whole step as one CUDA graph, replayed."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # memory, momentum and algorithms before the capture
        for _ in range(WARM_UP):
            step.train()
    torch.cuda.current_stream().wait_stream(beside)
    step.optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step.train()
    return graph.replay


def compiled(step: Step, mode: str = "default") -> Callable[[], None]:
    """Forward and backward through torch.compile."""
    step.module.net = torch.compile(step.net, mode=mode, dynamic=False)
    return step.train


VARIANTS: Mapping[str, Callable[[Step], Callable[[], None]]] = {
    "eager": eager,
    "fused": fused,
    "graph": graphed,
    "compile": compiled,
    "reduce-overhead": partial(compiled, mode="reduce-overhead"),
}


def measure(network: str, precision: str, variant: str, site: Site) -> dict[str, Any]:
    """Images and FLOP/s of one way to do a step, its kernels and how long the device waits between them."""
    step = step_of(site, network, precision)
    call = VARIANTS[variant](step)
    call()
    seconds = seconds_per_call(call, SECONDS[site.device], step.device)
    batch = step.recipe.batch_size
    flops = training_flops(NETWORKS[network], batch) / seconds
    return {
        "images/s": round(batch / seconds),
        "ms": round(1e3 * seconds, 4),
        "GFLOP/s": round(flops / 1e9, 1),
        **_profiled(call, site),
    }


def _profiled(call: Callable[[], None], site: Site) -> dict[str, Any]:
    """Of a GPU kernels a step and the share of time without any; of a CPU operations a step."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if site.gpu else [])]
    count = PROFILED[site.device]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the profiler, about itself
        with profile(activities=kinds, acc_events=True) as seen:
            for _ in range(count):
                call()
            if site.gpu:
                torch.cuda.synchronize()
        events = list(seen.events())
    if not site.gpu:
        return {"operations a step": sum(event.cpu_parent is None for event in events) // count}
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]
    return {"kernels a step": round(len(spans) / count, 1), "idle": round(idle(spans), 3)}


def idle(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end in which none of these goes on."""
    ordered = sorted(spans)
    busy, until = 0.0, ordered[0][0]
    for start, end in ordered:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - busy / (until - ordered[0][0])


def ceilings(site: Site) -> dict[str, Any]:
    """What the device gives at most: bytes copied a second, read and written ones counted, and FLOP/s of
    products of random matrices."""
    return {
        "copy GB/s": round(copy_rate(site) / 1e9, 1),
        **{f"{name} GFLOP/s": round(product_rate(site, name) / 1e9, 1) for name in PRECISIONS},
    }


def copy_rate(site: Site) -> float:
    """Bytes a second, read and written."""
    device = torch.device(site.device)
    source = torch.randint(255, (COPIED[site.device],), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = seconds_per_call(lambda: target.copy_(source), SECONDS[site.device], device)
    return 2 * source.nbytes / seconds


def product_rate(site: Site, precision: str) -> float:
    """FLOP/s of a matrix product."""
    device, side = torch.device(site.device), SIDE[site.device]
    left, right = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in "ab")
    out = torch.empty_like(left)
    call = lambda: torch.mm(left, right, out=out)  # noqa: E731
    return 2 * side**3 / seconds_per_call(call, SECONDS[site.device], device)


KINDS: Mapping[str, Callable[[nn.Module], bool]] = {
    "depthwise": lambda layer: (
        isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
    ),
    "batch norm": lambda layer: isinstance(layer, nn.BatchNorm2d),
    "activation": lambda layer: isinstance(layer, nn.SiLU),
}


def layers(site: Site) -> dict[str, Any]:
    """Of each kind of memory-bound layer of B0 the one with most to read: its forward pass in training mode,
    the fewest bytes that it can move a second, as a share of a copy's."""
    step = step_of(site, "B0 at 64 px", "fp32")
    seen = inputs_of(step.net, step.images)
    limit = copy_rate(site)
    found = {}
    for (kind, of_kind), (precision, dtype) in itertools.product(KINDS.items(), PRECISIONS.items()):
        layer, shape = max(
            ((layer, shape) for layer, shape in seen if of_kind(layer)),
            key=lambda pair: pair[1].numel(),
        )
        images = LAYERS[site.device], *shape[1:]
        moved = torch.randn(images, device=site.device, dtype=dtype)
        moved = moved.contiguous(memory_format=torch.channels_last)
        rate = _bytes_a_second(layer, moved, site)
        found[f"{kind}, {precision}"] = {"shape": list(images), "of a copy": round(rate / limit, 3)}
    return found


def inputs_of(net: nn.Module, images: Tensor) -> list[tuple[nn.Module, torch.Size]]:
    """Every layer without parts, with the shape of what it takes."""
    seen: list[tuple[nn.Module, torch.Size]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, given, _: seen.append((layer, given[0].shape)))
        for layer in net.modules()
        if not list(layer.children())
    ]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def _bytes_a_second(layer: nn.Module, given: Tensor, site: Site) -> float:
    """Input read and output written once. A norm keeps its float32 weights, as under autocast."""
    layer = layer.to(given.dtype) if isinstance(layer, nn.Conv2d) else layer.float()
    out = layer(given)
    seconds = seconds_per_call(lambda: layer(given), SECONDS[site.device], given.device)
    return (given.nbytes + out.nbytes) / seconds


def same_weights(site: Site) -> dict[str, Any]:
    """A graph's steps, and those of a fused optimizer, leave the weights that eager ones do."""
    variants = ("fused", "graph") if site.gpu else ("fused",)
    found = {}
    for network, variant in itertools.product(NETWORKS if site.gpu else ["mini"], variants):
        plain, other = (step_of(site, network, "fp32", learning_rate=0.01) for _ in "ab")
        start = flat(plain.net.parameters())
        other.images.copy_(plain.images)
        other.labels.copy_(plain.labels)
        with exactly():
            call = VARIANTS[variant](other)  # a graph has made its warm-up steps by then
            before = WARM_UP if variant == "graph" else 0
            for _ in range(FEW):
                call()
            for _ in range(FEW + before):
                plain.train()
        moved = flat(plain.net.parameters()) - start
        found[f"{network}, {variant}"] = error(flat(other.net.parameters()) - start, moved)
    return below(ALIKE, found)


def _checks() -> list[Check]:
    """One for each network, precision and variant; compiling takes long, so that it is for B0 in bf16, and
    last."""
    cheap = itertools.product(NETWORKS, PRECISIONS, ("eager", "graph", "fused"))
    slow = (("B0 at 64 px", "bf16", variant) for variant in ("compile", "reduce-overhead"))
    return [
        Check(", ".join(names), partial(measure, *names), devices_of(*names))
        for names in (*cheap, *slow)
    ]


def devices_of(network: str, precision: str, variant: str) -> tuple[str, ...]:
    """Where a step is measured: all on a GPU, what takes no time on a CPU."""
    return BOTH if network == "mini" and variant in ("eager", "fused") else GPU


CHECKS = (
    Check("ceilings", ceilings),
    Check("same weights", same_weights),
    Check("layers", layers),
    *_checks(),
)
