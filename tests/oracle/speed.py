"""Training steps of B0 by our definition and by timm's and torchvision's, in turn: `make bench-oracle`, in
the environment of `make oracle`.

Theirs as they come and in the memory format that suits them best; ours as a run trains it. All have the same
optimizer, drop rates and random batch, and give the same logits from the same weights before they are timed.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ablation.measure.benchmarks import Benchmark, in_turn, write_benchmarks
from ablation.train.devices import cores, device_name
from ablation.train.model import ConvNet
from ablation.train.released import load, network_of
from tests.oracle.libraries import theirs

BATCH, PIXELS, STEPS, ROUNDS = 128, 64, 2, 5
# Dropout and drop path that each library's own constructor sets.
DROPS: Mapping[str, tuple[float, float]] = {
    "timm/efficientnet_b0": (0.0, 0.0),
    "torchvision/efficientnet_b0": (0.2, 0.2),
}
FORMATS: Mapping[str, torch.memory_format] = {
    "as it comes": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


def contenders(name: str) -> dict[str, nn.Module]:
    """Ours, and the library's in each memory format, with the same weights."""
    torch.manual_seed(0)
    dropout, drop_path = DROPS[name]
    ours = ConvNet(network_of(name), dropout=dropout, drop_path=drop_path)
    modules = {kind: theirs(name) for kind in FORMATS}
    for kind, module in modules.items():
        module.load_state_dict(modules["as it comes"].state_dict())
        module.to(memory_format=FORMATS[kind])
    load(ours, modules["as it comes"].state_dict(), name)
    return {"ours": ours.to(memory_format=torch.channels_last), **modules}


def check_logits(nets: Mapping[str, nn.Module], images: torch.Tensor) -> None:
    """Raises AssertionError where they differ."""
    with torch.no_grad():
        logits = [net.eval()(images) for net in nets.values()]
    for other in logits[1:]:
        torch.testing.assert_close(logits[0], other, atol=1e-4, rtol=0)


def stepping(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """A call that trains for some steps and returns images a second."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-9, momentum=0.9, nesterov=True)

    def turn() -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
        return STEPS * len(labels) / (time.perf_counter() - started)

    turn()  # memory is allocated, algorithms are chosen
    return turn


def compare(name: str) -> dict[str, Benchmark]:
    """Ours over one library's."""
    images, labels = torch.randn(BATCH, 3, PIXELS, PIXELS), torch.randint(1000, (BATCH,))
    nets = contenders(name)
    check_logits(nets, images[:8])
    formats = {
        kind: images.to(memory_format=FORMATS.get(kind, torch.channels_last)) for kind in nets
    }
    ours, plain, last = in_turn(
        ROUNDS, *(stepping(net, formats[kind], labels) for kind, net in nets.items())
    )
    best = max((plain, last), key=statistics.median)
    kind = "channels_last" if best is last else "as it comes"
    what = f"training B0 at {PIXELS} px, batch {BATCH}, threads={torch.get_num_threads()}"
    library = name.split("/")[0]
    return {
        f"{library}, as it comes": Benchmark(
            what, "images/s", ours, f"{library}'s definition, as it comes", plain, goal=1.3
        ),
        f"{library}, best": Benchmark(
            what, "images/s", ours, f"{library}'s definition, {kind}", best, goal=1.0
        ),
    }


def main() -> None:
    """Compare with both libraries and add what is found to the device's file."""
    torch.set_num_threads(1)
    device = device_name(torch.device("cpu"))
    about = {
        "device": device,
        "cores": cores(),
        "torch": torch.__version__,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for name in DROPS:
        found = {key: dataclasses.replace(value, **about) for key, value in compare(name).items()}
        write_benchmarks(Path("results"), device, found)


if __name__ == "__main__":
    main()
