"""The module against the analytic count, and the parts that are easy to build wrong."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ablation.theory.baselines import (
    B0,
    MINI,
    MINI_MOBILENET_V1,
    MINI_MOBILENET_V2,
    MINI_RESNET,
    MINIS,
    MOBILENET_V1,
    MOBILENET_V2,
    RELEASED,
    RESNET_50,
    Baseline,
)
from ablation.theory.blocks import ACTIVATIONS as KNOWN
from ablation.theory.blocks import OPERATORS, Stage
from ablation.theory.cost import cost, training_flops
from ablation.theory.families import FAMILIES
from ablation.theory.matching import matched, nominal
from ablation.theory.network import Network, scale
from ablation.theory.scaling import PUBLISHED, RULES, Coefficients
from ablation.train.model import ACTIVATIONS, ConvNet, StochasticDepth
from ablation.train.model import OPERATORS as BUILT

# As a user may write one.
MIXED = (
    Stage("separable", 1, 5, 2, 20, 2),
    Stage("mbconv", 3, 7, 1, 20, 2, 0.5),
    Stage("bottleneck", 2, 3, 2, 8, 2, 0.5, groups=4, activation="gelu"),
    Stage("basic", 1, 5, 1, 24, 2),
    Stage("fused", 1, 3, 1, 24, 2),
    Stage("fused", 2.5, 3, 2, 12, 2),
    Stage("mbconv-v3", 3.67, 3, 1, 12, 2, 0.25, activation="hardswish"),
    Stage("convnext", 3, 5, 2, 20, 2),
)
NETWORKS = {
    "a table of every operator": Network(
        pixels=61,
        classes=5,
        stem=12,
        stages=MIXED,
        head=40,
        stem_kernel=5,
        stem_pool=2,
        activation="relu",
        hidden=30,
    ),
    **{
        name: scale(table, Coefficients(1.2, 1.1, 1.15), RELEASED)
        for name, table in FAMILIES.items()
    },
    **{
        f"mini {rule} {phi}": matched(MINI, RULES[rule], phi).network
        for rule, phi in itertools.product(RULES, (0, 1, 2))
    },
    **{
        f"mini {d} {w} {r}": nominal(MINI, Coefficients(d, w, r)).network
        for (d, r), w in itertools.product([(1, 1), (1, 1.3), (2, 1), (2, 1.3)], (1, 2**0.5, 2))
    },
    **{v: nominal(B0, PUBLISHED[v].coefficients).network for v in ("b0", "b4", "b7")},
    "b0 compound 1": matched(B0, RULES["compound"], 1).network,
    **{
        f"{baseline.name} {d} {w} {r}": nominal(baseline, Coefficients(d, w, r)).network
        for baseline in (*MINIS[1:], MOBILENET_V1, MOBILENET_V2, RESNET_50)
        for d, w, r in [
            (1, 1, 1),
            (2, 1, 1),
            (1, 2, 1),
            (1, 1, 1.35),
            (1.4, 1.2, 1.3),
            (0.6, 0.5, 0.7),
        ]
    },
}


def test_every_activation_of_a_table_can_be_built() -> None:
    assert tuple(ACTIVATIONS)[: len(KNOWN)] == KNOWN


def test_every_operator_is_built_as_it_is_counted() -> None:
    assert BUILT.keys() == OPERATORS.keys() == {stage.operator for stage in MIXED}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_analytic_count_is_torchs_own(name: str) -> None:
    network: Network = NETWORKS[name]
    outputs = []
    with torch.device("meta"):
        net = ConvNet(network).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(lambda module, args, out: outputs.append(out.numel()))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = net(torch.empty(1, 3, network.pixels, network.pixels))
    counted = cost(network)
    assert logits.shape == (1, network.classes)
    assert counter.get_total_flops() == 2 * counted.macs
    assert sum(p.numel() for p in net.parameters()) == counted.params
    assert sum(outputs) == counted.activations


def test_training_flops_are_three_forwards_where_torch_counts_right() -> None:
    """torch multiplies a depthwise weight gradient by its groups, so the ratio is tested on a convolution
    without groups."""
    conv = torch.nn.Conv2d(8, 16, 3, padding=1)
    images = torch.randn(2, 8, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        out = conv(images)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert forward.get_total_flops() + backward.get_total_flops() == 3 * forward.get_total_flops()
    assert training_flops(MINI.network, 1) == 3 * 2 * cost(MINI.network).macs


def test_stochastic_depth_drops_samples_in_training_only() -> None:
    torch.manual_seed(0)
    drop, x = StochasticDepth(0.4), torch.ones(4000, 3, 2, 2)
    out = drop(x)
    dropped = (out == 0).all(dim=(1, 2, 3))
    assert dropped.float().mean() == pytest.approx(0.4, abs=0.03)
    assert torch.allclose(out[~dropped], x[~dropped] / 0.6)
    assert torch.equal(drop.eval()(x), x)


@pytest.mark.parametrize(
    "baseline", [MINI, MINI_MOBILENET_V2, MINI_RESNET], ids=lambda baseline: baseline.name
)
def test_stochastic_depth_is_active_in_the_network_and_grows_with_depth(baseline: Baseline) -> None:
    torch.manual_seed(0)
    network = nominal(baseline, Coefficients(depth=4)).network
    net = ConvNet(network, drop_path=0.5)
    rates = [block.drop.rate for block in net.blocks]
    assert rates == pytest.approx([0.5 * i / 16 for i in range(16)])
    skipped = {index: 0 for index, block in enumerate(network.blocks()) if block.skip}
    for index in skipped:
        net.blocks[index].drop.register_forward_hook(
            lambda module, args, out, index=index: skipped.__setitem__(
                index, skipped[index] + int((out.flatten(1).abs().sum(1) == 0).sum())
            )
        )
    net.train()
    for _ in range(4):
        net(torch.randn(80, 3, 16, 16))
    for index, count in skipped.items():
        assert count / 320 == pytest.approx(rates[index], abs=0.1)
    assert sum(skipped.values()) > 0


@pytest.mark.parametrize("baseline", MINIS, ids=lambda baseline: baseline.name)
def test_zero_init_makes_a_block_of_unchanged_shape_start_as_identity(baseline: Baseline) -> None:
    torch.manual_seed(0)
    network = nominal(baseline, Coefficients(depth=2)).network
    net = ConvNet(network, zero_init=True).eval()
    starts_as_identity = []
    with torch.no_grad():
        x = net.pool(net.stem(torch.randn(2, 3, network.pixels, network.pixels)))
        for block in net.blocks:
            y = block(x)
            starts_as_identity.append(x.shape == y.shape and torch.equal(x, y))
            x = y
    assert starts_as_identity == [block.identity for block in network.blocks()]
    assert any(starts_as_identity) == (baseline is not MINI_MOBILENET_V1)


def test_a_bottleneck_adds_before_its_last_activation() -> None:
    """With the branch at nothing a block puts out the activation of its shortcut."""
    torch.manual_seed(0)
    projecting, plain = (
        ConvNet(nominal(MINI_RESNET, Coefficients(depth=2)).network).eval().blocks[2:4]
    )
    with torch.no_grad():
        for block in (projecting, plain):
            block.expand[1].weight.zero_()
        x = torch.randn(2, 32, 8, 8)
        y = projecting(x)
        assert torch.equal(y, projecting.shortcut(x).relu())
        assert torch.equal(plain(-y), torch.zeros_like(y))


def test_initial_weights_are_as_released() -> None:
    torch.manual_seed(0)
    net = ConvNet(B0.network)
    pointwise = net.blocks[10].expand[0].weight
    depthwise = net.blocks[10].depthwise[0].weight
    assert pointwise.std().item() == pytest.approx((2 / pointwise.shape[0]) ** 0.5, rel=0.05)
    assert depthwise.std().item() == pytest.approx((2 / depthwise.shape[-1] ** 2) ** 0.5, rel=0.05)
    assert net.classifier.weight.abs().max().item() == pytest.approx(1000**-0.5, rel=0.01)
