"""Logits of our modules with converted weights against timm's and torchvision's own modules: `make oracle`,
an environment of its own."""

import importlib.util
import random
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from ablation.train.model import ConvNet
from ablation.train.released import ARCHITECTURES, load, network_of

LIBRARIES = ("timm", "torchvision")
if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
    pytest.skip(f"needs {' and '.join(missing)}; run `make oracle`", allow_module_level=True)

from tests.oracle.libraries import theirs as module_of  # noqa: E402

NAMES = [
    *(
        f"{library}/efficientnet_{variant}"
        for library in LIBRARIES
        for variant in ("b0", "b2", "b5")
    ),
    "timm/mobilenetv1_100",
    "timm/mobilenetv2_100",
    "timm/resnet50",
    "torchvision/mobilenet_v2",
    "torchvision/resnet50",
]


def theirs(name: str) -> nn.Module:
    """The library's own module, with random weights and statistics, ready to evaluate."""
    torch.manual_seed(0)
    module = module_of(name)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
    return module.eval()


def shuffled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In another order, as a file may hold it."""
    return dict(random.Random(0).sample(list(state.items()), len(state)))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_librarys_own(name: str) -> None:
    module, net = theirs(name), ConvNet(network_of(name)).eval()
    load(net, shuffled(module.state_dict()), name)
    images = torch.randn(2, 3, 97, 97)  # odd, so that every stride meets an odd side
    with torch.no_grad():
        ours, expected = net(images), module(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_epsilons_are_the_librarys_own(name: str) -> None:
    with torch.device("meta"):
        module = module_of(name)
    assert {layer.eps for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)} == {
        network_of(name).norm_epsilon
    }
