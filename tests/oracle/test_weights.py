"""Logits of our modules with converted weights against timm's and torchvision's own modules: `make oracle`,
an environment of its own."""

import importlib.util
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ablation.theory.cost import cost
from ablation.train.model import ConvNet
from ablation.train.released import ARCHITECTURES, give, load, network_of

LIBRARIES = ("timm", "torchvision")
if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
    pytest.skip(f"needs {' and '.join(missing)}; run `make oracle`", allow_module_level=True)

from tests.oracle.libraries import theirs as module_of  # noqa: E402

# Of networks that differ in coefficients alone, some.
LEFT_OUT = [
    f"{library}/efficientnet_{variant}"
    for library in LIBRARIES
    for variant in ("b1", "b3", "b4", "b6", "b7", "lite1", "lite2", "lite3")
] + [f"{library}/resnet{layers}" for library in LIBRARIES for layers in (101, 152, 200)]
NAMES = [name for name in ARCHITECTURES if name not in LEFT_OUT]


def theirs(name: str) -> nn.Module:
    """The library's own module, with random weights and statistics, ready to evaluate."""
    torch.manual_seed(0)
    module = module_of(name)
    for layer in module.modules():
        for name, factor in layer.named_parameters(recurse=False):
            if name in ("gamma", "layer_scale"):
                nn.init.uniform_(factor, 0.5, 1.5)
        if isinstance(layer, nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
    return module.eval()


def unweighted(name: str) -> nn.Module:
    """The library's own module without memory for weights; torchvision's RegNets count on numbers."""
    with torch.device("cpu" if "torchvision/regnet" in name else "meta"):
        return module_of(name)


def shuffled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In another order, as a file may hold it."""
    return dict(random.Random(0).sample(list(state.items()), len(state)))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_librarys_own(name: str) -> None:
    module, net = theirs(name), ConvNet(network_of(name)).eval()
    load(net, shuffled(module.state_dict()), name)
    images = torch.randn(2, 3, 97, 97).double()  # odd, so that every stride meets an odd side
    with torch.no_grad():
        ours, expected = net.double()(images), module.double()(images)
    spread = expected.std()
    assert spread > 1e-3
    torch.testing.assert_close(ours / spread, expected / spread, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_librarys_module_takes_our_weights_and_epsilon(name: str) -> None:
    module = module_of(name).eval()
    own = ConvNet(replace(network_of(name), norm_epsilon=2e-3))
    source = ConvNet(network_of(name))
    load(source, theirs(name).state_dict(), name)
    own.load_state_dict(source.state_dict())
    give(own, module, name)
    images = torch.randn(2, 3, 97, 97).double()
    with torch.no_grad():
        ours, expected = own.eval().double()(images), module.double()(images)
    spread = expected.std()
    assert spread > 1e-3
    torch.testing.assert_close(ours / spread, expected / spread, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_epsilons_are_the_librarys_own(name: str) -> None:
    module = unweighted(name)
    norms = nn.BatchNorm2d | nn.LayerNorm
    assert {layer.eps for layer in module.modules() if isinstance(layer, norms)} == {
        network_of(name).norm_epsilon
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_costs_are_the_librarys_own(name: str) -> None:
    """Parameters, and multiply-adds as torch counts them in the forward pass of the library's module."""
    network = network_of(name)
    module = unweighted(name).eval()
    images = torch.empty(
        1, 3, network.pixels, network.pixels, device=next(module.parameters()).device
    )
    with FlopCounterMode(display=False) as counter:
        module(images)
    counted = cost(network)
    assert counted.params == sum(parameter.numel() for parameter in module.parameters())
    assert 2 * counted.macs == counter.get_total_flops()
