"""The module built from a network: one torch layer for each convolution spec, and a forward that reads like
the paper."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ablation.runs.config import Recipe, Run
from ablation.theory.blocks import Block, Convolution
from ablation.theory.network import Network
from ablation.theory.own import Own
from ablation.train.own import build as own_module

# In place where the backward pass needs only the output: SiLU needs its input and would copy it first.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    # Of gates alone.
    "sigmoid": nn.Sigmoid,
    "hard-sigmoid": nn.Hardsigmoid,
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
        return x * self.gate(self.reduce(squeezed))


class LayerNorm(nn.LayerNorm):
    """Over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned factor for each channel, small at first (Touvron et al. 2021; 1e-6 as in ConvNeXt)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return x * self.gamma[:, None, None]


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
        self.excite = excite_of(layers)
        self.project = layers["project"]
        self.drop = StochasticDepth(drop_rate)
        self.skip = block.skip

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + self.drop(y) if self.skip else y


class FusedMBConv(nn.Module):
    """Fused inverted bottleneck: spatial, project, skip (Tan & Le 2021)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.spatial = layers["spatial"]
        self.project = layers.get("project", nn.Identity())
        self.drop = StochasticDepth(drop_rate)
        self.skip = block.skip

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.spatial(x))
        return x + self.drop(y) if self.skip else y


class Bottleneck(nn.Module):
    """Residual bottleneck: reduce, spatial, squeeze-excite, expand; the shortcut is added before the last
    activation (He et al. 2016)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.shortcut = layers.get("shortcut", nn.Identity())
        self.reduce = layers["reduce"]
        self.spatial = layers["spatial"]
        self.excite = excite_of(layers)
        self.expand = layers["expand"]
        self.drop = StochasticDepth(drop_rate)
        self.activation = ACTIVATIONS[block.activation]()

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.excite(self.spatial(self.reduce(x))))
        return self.activation(self.shortcut(x) + self.drop(y))


class Basic(nn.Module):
    """Residual block of two spatial convolutions; the shortcut is added before the last activation (He et al.
    2016)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.shortcut = layers.get("shortcut", nn.Identity())
        self.first = layers["first"]
        self.second = layers["second"]
        self.drop = StochasticDepth(drop_rate)
        self.activation = ACTIVATIONS[block.activation]()

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return self.activation(self.shortcut(x) + self.drop(y))


class ConvNeXt(nn.Module):
    """ConvNeXt block: depthwise, expand, project, skip, where the shape changes after a downsampling layer
    (Liu et al. 2022)."""

    def __init__(
        self, block: Block, network: Network, norm_momentum: float, drop_rate: float
    ) -> None:
        super().__init__()
        layers = layers_of(block, network, norm_momentum)
        self.downsample = layers.get("downsample", nn.Identity())
        self.depthwise = layers["depthwise"]
        self.expand = layers["expand"]
        self.project = layers["project"]
        self.drop = StochasticDepth(drop_rate)

    # (N, C, H, W) -> (N, C', floor(H / stride), floor(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        return x + self.drop(self.project(self.expand(self.depthwise(x))))


OPERATORS: Mapping[str, type[nn.Module]] = {
    "separable": Separable,
    "mbconv": MBConv,
    "bottleneck": Bottleneck,
    "basic": Basic,
    "fused": FusedMBConv,
    "mbconv-v3": MBConv,
    "convnext": ConvNeXt,
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
        hidden = network.hidden_layer()
        self.hidden = fully_connected(hidden, network) if hidden else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = fully_connected(network.classifier(), network)
        self.apply(initialise)
        if zero_init:
            for block, module in zip(blocks, self.blocks, strict=True):
                last = block.convolutions[-1]
                if block.identity and not last.activation:
                    scale = module.get_submodule(last.name)[-1]
                    nn.init.zeros_(scale.gamma if last.layer_scale else scale.weight)

    def features(self, x: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, features, h, w)
        """What the mean is taken of."""
        return self.head(self.blocks(self.pool(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, classes)
        pooled = self.features(x).mean((2, 3))  # (N, features)
        return self.classifier(self.dropout(self.hidden(pooled)))


def net_of(run: Run) -> nn.Module:
    """The module of a run, with its recipe's settings and memory format; weights are drawn from torch's
    generator."""
    net = module_of(run.network, run.recipe)
    return net.to(memory_format=torch.channels_last) if run.recipe.channels_last else net


def module_of(network: Network | Own, recipe: Recipe) -> nn.Module:
    """The ConvNet of a stage table, or what a function builds, with a recipe's settings."""
    if isinstance(network, Own):
        return own_module(network, recipe)
    return ConvNet(
        network,
        norm_momentum=recipe.norm_momentum,
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        zero_init=recipe.zero_init,
    )


def layers_of(block: Block, network: Network, norm_momentum: float) -> dict[str, nn.Module]:
    """The torch layers of a block's convolutions by name."""
    return {conv.name: convolution(conv, network, norm_momentum) for conv in block.convolutions}


def excite_of(layers: Mapping[str, nn.Module]) -> nn.Module:
    """The squeeze-excite of a block's layers, where it has one."""
    if "gate" not in layers:
        return nn.Identity()
    return SqueezeExcite(layers["squeeze"], layers["gate"])


def convolution(conv: Convolution, network: Network, norm_momentum: float) -> nn.Module:
    """The torch layers of one spec in their order: convolution, norm, activation, layer scale, those that it
    has."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            conv.inputs,
            conv.outputs,
            conv.kernel,
            conv.stride,
            padding=conv.padding,
            groups=conv.groups,
            bias=conv.bias,
        )
    ]
    if conv.norm:
        place = 0 if conv.norm_first else 1
        layers.insert(place, norm_of(conv, network, norm_momentum))
    if conv.activation:
        layers.append(ACTIVATIONS[conv.activation]())
    if conv.layer_scale:
        layers.append(LayerScale(conv.outputs))
    return nn.Sequential(*layers)


def norm_of(conv: Convolution, network: Network, norm_momentum: float) -> nn.Module:
    """The norm of one spec."""
    if conv.norm == "layer":
        return LayerNorm(conv.normed, eps=network.norm_epsilon)
    return nn.BatchNorm2d(conv.normed, eps=network.norm_epsilon, momentum=norm_momentum)


def fully_connected(layer: Convolution, network: Network) -> nn.Module:
    """The torch layers of a spec of one pixel, on (N, inputs): norm, linear, activation, those that it
    has."""
    linear = nn.Linear(layer.inputs, layer.outputs)
    norm = [nn.LayerNorm(layer.inputs, eps=network.norm_epsilon)] if layer.norm else []
    activation = [ACTIVATIONS[layer.activation]()] if layer.activation else []
    layers = [*norm, linear, *activation]
    return linear if len(layers) == 1 else nn.Sequential(*layers)


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
