"""A network as a value: a stage table of integers, every block written out as convolution specs.

The paper's notation is N = F_1^L1 ... F_s^Ls (X<H, W, C>): operators stay, scaling moves layers L, channels C
and pixels H = W. `cost` sums the specs of this module and `model` builds them; no formula stands beside a
layer.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ablation.theory.scaling import (
    Coefficients,
    Rounding,
    round_channels,
    round_layers,
    round_pixels,
)

ACTIVATIONS = ("silu", "relu", "relu6")


@dataclass(frozen=True)
class Convolution:
    """One convolution (or the classifier, a 1x1 on one pixel), square in kernel and in image.

    pixels: side of its input; the output side is ceil(pixels / stride), which symmetric padding of kernel //
    2 gives for odd kernels. norm: followed by batch norm (then it has no bias of its own). activation:
    followed by the network's nonlinearity.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    pixels: int
    stride: int = 1
    groups: int = 1
    norm: bool = True
    activation: bool = True

    @property
    def pixels_out(self) -> int:
        """Side of the output."""
        return -(-self.pixels // self.stride)


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: `layers` blocks of one operator; the first has `stride`.

    channels: of a block's narrow side, which scaling rounds; expand: its wide side as a multiple of the
    narrow. An mbconv is narrow at its ends and wide within; a bottleneck is the other way round and puts out
    expand * channels; separable has no wide side, so 1. squeeze: squeeze-excite channels as a fraction of the
    block's input, 0 for none; only mbconv has them. Raises ValueError for an operator that there is not, for
    a value that the operator has no use for, and for a block that cannot be built.
    """

    operator: str
    expand: int
    kernel: int
    stride: int
    channels: int
    layers: int
    squeeze: float = 0.0

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"operator={self.operator}: choose one of {', '.join(OPERATORS)}")
        if self.operator == "separable" and self.expand != 1:
            raise ValueError(
                f"expand={self.expand}: a separable block has no wide side; take 1, or operator=mbconv"
            )
        if self.operator != "mbconv" and self.squeeze:
            raise ValueError(
                f"squeeze={self.squeeze}: a {self.operator} block has no squeeze-excite; take 0, or "
                "operator=mbconv"
            )
        if not 0 <= self.squeeze <= 1:
            raise ValueError(
                f"squeeze={self.squeeze}: a fraction of the block's input channels between 0 and 1"
            )
        _positive(self, "expand", "kernel", "stride", "channels", "layers")
        _odd("kernel", self.kernel)


@dataclass(frozen=True)
class Block:
    """One block: its convolutions, and whether the input is added to what the last of them puts out.

    They stand in the order of the forward pass; a `shortcut`, which brings the input to the shape of the
    output, stands first.
    """

    operator: str
    convolutions: tuple[Convolution, ...]
    skip: bool

    @property
    def identity(self) -> bool:
        """Whether the input is added as it is, not through a projection."""
        return self.skip and self.convolutions[0].name != "shortcut"

    @property
    def outputs(self) -> int:
        """Channels that it puts out."""
        return self.convolutions[-1].outputs

    @property
    def pixels_out(self) -> int:
        """Side of the image that it puts out."""
        return self.convolutions[-1].pixels_out


@dataclass(frozen=True)
class Network:
    """A ConvNet as integers: input side in pixels, classes, stem channels, stages, head channels (the last
    1x1 convolution, 0 for none).

    stem_pool: stride of a 3x3 max-pool after the stem convolution, 1 for none. Raises ValueError for a
    network that cannot be built.
    """

    pixels: int
    classes: int
    stem: int
    stages: tuple[Stage, ...]
    head: int = 0
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_pool: int = 1
    activation: str = "silu"
    norm_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: a network has one stage at least")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation}: choose one of {', '.join(ACTIVATIONS)}"
            )
        if self.head < 0 or not self.norm_epsilon > 0:
            raise ValueError(
                f"head={self.head}, norm_epsilon={self.norm_epsilon:g}: a head has 0 channels or more, an "
                "epsilon is above 0"
            )
        _positive(self, "pixels", "classes", "stem", "stem_kernel", "stem_stride", "stem_pool")
        _odd("stem_kernel", self.stem_kernel)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks per stage."""
        return tuple(stage.layers for stage in self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stem, of each stage and, where there is one, of the head."""
        return (
            self.stem,
            *(stage.channels for stage in self.stages),
            *([self.head] if self.head else []),
        )

    @property
    def features(self) -> int:
        """Channels that the classifier sees."""
        return self.head or self.blocks()[-1].outputs

    @property
    def stride(self) -> int:
        """Product of all strides: input pixels per pixel of the last feature map."""
        return math.prod(
            (self.stem_stride, self.stem_pool, *(stage.stride for stage in self.stages))
        )

    def stem_convolution(self) -> Convolution:
        """The first convolution."""
        return Convolution("stem", 3, self.stem, self.stem_kernel, self.pixels, self.stem_stride)

    def blocks(self) -> tuple[Block, ...]:
        """Every block in order; each starts from the channels and pixels that the one before puts out."""
        blocks: list[Block] = []
        channels = self.stem
        pixels = -(-self.stem_convolution().pixels_out // self.stem_pool)
        for stage in self.stages:
            for layer in range(stage.layers):
                block = OPERATORS[stage.operator](
                    stage, channels, pixels, stage.stride if layer == 0 else 1
                )
                blocks.append(block)
                channels, pixels = block.outputs, block.pixels_out
        return tuple(blocks)

    def head_convolution(self) -> Convolution | None:
        """The last one before the classifier; None where there is none."""
        last = self.blocks()[-1]
        return (
            Convolution("head", last.outputs, self.head, 1, last.pixels_out) if self.head else None
        )

    def classifier(self) -> Convolution:
        """The classifier as a convolution of one pixel."""
        return Convolution(
            "classifier", self.features, self.classes, 1, 1, norm=False, activation=False
        )

    def convolutions(self) -> Iterator[Convolution]:
        """Every convolution and the classifier, in the order of the forward pass."""
        yield self.stem_convolution()
        for block in self.blocks():
            yield from block.convolutions
        if head := self.head_convolution():
            yield head
        yield self.classifier()


def _positive(table: Stage | Network, *names: str) -> None:
    for name in names:
        if getattr(table, name) < 1:
            raise ValueError(f"{name}={getattr(table, name)}: must be at least 1")


def _odd(name: str, kernel: int) -> None:
    """The pixels that are counted are those of symmetric padding by kernel // 2."""
    if kernel % 2 == 0:
        raise ValueError(f"{name}={kernel}: a kernel has an odd side")


def separable(stage: Stage, inputs: int, pixels: int, stride: int) -> Block:
    """Depthwise-separable convolution (Howard et al. 2017): depthwise, pointwise, each with norm and
    activation; no skip."""
    depthwise = Convolution(
        "depthwise", inputs, inputs, stage.kernel, pixels, stride, groups=inputs
    )
    pointwise = Convolution("pointwise", inputs, stage.channels, 1, depthwise.pixels_out)
    return Block("separable", (depthwise, pointwise), skip=False)


def mbconv(stage: Stage, inputs: int, pixels: int, stride: int) -> Block:
    """Inverted bottleneck with squeeze-excite (Sandler et al. 2018; Tan et al. 2019): expand, depthwise,
    reduce, gate, project.

    Squeeze channels are a fraction of the block's *input*, at least 1, as in the released code. Expand 1 has
    no expansion layer.
    """
    inner = inputs * stage.expand
    depthwise = Convolution("depthwise", inner, inner, stage.kernel, pixels, stride, groups=inner)
    convolutions = [depthwise]
    if stage.expand != 1:
        convolutions.insert(0, Convolution("expand", inputs, inner, 1, pixels))
    if stage.squeeze:
        squeezed = max(1, int(stage.squeeze * inputs))
        convolutions.append(Convolution("reduce", inner, squeezed, 1, 1, norm=False))
        convolutions.append(
            Convolution("gate", squeezed, inner, 1, 1, norm=False, activation=False)
        )
    convolutions.append(
        Convolution("project", inner, stage.channels, 1, depthwise.pixels_out, activation=False)
    )
    return Block("mbconv", tuple(convolutions), skip=stride == 1 and inputs == stage.channels)


def bottleneck(stage: Stage, inputs: int, pixels: int, stride: int) -> Block:
    """Residual bottleneck (He et al. 2016): reduce, spatial, expand; the activation follows the addition.

    The spatial convolution has the stride (v1.5), not the first one. Where the shape changes, the shortcut is
    a projection.
    """
    inner = stage.channels
    outputs = stage.channels * stage.expand
    reduce = Convolution("reduce", inputs, inner, 1, pixels)
    spatial = Convolution("spatial", inner, inner, stage.kernel, pixels, stride)
    expand = Convolution("expand", inner, outputs, 1, spatial.pixels_out, activation=False)
    shortcut = Convolution("shortcut", inputs, outputs, 1, pixels, stride, activation=False)
    changes = stride != 1 or inputs != outputs
    return Block(
        "bottleneck", (*([shortcut] if changes else []), reduce, spatial, expand), skip=True
    )


OPERATORS: Mapping[str, Callable[[Stage, int, int, int], Block]] = {
    "separable": separable,
    "mbconv": mbconv,
    "bottleneck": bottleneck,
}


def scale(baseline: Network, coefficients: Coefficients, rounding: Rounding) -> Network:
    """The baseline with every dimension multiplied and rounded: layers by depth, channels (stem and head too)
    by width, pixels by resolution.

    Raises ValueError where the input side falls below the total stride: the last feature map would be all
    padding.
    """
    layers = round_layers(baseline.layers, coefficients.depth, rounding)
    pixels = round_pixels(baseline.pixels, coefficients.resolution, rounding)
    if pixels < baseline.stride:
        raise ValueError(
            f"resolution={coefficients.resolution:.3g} makes {pixels} px, below the baseline's total "
            f"stride of {baseline.stride}; "
            f"take a larger phi or resolution of at least {baseline.stride / baseline.pixels:.3g}"
        )
    stages = tuple(
        replace(
            stage, layers=n, channels=round_channels(stage.channels, coefficients.width, rounding)
        )
        for stage, n in zip(baseline.stages, layers, strict=True)
    )
    return replace(
        baseline,
        pixels=pixels,
        stem=round_channels(baseline.stem, coefficients.width, rounding),
        stages=stages,
        head=round_channels(baseline.head, coefficients.width, rounding) if baseline.head else 0,
    )
