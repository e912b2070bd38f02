"""The module built from a network: one torch layer for each convolution spec, and a forward that reads like
the paper."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ablation.runs.config import Run
from ablation.theory.network import Block, Convolution, Network

# In place where the backward pass needs only the output: SiLU needs its input and would copy it first.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
}


class StochasticDepth(nn.Module):
    """Drop a sample's residual branch with probability `rate` in training, scale the others by 1 / (1 - rate)
    (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(
            1 - self.rate
        )
        return x * keep / (1 - self.rate)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the mean of all channels (Hu et al. 2018)."""

    def __init__(self, reduce: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce, self.gate = reduce, gate

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        squeezed = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.gate(self.reduce(squeezed)).sigmoid()


class Separable(nn.Module):
    """Depthwise-separable convolution: depthwise, pointwise (Howard et al. 2017)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.depthwise = layers["depthwise"]
        self.pointwise = layers["pointwise"]

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class MBConv(nn.Module):
    """Mobile inverted bottleneck: expand, depthwise, squeeze-excite, project, skip (Sandler et al. 2018)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.expand = layers.get("expand", nn.Identity())
        self.depthwise = layers["depthwise"]
        self.excite = (
            SqueezeExcite(layers["reduce"], layers["gate"]) if "reduce" in layers else nn.Identity()
        )
        self.project = layers["project"]
        self.drop = StochasticDepth(drop_rate)
        self.skip = block.skip

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + self.drop(y) if self.skip else y


class Bottleneck(nn.Module):
    """Residual bottleneck: reduce, spatial, expand; the shortcut is added before the last activation (He et
    al. 2016)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.shortcut = layers.get("shortcut", nn.Identity())
        self.reduce = layers["reduce"]
        self.spatial = layers["spatial"]
        self.expand = layers["expand"]
        self.drop = StochasticDepth(drop_rate)
        self.activation = ACTIVATIONS[network.activation]()

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.spatial(self.reduce(x)))
        return self.activation(self.shortcut(x) + self.drop(y))


OPERATORS: Mapping[str, type[nn.Module]] = {
    "separable": Separable,
    "mbconv": MBConv,
    "bottleneck": Bottleneck,
}


class ConvNet(nn.Module):
    """Stem, blocks, head, classifier; images (N, 3, H, W), normalised, to logits (N, classes). The settings
    are the recipe's."""

    def __init__(
        self,
        network: Network,
        norm_momentum: float = 0.1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        blocks = network.blocks()
        head = network.head_convolution()
        # Stochastic depth grows linearly with the index, as released: the first block is never dropped, the
        # last with rate (n - 1) / n.
        rates = [drop_path * index / len(blocks) for index in range(len(blocks))]
        self.stem = convolution(network.stem_convolution(), network, norm_momentum)
        self.pool = (
            nn.MaxPool2d(3, network.stem_pool, padding=1)
            if network.stem_pool > 1
            else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(
                OPERATORS[block.operator](block, network, norm_momentum, rate)
                for block, rate in zip(blocks, rates, strict=True)
            )
        )
        self.head = convolution(head, network, norm_momentum) if head else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(network.features, network.classes)
        self.apply(initialise)
        if zero_init:
            for block, module in zip(blocks, self.blocks, strict=True):
                if block.identity:
                    nn.init.zeros_(module.get_submodule(block.convolutions[-1].name)[1].weight)

    def features(self, x: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, features, h, w)
        """What the classifier averages over."""
        return self.head(self.blocks(self.pool(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, classes)
        return self.classifier(self.dropout(self.features(x).mean((2, 3))))


def net_of(run: Run) -> ConvNet:
    """The module of a run, with its recipe's settings and memory format; weights are drawn from torch's
    generator."""
    recipe = run.recipe
    net = ConvNet(
        run.network,
        norm_momentum=recipe.norm_momentum,
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        zero_init=recipe.zero_init,
    )
    return net.to(memory_format=torch.channels_last) if recipe.channels_last else net


def layers_of(block: Block, network: Network, norm_momentum: float) -> dict[str, nn.Module]:
    """The torch layers of a block's convolutions by name."""
    return {conv.name: convolution(conv, network, norm_momentum) for conv in block.convolutions}


def convolution(conv: Convolution, network: Network, norm_momentum: float) -> nn.Module:
    """The torch layers of one spec: convolution, batch norm, activation, those that it has."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            conv.inputs,
            conv.outputs,
            conv.kernel,
            conv.stride,
            padding=conv.kernel // 2,
            groups=conv.groups,
            bias=not conv.norm,
        )
    ]
    if conv.norm:
        layers.append(
            nn.BatchNorm2d(conv.outputs, eps=network.norm_epsilon, momentum=norm_momentum)
        )
    if conv.activation:
        layers.append(ACTIVATIONS[network.activation]())
    return nn.Sequential(*layers)


def initialise(module: nn.Module) -> None:
    """As in EfficientNet's released code, for every family: convolutions N(0, 2 / fan_out), fan_out = k * k *
    outputs / groups; classifier uniform in +-1 / sqrt(classes)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            module.weight.mul_(module.groups**0.5)  # torch's fan_out ignores groups
    elif isinstance(module, nn.Linear):
        nn.init.uniform_(module.weight, -(module.out_features**-0.5), module.out_features**-0.5)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
