"""Blocks as values: a row of a stage table, and each operator as a function from it to convolution specs.

An operator is named once here, where its convolutions are counted, and once in `train.model`, where they are
built and called in its order.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ablation.theory.scaling import RELEASED, Rounding, round_channels

ACTIVATIONS = ("silu", "relu", "relu6", "hardswish", "gelu")
NORMS = ("batch", "layer")


@dataclass(frozen=True)
class Convolution:
    """One convolution (or a fully connected layer, a 1x1 on one pixel), square in kernel and in image.

    pixels: side of its input. An odd kernel is padded by kernel // 2 on every side, so its output has
    ceil(pixels / stride); an even one, which is as wide as its stride, is not padded and leaves out what does
    not fill a patch. norm: "batch", "layer" or none, after it, or before it where norm_first. It has a bias
    unless a batch norm follows. activation: by name, after the norm; none where empty. layer_scale: its
    output is multiplied by a learned factor per channel.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    pixels: int
    stride: int = 1
    groups: int = 1
    norm: str = "batch"
    activation: str = ""
    norm_first: bool = False
    layer_scale: bool = False

    @property
    def padding(self) -> int:
        """Pixels added on every side."""
        return self.kernel // 2 if self.kernel % 2 else 0

    @property
    def pixels_out(self) -> int:
        """Side of the output."""
        return (self.pixels + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def bias(self) -> bool:
        """Whether something is added to each channel."""
        return self.norm != "batch"

    @property
    def normed(self) -> int:
        """Channels that its norm scales and shifts."""
        if not self.norm:
            return 0
        return self.inputs if self.norm_first else self.outputs


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: `layers` blocks of one operator; the first has `stride`.

    channels: of a block's narrow side, which scaling rounds; expand: its wide side as a multiple of the
    narrow, which released code rounds to 8 where it is a fraction. mbconv, mbconv-v3, fused and convnext are
    narrow at their ends and wide within; a bottleneck is the other way round and puts out expand * channels;
    separable and basic have no wide side, so 1. squeeze: squeeze-excite channels as a fraction of the block's
    input (of mbconv-v3, its wide side), 0 for none. groups of a bottleneck's spatial convolution: their
    number (ResNeXt's cardinality), or by group_width the channels of each (RegNet), which scaling keeps.
    activation: the network's where empty. fixed: "layers", "channels" or both, which scaling leaves alone.

    Raises ValueError for an operator that there is not, for a value that the operator has no use for, and for
    a block that cannot be built.
    """

    operator: str
    expand: float
    kernel: int
    stride: int
    channels: int
    layers: int
    squeeze: float = 0.0
    groups: int = 1
    group_width: int = 0
    activation: str = ""
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if float(self.expand).is_integer():
            object.__setattr__(self, "expand", int(self.expand))
        if self.operator not in OPERATORS:
            raise ValueError(f"operator={self.operator}: choose one of {', '.join(OPERATORS)}")
        for name, plain, what in (
            ("expand", 1, "no wide side"),
            ("squeeze", 0, "no squeeze-excite"),
            ("groups", 1, "no groups"),
            ("group_width", 0, "no groups"),
        ):
            self._check_use(name, plain, what)
        if not 0 <= self.squeeze <= 1:
            raise ValueError(f"squeeze={self.squeeze}: a fraction of channels between 0 and 1")
        if not self.expand > 0:
            raise ValueError(f"expand={self.expand}: must be above 0")
        positive(self, "kernel", "stride", "channels", "layers", "groups")
        odd("kernel", self.kernel)
        if self.groups > 1 and self.group_width:
            raise ValueError(
                f"groups={self.groups}, group_width={self.group_width}: say either how many or how wide"
            )
        if self.group_width < 0 or self.channels % self.step:
            raise ValueError(
                f"channels={self.channels}: must be a multiple of groups or group_width, {self.step}"
            )
        if self.activation:
            known("activation", self.activation, ACTIVATIONS)
        for name in self.fixed:
            known("fixed", name, ("layers", "channels"))

    def _check_use(self, name: str, plain: float, what: str) -> None:
        value = getattr(self, name)
        if value == plain or name in OPERATORS[self.operator].uses:
            return
        raise ValueError(
            f"{name}={value}: a {self.operator} block has {what}; take {plain}, or "
            f"operator={_first_that_uses(name)}"
        )

    @property
    def step(self) -> int:
        """What its channels are a multiple of, so that they can be grouped."""
        return self.group_width or self.groups

    @property
    def spatial_groups(self) -> int:
        """Groups of a bottleneck's spatial convolution."""
        return self.channels // self.group_width if self.group_width else self.groups


@dataclass(frozen=True)
class Block:
    """One block: its convolutions, and whether the input is added to what the last of them puts out, and the
    activation that follows the addition.

    They stand in the order of the forward pass; a `shortcut`, which brings the input to the shape of the
    output, or a `downsample`, which the rest of the block and the skip start from, stands first.
    """

    operator: str
    convolutions: tuple[Convolution, ...]
    skip: bool
    activation: str = ""

    @property
    def identity(self) -> bool:
        """Whether the input is added as it is, not through a projection."""
        return self.skip and self.convolutions[0].name not in ("shortcut", "downsample")

    @property
    def outputs(self) -> int:
        """Channels that it puts out."""
        return self.convolutions[-1].outputs

    @property
    def pixels_out(self) -> int:
        """Side of the image that it puts out."""
        return self.convolutions[-1].pixels_out


def positive(table: object, *names: str) -> None:
    """Raises ValueError for the first of the fields that is below 1."""
    for name in names:
        if getattr(table, name) < 1:
            raise ValueError(f"{name}={getattr(table, name)}: must be at least 1")


def odd(name: str, kernel: int) -> None:
    """Raises ValueError for an even kernel: the pixels that are counted are those of symmetric padding by
    kernel // 2."""
    if kernel % 2 == 0:
        raise ValueError(f"{name}={kernel}: a kernel has an odd side")


def known(name: str, value: str, names: tuple[str, ...]) -> None:
    """Raises ValueError for a value that is none of the names."""
    if value not in names:
        raise ValueError(f"{name}={value}: choose one of {', '.join(names)}")


def separable(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """Depthwise-separable convolution (Howard et al. 2017): depthwise, pointwise, each with norm and
    activation; no skip."""
    depthwise = Convolution(
        "depthwise", inputs, inputs, stage.kernel, pixels, stride, inputs, activation=activation
    )
    pointwise = Convolution(
        "pointwise", inputs, stage.channels, 1, depthwise.pixels_out, activation=activation
    )
    return Block("separable", (depthwise, pointwise), skip=False)


def mbconv(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """Inverted bottleneck with squeeze-excite (Sandler et al. 2018; Tan et al. 2019): expand, depthwise,
    squeeze, gate, project.

    Squeeze channels are a fraction of the block's *input*, at least 1, as in the released code. Expand 1 has
    no expansion layer.
    """
    inner = _wide(inputs, stage.expand)
    squeezed = _part(inputs, stage.squeeze)
    excite = _excite(inner, squeezed, activation, "sigmoid") if stage.squeeze else ()
    return _inverted("mbconv", stage, inputs, pixels, stride, activation, excite)


def mbconv_v3(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """The inverted bottleneck of MobileNetV3 (Howard et al. 2019, arXiv 1905.02244): its gate is a hard
    sigmoid behind a ReLU, of a fraction of the block's *wide* side, rounded to 8."""
    inner = _wide(inputs, stage.expand)
    squeezed = round_channels(inner, stage.squeeze, RELEASED)
    excite = _excite(inner, squeezed, "relu", "hard-sigmoid") if stage.squeeze else ()
    return _inverted("mbconv-v3", stage, inputs, pixels, stride, activation, excite)


def _inverted(
    operator: str,
    stage: Stage,
    inputs: int,
    pixels: int,
    stride: int,
    activation: str,
    excite: tuple[Convolution, ...],
) -> Block:
    inner = _wide(inputs, stage.expand)
    expand = Convolution("expand", inputs, inner, 1, pixels, activation=activation)
    depthwise = Convolution(
        "depthwise", inner, inner, stage.kernel, pixels, stride, inner, activation=activation
    )
    project = Convolution("project", inner, stage.channels, 1, depthwise.pixels_out)
    widen = (expand,) if stage.expand != 1 else ()
    return Block(
        operator,
        (*widen, depthwise, *excite, project),
        skip=stride == 1 and inputs == stage.channels,
    )


def fused(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """Fused inverted bottleneck (Tan & Le 2021, EfficientNetV2, arXiv 2104.00298): one spatial convolution
    that widens, project. Expand 1 is the spatial convolution alone."""
    alone = stage.expand == 1
    inner = stage.channels if alone else _wide(inputs, stage.expand)
    spatial = Convolution(
        "spatial", inputs, inner, stage.kernel, pixels, stride, activation=activation
    )
    project = Convolution("project", inner, stage.channels, 1, spatial.pixels_out)
    return Block(
        "fused",
        (spatial,) if alone else (spatial, project),
        skip=stride == 1 and inputs == stage.channels,
    )


def bottleneck(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """Residual bottleneck (He et al. 2016; grouped: Xie et al. 2017; with squeeze-excite: Radosavovic et al.
    2020): reduce, spatial, squeeze, gate, expand; the activation follows the addition.

    The spatial convolution has the stride (v1.5), not the first one. Where the shape changes, the shortcut is
    a projection. Squeeze channels are a fraction of the block's input, at least 1.
    """
    inner = stage.channels
    outputs = _wide(inner, stage.expand)
    reduce = Convolution("reduce", inputs, inner, 1, pixels, activation=activation)
    spatial = Convolution(
        "spatial",
        inner,
        inner,
        stage.kernel,
        pixels,
        stride,
        stage.spatial_groups,
        activation=activation,
    )
    squeezed = _part(inputs, stage.squeeze)
    excite = _excite(inner, squeezed, activation, "sigmoid") if stage.squeeze else ()
    expand = Convolution("expand", inner, outputs, 1, spatial.pixels_out)
    return _residual(
        "bottleneck", (reduce, spatial, *excite, expand), inputs, pixels, stride, activation
    )


def basic(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """The residual block of ResNet-18 and -34 (He et al. 2016): two spatial convolutions, the first with the
    stride; the activation follows the addition."""
    first = Convolution(
        "first", inputs, stage.channels, stage.kernel, pixels, stride, activation=activation
    )
    second = Convolution("second", stage.channels, stage.channels, stage.kernel, first.pixels_out)
    return _residual("basic", (first, second), inputs, pixels, stride, activation)


def _residual(
    operator: str,
    convolutions: tuple[Convolution, ...],
    inputs: int,
    pixels: int,
    stride: int,
    activation: str,
) -> Block:
    """With a shortcut that is a projection where the shape changes."""
    outputs = convolutions[-1].outputs
    shortcut = Convolution("shortcut", inputs, outputs, 1, pixels, stride)
    changes = stride != 1 or inputs != outputs
    return Block(
        operator,
        (*([shortcut] if changes else []), *convolutions),
        skip=True,
        activation=activation,
    )


def convnext(stage: Stage, inputs: int, pixels: int, stride: int, activation: str) -> Block:
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545): depthwise with layer norm, expand, project with layer
    scale. Where the shape changes, a layer norm and a convolution as wide as its stride go before, outside
    the skip."""
    channels = stage.channels
    inner = _wide(channels, stage.expand)
    downsample = Convolution(
        "downsample", inputs, channels, stride, pixels, stride, norm="layer", norm_first=True
    )
    changes = stride != 1 or inputs != channels
    side = downsample.pixels_out if changes else pixels
    depthwise = Convolution(
        "depthwise", channels, channels, stage.kernel, side, groups=channels, norm="layer"
    )
    expand = Convolution("expand", channels, inner, 1, side, norm="", activation=activation)
    project = Convolution("project", inner, channels, 1, side, norm="", layer_scale=True)
    return Block(
        "convnext", (*([downsample] if changes else []), depthwise, expand, project), skip=True
    )


def _wide(channels: int, expand: float) -> int:
    """The wide side; a fraction is rounded to 8, as in the released code of MobileNetV3."""
    if isinstance(expand, int):
        return channels * expand
    return round_channels(channels, expand, RELEASED)


def _part(channels: int, squeeze: float) -> int:
    return max(1, int(squeeze * channels))


def _excite(
    inner: int, squeezed: int, activation: str, gate: str
) -> tuple[Convolution, Convolution]:
    """Squeeze-excite on the mean of all pixels: (squeeze, gate)."""
    return (
        Convolution("squeeze", inner, squeezed, 1, 1, norm="", activation=activation),
        Convolution("gate", squeezed, inner, 1, 1, norm="", activation=gate),
    )


@dataclass(frozen=True)
class Operator:
    """A function from a stage, the channels and pixels of its input, a stride and an activation to a block;
    and which of a stage's fields about its wide side, squeeze-excite and groups it uses."""

    block: Callable[[Stage, int, int, int, str], Block]
    uses: tuple[str, ...] = ()


OPERATORS: Mapping[str, Operator] = {
    "separable": Operator(separable),
    "mbconv": Operator(mbconv, ("expand", "squeeze")),
    "bottleneck": Operator(bottleneck, ("expand", "squeeze", "groups", "group_width")),
    "basic": Operator(basic),
    "fused": Operator(fused, ("expand",)),
    "mbconv-v3": Operator(mbconv_v3, ("expand", "squeeze")),
    "convnext": Operator(convnext, ("expand",)),
}


def _first_that_uses(field: str) -> str:
    return next(name for name, operator in OPERATORS.items() if field in operator.uses)


def grouped(rounding: Rounding, stage: Stage) -> Rounding:
    """The rounding of a stage's channels, in steps that its groups divide."""
    return replace(rounding, channels=math.lcm(rounding.channels, stage.step))
