"""Loading released weights; `make oracle` holds the logits against the libraries' own modules."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ablation.theory.baselines import MOBILENET_V2
from ablation.train.model import ConvNet
from ablation.train.released import ARCHITECTURES, load, network_of

MOBILENET = "torchvision/mobilenet_v2"


def released(name: str, net: ConvNet) -> dict[str, Tensor]:
    """A state dict as the library names it, with tensors of `net`'s shapes, the i-th of them full of i."""
    modules = dict.fromkeys(tensor.rpartition(".")[0] for tensor in net.state_dict())
    theirs = dict(zip(modules, ARCHITECTURES[name].naming.modules(net.network), strict=True))
    state = {}
    for index, (tensor, values) in enumerate(net.state_dict().items()):
        module, _, leaf = tensor.rpartition(".")
        state[f"{theirs[module]}.{leaf}"] = torch.full_like(values, index)
    return state


def build(name: str) -> ConvNet:
    with torch.device("meta"):  # names and shapes without the memory
        return ConvNet(network_of(name))


# What the libraries' own state dicts hold (timm 1.0.31, torchvision 0.28.0): how many tensors, and some whose
# names differ between blocks.
KNOWN = {
    "timm/efficientnet_b0": (
        360,
        "conv_stem.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.1.1.conv_pwl.weight",
        "blocks.6.0.se.conv_expand.bias",
    ),
    "timm/efficientnet_b7": (
        1200,
        "blocks.0.3.bn2.bias",
        "blocks.5.12.conv_dw.weight",
        "conv_head.weight",
        "bn2.running_var",
    ),
    "timm/mobilenetv1_100": (
        164,
        "blocks.0.0.conv_pw.weight",
        "blocks.3.5.bn1.weight",
        "blocks.4.1.bn2.running_mean",
        "classifier.bias",
    ),
    "timm/mobilenetv2_100": (
        314,
        "blocks.0.0.bn2.weight",
        "blocks.5.2.bn3.weight",
        "blocks.6.0.conv_pwl.weight",
        "bn2.weight",
    ),
    "torchvision/efficientnet_b0": (
        360,
        "features.1.0.block.1.fc1.weight",
        "features.2.1.block.3.1.weight",
        "features.8.0.weight",
    ),
    "torchvision/mobilenet_v2": (
        314,
        "features.1.conv.1.weight",
        "features.17.conv.3.bias",
        "features.18.1.weight",
        "classifier.1.bias",
    ),
    "timm/resnet50": (
        320,
        "conv1.weight",
        "layer1.0.downsample.1.weight",
        "layer3.5.conv3.weight",
        "fc.bias",
    ),
    "torchvision/resnet50": (
        320,
        "bn1.running_mean",
        "layer4.0.downsample.0.weight",
        "layer4.2.bn3.bias",
        "fc.weight",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_names_are_the_librarys(name: str) -> None:
    state = released(name, build(name))
    assert len(state) == KNOWN[name][0]
    assert set(KNOWN[name][1:]) < state.keys()


def test_every_tensor_finds_its_place_in_whatever_order() -> None:
    net = ConvNet(network_of(MOBILENET))
    state = released(MOBILENET, net)
    load(net, dict(reversed(state.items())), MOBILENET)
    assert [tensor.flatten()[0].item() for tensor in net.state_dict().values()] == list(
        range(len(state))
    )
    assert net.blocks[1].project[1].weight[0] == state["features.2.conv.3.weight"][0]


def test_weights_older_than_the_counter_of_batches_load() -> None:
    net = ConvNet(network_of(MOBILENET))
    state = released(MOBILENET, net)
    load(
        net,
        {
            name: tensor
            for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")
        },
        MOBILENET,
    )
    assert net.classifier.bias[0] == len(state) - 1
    assert net.stem[1].num_batches_tracked == 0


def test_tags_of_timm_may_follow_the_name() -> None:
    assert network_of("timm/efficientnet_b1.ra4_e3600_r240_in1k") == network_of(
        "timm/efficientnet_b1"
    )


def test_the_network_has_the_epsilon_of_its_weights() -> None:
    assert {network_of(f"timm/efficientnet_b{n}").norm_epsilon for n in range(8)} == {1e-5}
    assert [network_of(f"torchvision/efficientnet_b{n}").norm_epsilon for n in range(8)] == [
        1e-5
    ] * 5 + [1e-3] * 3


REFUSED: dict[str, tuple[str, Callable[[dict[str, Tensor]], object]]] = {
    r"timm/efficientnet_b0: conv_stem.weight is missing, one of 311; give": (
        "timm/efficientnet_b0",
        lambda state: None,
    ),
    r"torchvision/mobilenet_v2: classifier.1.bias is missing, one of 1; give": (
        MOBILENET,
        lambda state: state.pop("classifier.1.bias"),
    ),
    r"torchvision/mobilenet_v2: has no classifier.2.bias, one of 1; give": (
        MOBILENET,
        lambda state: state.update({"classifier.2.bias": torch.zeros(3, device="meta")}),
    ),
    r"torchvision/mobilenet_v2: classifier.1.bias has shape \(10,\) where this network takes \(1000,\)": (
        MOBILENET,
        lambda state: state.update({"classifier.1.bias": torch.zeros(10, device="meta")}),
    ),
    r"timm/tf_efficientnet_b0.ns_jft_in1k: trained with TensorFlow's SAME padding, asymmetric at stride "
    r"2.* take weights without tf_": (
        "timm/tf_efficientnet_b0.ns_jft_in1k",
        lambda state: None,
    ),
    r"timm/resnet50d: no such weights are known; there are timm/efficientnet_b0, ": (
        "timm/resnet50d",
        lambda state: None,
    ),
    r"efficientnet_b0: no such weights are known; ": ("efficientnet_b0", lambda state: None),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_give_other_logits_is_refused(message: str) -> None:
    name, change = REFUSED[message]
    state = released(MOBILENET, build(MOBILENET))
    change(state)
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        load(build(name if name in ARCHITECTURES else MOBILENET), state, name)
    assert "\n" not in str(refusal.value)


def test_a_network_with_another_epsilon_is_refused_and_told_which_fits() -> None:
    with torch.device("meta"):
        net = ConvNet(MOBILENET_V2.network)
    message = (
        rf"{MOBILENET}: this network has another norm_epsilon; load into "
        rf"ConvNet\(network_of\('{MOBILENET}'\)\)"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        load(net, released(MOBILENET, net), MOBILENET)


def test_a_refused_state_leaves_the_network_as_it_was() -> None:
    net = ConvNet(network_of(MOBILENET))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = released(MOBILENET, net)
    state["classifier.1.bias"] = torch.zeros(10)
    with pytest.raises(ValueError, match="has shape"):
        load(net, state, MOBILENET)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
