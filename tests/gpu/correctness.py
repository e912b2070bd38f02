"""Part 1: the same numbers as on a CPU within stated tolerances, and what a run promises about its device."""

import contextlib
import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablation.images.batches import Batches
from ablation.images.splits import load
from ablation.measure.steps import Trial
from ablation.runs.arms import Planned
from ablation.runs.config import Execution, Recipe, Run
from ablation.runs.records import Record, checkpoint_path
from ablation.theory.baselines import BASELINES
from ablation.theory.matching import nominal
from ablation.theory.network import Network
from ablation.theory.scaling import Coefficients
from ablation.train import execute as training
from ablation.train.classifier import Averaging, Classifier
from ablation.train.devices import (
    GIB,
    capacity,
    cores,
    device_name,
    devices_of,
    memory,
    on_gpu,
)
from ablation.train.model import net_of
from ablation.train.operators import StochasticDepth
from ablation.train.processes import PRELOAD, Died, alone, together
from tests.conftest import with_small_sets
from tests.gpu.checks import GPU, Check, Site
from tests.test_faults import host_out_of_memory
from tests.test_resume import HARD, assert_same_run, epoch_of, wait_for
from tests.test_training import DATA, RECIPE, planned

# ‖ours - reference‖ / ‖reference‖, the reference in float64 on the CPU: largest that passes.
FLOAT32, GRADIENTS, BFLOAT16 = 1e-4, 1e-2, 5e-2
UPDATES = (
    5e-2  # of what optimizers make of them: AdamW's first step is nearly a sign, of tiny ones too
)
SMALL = ("mini", "mini-resnet")
MORE = ("mini-mobilenet-v1", "mini-mobilenet-v2", "mini-convnext")  # on a GPU
CPU = torch.device("cpu")
# Without what is drawn at random on the device.
PLAIN = dataclasses.replace(RECIPE, dropout=0.0, drop_path=0.0)
OPTIMIZERS: Mapping[str, float] = {"sgd": 0.1, "rmsprop": 0.004, "adamw": 0.001}  # learning rates
SHARE = 0.25  # GiB of a GPU, too little for B0
LARGE = 256  # images in a batch of B0


def networks(site: Site) -> dict[str, Network]:
    """Small ones, on a GPU of every family, and B0 at 64 px."""
    small = {name: BASELINES[name].network for name in SMALL + (MORE if site.gpu else ())}
    return small | ({"b0 at 64 px": b0(64)} if site.gpu else {})


def b0(pixels: int) -> Network:
    """B0 at another resolution, for the classes of the images here."""
    network = nominal(BASELINES["b0"], Coefficients(resolution=pixels / 224)).network
    return dataclasses.replace(network, classes=DATA.classes)


def run_of(network: Network, **recipe: Any) -> Run:
    """A run that trains this network, with changes of its recipe."""
    changed = dataclasses.replace(PLAIN, **recipe)
    return dataclasses.replace(planned().run, network=network, recipe=changed)


def error(ours: Tensor, reference: Tensor) -> float:
    """Relative, in the norm of all elements; NaN where ours has one, which no limit lets pass."""
    wanted = reference.double().cpu()
    return float((ours.detach().double().cpu() - wanted).norm() / wanted.norm())


def below(limit: float, found: Mapping[str, float]) -> dict[str, Any]:
    """What was found; raises AssertionError where an error is not below the limit."""
    wrong = {name: value for name, value in found.items() if not value < limit}
    assert not wrong, f"not below {limit:g}: {wrong}"
    return {
        "limit": limit,
        "errors": {name: float(f"{value:.2g}") for name, value in found.items()},
    }


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """float32 products in float32, of a GPU too, whose convolutions else round their inputs to TF32."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def forward(site: Site) -> dict[str, Any]:
    """Logits in float32 of every family; with TF32, as torch has it by default, for comparison."""
    found, rounded = {}, {}
    for name, network in networks(site).items():
        ours, images, wanted = _logits(network, site)
        with torch.inference_mode():
            with exactly():
                found[name] = error(ours(images), wanted)
            rounded[name] = float(f"{error(ours(images), wanted):.2g}")
    return below(FLOAT32, found) | {"by default": rounded}


def bf16(site: Site) -> dict[str, Any]:
    """Logits under autocast: bfloat16, near to float64's and not equal; and a run with it."""
    found = {}
    for name, network in networks(site).items():
        ours, images, wanted = _logits(network, site)
        with torch.inference_mode(), torch.autocast(site.device, dtype=torch.bfloat16):
            logits = ours(images)
        assert logits.dtype == torch.bfloat16, logits.dtype
        found[name] = error(logits, wanted)
        assert found[name] > FLOAT32, f"{name} is as near as float32: nothing was cast"
    record = trained(site, dataclasses.replace(PLAIN, precision="bf16"))
    return below(BFLOAT16, found) | {"status": record.status}


def _logits(network: Network, site: Site) -> tuple[nn.Module, Tensor, Tensor]:
    """A network on the device in evaluation mode, a batch there, and the logits in float64."""
    torch.manual_seed(0)
    net = net_of(run_of(network)).eval()
    images = torch.randn(16 if site.gpu else 4, 3, network.pixels, network.pixels)
    with torch.inference_mode():
        wanted = net.double()(images.double())
    return net.float().to(site.device), images.to(site.device), wanted


def channels_last(site: Site) -> dict[str, Any]:
    """Both memory formats give the same logits."""
    found = {}
    for name, network in networks(site).items():
        ours, images, _ = _logits(network, site)
        with torch.inference_mode(), exactly():
            last = ours(images.contiguous(memory_format=torch.channels_last))
            ours.to(memory_format=torch.contiguous_format)
            found[name] = error(ours(images), last)
    return below(FLOAT32, found)


def training_step(site: Site) -> dict[str, Any]:
    """Gradients of a step with clipping, and what each optimizer makes of them, against float64."""
    gradients = {
        name: error(*_steps(network, "sgd", site)[0]) for name, network in networks(site).items()
    }
    mini = BASELINES["mini"].network
    updates = {name: error(*_steps(mini, name, site)[1]) for name in OPTIMIZERS}
    return {"gradients": below(GRADIENTS, gradients), "updates": below(UPDATES, updates)}


def _steps(network: Network, optimizer: str, site: Site) -> tuple[tuple[Tensor, Tensor], ...]:
    """(ours, reference) of all gradients of one step, and of how far it moves all weights."""
    run = run_of(network, optimizer=optimizer, clip=1.0)
    reference, ours = Trial(run, CPU), Trial(run, torch.device(site.device))
    ours.images = reference.images.to(site.device)
    ours.labels = reference.labels.to(site.device)
    reference.net.double()
    reference.images = reference.images.double()
    before = flat(reference.net.parameters())
    for trial in (reference, ours):
        for group in trial.optimizer.param_groups:
            group["lr"] = OPTIMIZERS[optimizer]
        with exactly():
            trial.train()
    both = [trial.net for trial in (ours, reference)]
    gradients, weights = (
        [flat(pick(net)) for net in both] for pick in (_gradients, nn.Module.parameters)
    )
    return tuple(gradients), tuple(each - before for each in weights)


def _gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All elements, in float64 on the CPU."""
    return torch.cat([tensor.detach().flatten().double().cpu() for tensor in tensors])


def ema(site: Site) -> dict[str, Any]:
    """Averages of weights and statistics over ten steps are those of the formula in float64."""
    module = Classifier(net_of(run_of(BASELINES["mini"].network)), PLAIN, 1, 0).to(site.device)
    averaging, decay = Averaging(0.99), 0.99
    averaging._average_model = torch.optim.swa_utils.AveragedModel(module, use_buffers=True)
    wanted: dict[str, Tensor] = {}
    for step in range(10):
        kept = min(decay, (1 + step) / (10 + step)) if step else 0.0
        for name, tensor in module.net.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn_like(tensor))
                newest = tensor.double().cpu()
                wanted[name] = kept * wanted.get(name, 0.0) + (1 - kept) * newest
        averaging.update(module.net, step)
    averaged = averaging.network.state_dict()
    return below(FLOAT32, {"mini": max(error(averaged[name], wanted[name]) for name in wanted)})


def stochastic_depth(site: Site) -> dict[str, Any]:
    """Whole samples are dropped at the rate, others scaled; the same ones for the same seed; none in
    evaluation."""
    drop, ones = StochasticDepth(0.3), torch.ones(20_000, 2, 2, 1, device=site.device)
    masks = []
    for _ in range(2):
        torch.manual_seed(7)
        masks.append(drop(ones).flatten(1))
    assert torch.equal(*masks)
    assert bool((masks[0] == masks[0][:, :1]).all())
    kept = masks[0][:, 0] > 0
    torch.testing.assert_close(masks[0][kept], torch.full_like(masks[0][kept], 1 / 0.7))
    share = kept.float().mean().item()
    assert abs(share - 0.7) < 0.02, share  # six deviations
    assert torch.equal(drop.eval()(ones), ones)
    return {"kept": round(share, 4)}


def data(site: Site) -> dict[str, Any]:
    """Batches of images in memory and of streamed ones are equal bits on the device, and those of a CPU."""
    cache = cache_of(site)
    recipe = dataclasses.replace(PLAIN, shift=0.1)
    held, streamed, host = (
        _batches(load(DATA, 32, cache, room=room, readers=1).train.to(torch.device(place)), recipe)
        for room, place in ((float("inf"), site.device), (0.0, site.device), (float("inf"), "cpu"))
    )
    assert len(held) == len(streamed) == len(host) > 1
    for (images, labels), (others, same), (theirs, known) in zip(held, streamed, host, strict=True):
        assert images.device.type == others.device.type == site.device
        assert torch.equal(images, others) and torch.equal(labels, same)
        assert torch.equal(labels.cpu(), known)
        torch.testing.assert_close(images.cpu(), theirs, rtol=0, atol=1e-6)
    return {"batches": len(held)}


def _batches(images: Any, recipe: Recipe) -> list[tuple[Tensor, Tensor]]:
    return list(Batches(images, recipe, 0, epoch=lambda: 1))


def run(site: Site) -> dict[str, Any]:
    """A whole run, TF32 off, against the same on the CPU: its losses, and what its record says of where."""
    record = trained(site, PLAIN)
    host = trained(site, PLAIN, accelerator="cpu")
    assert record.status == "done" and record.device == device_name(torch.device(site.device))
    both = zip(record.history, host.history, strict=True)
    found = {
        f"epoch {ours['epoch']}": abs(ours["train/loss"] / theirs["train/loss"] - 1)
        for ours, theirs in both
    }
    return below(1e-2, found) | {"images/s": round(record.images_per_second)}


def peak_memory(site: Site) -> dict[str, Any]:
    """A record's peak is at least that of one step of its network, and no more than there is."""
    record, entry = trained(site, PLAIN), planned(PLAIN)
    trial = Trial(entry.run, torch.device(site.device))
    trial.train()
    step = trial.step_bytes()
    assert record.peak_memory >= step, (record.peak_memory, step)
    assert not site.gpu or record.peak_memory < memory(0) * GIB
    return {"MiB": record.peak_memory // 2**20, "of a step": step // 2**20}


def kill_and_resume(site: Site) -> dict[str, Any]:
    """A run killed after two epochs and begun again ends with the same bits as one that was not, with
    deterministic kernels; on a GPU so does one that is merely repeated."""
    entry = planned(dataclasses.replace(HARD, epochs=4, learning_rate=0.01))
    killed, undisturbed, repeated = (
        execution_of(site, runs=site.folder / name, keep_weights=True)
        for name in ("killed", "undisturbed", "repeated")
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=repeatable, args=(entry, killed))
    process.start()
    wait_for(lambda: epoch_of(killed, entry) >= 2)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it was done before it was killed"
    assert checkpoint_path(killed.runs, entry.run.id).exists()
    finished = (undisturbed, killed, repeated) if site.gpu else (undisturbed, killed)
    for where in finished:
        repeatable(entry, where)
        assert_same_run(undisturbed, where, entry)
    return {"epochs": entry.run.recipe.epochs}


def repeatable(entry: Planned, where: Execution) -> None:
    """Train with kernels that give the same bits each time, or raise where there is none."""
    trainer_for = training.trainer_for

    def without_trials(*arguments: Any) -> Any:
        trainer = trainer_for(*arguments)
        torch.backends.cudnn.benchmark = False  # which kernel is fastest differs from time to time
        return trainer

    torch.use_deterministic_algorithms(True)
    training.trainer_for = without_trials
    try:
        training.execute(entry, where)
    finally:
        training.trainer_for = trainer_for
        torch.use_deterministic_algorithms(False)


def out_of_memory(site: Site) -> dict[str, Any]:
    """Said in words, with what asked for it and the way out."""
    run = run_of(b0(96), batch_size=LARGE)
    run = dataclasses.replace(run, data=dataclasses.replace(DATA, train_size=LARGE))
    entry = dataclasses.replace(planned(), run=run)
    where = execution_of(site, gpu_memory=SHARE if site.gpu else None)
    try:
        alone(starved, entry, where)
    except Died as died:
        place = "the GPU" if site.gpu else "this machine"
        asked = f"{place} ran out of memory with recipe.batch_size={LARGE} at 96 px; take a smaller"
        assert str(died).startswith(f"OutOfMemory: {asked}"), died
        return {"said": str(died)}
    raise AssertionError(f"B0 at 96 px, batch {LARGE}, went through")


def starved(entry: Planned, where: Execution) -> None:
    """Train with next to no memory: on a GPU its share is small, on a CPU the process may hardly grow."""
    if where.gpu_memory is None:
        host_out_of_memory()
    training.execute(entry, where)


def places(site: Site) -> dict[str, Any]:
    """One device is cuda:0, its lock bears the UUID; and how many runs fit."""
    where = execution_of(site)
    with devices_of(where) as found:
        names = [str(device) for device in found]
        locks = [path.name for path in (where.cache / "gpus").glob("*")]
    assert names == (["cuda:0"] if site.gpu else ["cpu"])
    assert on_gpu("auto") == torch.cuda.is_available() and not on_gpu("cpu")
    if not site.gpu:
        assert locks == [] and capacity(where) == cores()
        return {"capacity": capacity(where)}
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    assert f"{uuid}.0" in locks, locks
    few, many = (dataclasses.replace(where, gpu_memory=share) for share in (memory(0) / 2.5, 1.0))
    whole = torch.cuda.device_count()
    assert (capacity(where), capacity(few)) == (min(cores(), whole), min(cores(), 2 * whole))
    return {"uuid": uuid, "capacity": capacity(where), "with 1 GiB each": capacity(many)}


def locks(site: Site) -> dict[str, Any]:
    """Of three processes two share a GPU, the third waits, and none gets more than its share."""
    each = memory(0) / 2.5
    turns = together(held, [(execution_of(site, gpu_memory=each), each)] * 3)
    ordered = sorted(turns)
    assert all(refused for _, _, refused in turns), "more than its share was given"
    first_end = min(end for _, end, _ in ordered[:2])
    if torch.cuda.device_count() == 1:
        assert ordered[1][0] < first_end <= ordered[2][0], ordered
    return {"waited": round(ordered[2][0] - ordered[0][0], 2)}


def held(where: Execution, share: float) -> tuple[float, float, bool]:
    """When a share was held, from and until, and whether more of the GPU than that was refused."""
    with devices_of(where) as [device]:
        started = time.time()
        try:
            torch.empty(int(1.2 * share * GIB), dtype=torch.uint8, device=device)
            refused = False
        except torch.OutOfMemoryError:
            refused = True
        time.sleep(2.0)  # longer than CUDA takes to begin in the others
        return started, time.time(), refused


def cache_of(site: Site) -> Path:
    """A cache of small sets, made once."""
    folder = site.folder / "cache"
    return folder if folder.exists() else with_small_sets(folder)


def execution_of(site: Site, **changes: Any) -> Execution:
    """How runs are carried out here."""
    values = {
        "runs": site.folder / "runs",
        "cache": cache_of(site),
        "accelerator": site.accelerator,
    }
    return Execution(**({"wandb": "disabled"} | values | changes))


def trained(site: Site, recipe: Recipe, accelerator: str = "") -> Record:
    """The record of a tiny run with this recipe, trained once, TF32 off."""
    chosen = accelerator or site.accelerator
    where = execution_of(site, runs=site.folder / f"runs-{chosen}", accelerator=chosen)
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        return training.execute(planned(recipe), where)
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


CHECKS = (
    Check("forward", forward),
    Check("bf16", bf16),
    Check("channels last", channels_last),
    Check("training step", training_step),
    Check("ema", ema),
    Check("stochastic depth", stochastic_depth),
    Check("data", data),
    Check("run", run),
    Check("peak memory", peak_memory),
    Check("places", places),
    Check("locks and shares", locks, GPU),
    Check("out of memory", out_of_memory),
    Check("kill and resume", kill_and_resume),
)
