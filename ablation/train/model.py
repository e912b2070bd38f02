"""The module built from a network: one torch layer for each convolution spec, and a forward that reads like
the paper."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ablation.runs.config import Recipe, Run
from ablation.theory.blocks import Block, Convolution
from ablation.theory.network import Network
from ablation.theory.own import Own
from ablation.train.operators import (
    Basic,
    Bottleneck,
    ConvNeXt,
    FusedMBConv,
    LayerNorm,
    LayerScale,
    MBConv,
    Separable,
    SqueezeExcite,
    StochasticDepth,
    conv,
)
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
        rates = drop_rates(network, drop_path)
        self.stem = convolution(network.stem_convolution(), network, norm_momentum)
        self.pool = (
            nn.MaxPool2d(3, network.stem_pool, padding=1)
            if network.stem_pool > 1
            else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(
                operator(block, network, norm_momentum, rate)
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


# Input channels below which torch 2.13 writes past its memory on a CPU, in a strided convolution of one pixel
# that is channels last and not grouped: a crash, or numbers that nobody can trust. With 8 and more, with
# stride 1 or larger kernels, it does not; every size was tried by itself.
FEW = 8


def refuse_corrupting(net: nn.Module, recipe: Recipe, device: torch.device) -> None:
    """Raises ValueError for a module that torch's convolutions on a CPU cannot be trusted with (FEW)."""
    if device.type != "cpu" or not recipe.channels_last:
        return
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and _corrupts(module):
            raise ValueError(
                f"{name}: a strided 1x1 convolution of {module.in_channels} channels, channels last, writes "
                f"past its memory in torch {torch.__version__} on a CPU; take recipe.channels_last=false"
            )


def _corrupts(conv: nn.Conv2d) -> bool:
    pixel = set(conv.kernel_size) == {1} and set(conv.stride) != {1}
    return pixel and conv.groups == 1 and conv.in_channels < FEW


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


def drop_rates(network: Network, drop_path: float) -> list[float]:
    """Of stochastic depth in each block: it grows linearly with the index, as released: the first block is
    never dropped, the last with rate (n - 1) / n."""
    count = sum(network.layers)
    return [drop_path * index / count for index in range(count)]


def operator(block: Block, network: Network, norm_momentum: float, drop_rate: float) -> nn.Module:
    """The module of a block: layers by the names of its convolutions; one that it lacks passes its input
    on."""
    layers = layers_of(block, network, norm_momentum)
    kind = OPERATORS[block.operator]
    parts = layers | {
        "excite": excite_of(layers),
        "drop": StochasticDepth(drop_rate),
        "activation": activation_of(block.activation),
        "skip": block.skip,
    }
    return kind(**{name: parts.get(name, nn.Identity()) for name in arguments(kind)})


def arguments(kind: type[nn.Module]) -> tuple[str, ...]:
    """What an operator is made of: convolutions by the names of their specs, and how it adds its input."""
    return tuple(inspect.signature(kind).parameters)


def layers_of(block: Block, network: Network, norm_momentum: float) -> dict[str, nn.Module]:
    """The torch layers of a block's convolutions by name."""
    return {spec.name: convolution(spec, network, norm_momentum) for spec in block.convolutions}


def excite_of(layers: Mapping[str, nn.Module]) -> nn.Module:
    """The squeeze-excite of a block's layers, where it has one."""
    if "gate" not in layers:
        return nn.Identity()
    return SqueezeExcite(layers["squeeze"], layers["gate"])


def activation_of(name: str) -> nn.Module | None:
    """An activation by its name; None for none."""
    return ACTIVATIONS[name]() if name else None


def convolution(spec: Convolution, network: Network, norm_momentum: float) -> nn.Sequential:
    """The torch layers of one spec."""
    norm = norm_of(spec, network, norm_momentum) if spec.norm else None
    return conv(
        spec.inputs,
        spec.outputs,
        spec.kernel,
        spec.stride,
        spec.padding,
        spec.groups,
        spec.bias,
        before=norm if spec.norm_first else None,
        norm=None if spec.norm_first else norm,
        activation=activation_of(spec.activation),
        scale=LayerScale(spec.outputs) if spec.layer_scale else None,
    )


def norm_of(spec: Convolution, network: Network, norm_momentum: float) -> nn.Module:
    """The norm of one spec."""
    if spec.norm == "layer":
        return LayerNorm(spec.normed, eps=network.norm_epsilon)
    return nn.BatchNorm2d(spec.normed, eps=network.norm_epsilon, momentum=norm_momentum)


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
