"""A network as a value: a stage table of integers, every block written out as convolution specs.

The paper's notation is N = F_1^L1 ... F_s^Ls (X<H, W, C>): operators stay, scaling moves layers L, channels C and pixels H = W.
`cost` sums the specs of this module and `model` builds them; no formula stands beside a layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ablation.scaling import Coefficients, Rounding, round_channels, round_layers, round_pixels


@dataclass(frozen=True)
class Convolution:
    """One convolution (or the classifier, a 1x1 on one pixel), square in kernel and in image.

    pixels: side of its input; the output side is ceil(pixels / stride), which symmetric padding of kernel // 2 gives for odd kernels.
    norm: followed by batch norm (then it has no bias of its own). activation: followed by the network's nonlinearity.
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
        return -(-self.pixels // self.stride)


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: `layers` blocks of one operator; the first has `stride`, all put out `channels`.

    expand: ratio of inner to input channels. squeeze: squeeze-excite channels as a fraction of the block's input, 0 for none.
    """

    operator: str
    expand: int
    kernel: int
    stride: int
    channels: int
    layers: int
    squeeze: float = 0.25


@dataclass(frozen=True)
class Block:
    """One block: its convolutions in the order of the forward pass, and whether the input is added to the output."""

    operator: str
    convolutions: tuple[Convolution, ...]
    skip: bool

    @property
    def inputs(self) -> int:
        return self.convolutions[0].inputs

    @property
    def outputs(self) -> int:
        return self.convolutions[-1].outputs

    @property
    def pixels_out(self) -> int:
        return min(conv.pixels_out for conv in self.convolutions if conv.norm)


@dataclass(frozen=True)
class Network:
    """A ConvNet as integers: input side in pixels, classes, stem channels, stages, head channels (the last 1x1 convolution)."""

    pixels: int
    classes: int
    stem: int
    stages: tuple[Stage, ...]
    head: int
    stem_stride: int = 2
    activation: str = "silu"
    norm_epsilon: float = 1e-3

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks per stage."""
        return tuple(stage.layers for stage in self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stem, of each stage and of the head."""
        return (self.stem, *(stage.channels for stage in self.stages), self.head)

    @property
    def stride(self) -> int:
        """Product of all strides: input pixels per pixel of the last feature map."""
        total = self.stem_stride
        for stage in self.stages:
            total *= stage.stride
        return total

    def stem_convolution(self) -> Convolution:
        return Convolution("stem", 3, self.stem, 3, self.pixels, self.stem_stride)

    def blocks(self) -> tuple[Block, ...]:
        """Every block in order; each starts from the channels and pixels that the one before puts out."""
        blocks: list[Block] = []
        channels, pixels = self.stem, self.stem_convolution().pixels_out
        for stage in self.stages:
            for layer in range(stage.layers):
                block = mbconv(stage, channels, pixels, stage.stride if layer == 0 else 1)
                blocks.append(block)
                channels, pixels = block.outputs, block.pixels_out
        return tuple(blocks)

    def head_convolution(self) -> Convolution:
        last = self.blocks()[-1]
        return Convolution("head", last.outputs, self.head, 1, last.pixels_out)

    def classifier(self) -> Convolution:
        return Convolution("classifier", self.head, self.classes, 1, 1, norm=False, activation=False)

    def convolutions(self) -> Iterator[Convolution]:
        """Every convolution and the classifier, in the order of the forward pass."""
        yield self.stem_convolution()
        for block in self.blocks():
            yield from block.convolutions
        yield self.head_convolution()
        yield self.classifier()


def mbconv(stage: Stage, inputs: int, pixels: int, stride: int) -> Block:
    """Inverted bottleneck with squeeze-excite (Sandler et al. 2018; Tan et al. 2019): expand, depthwise, reduce, gate, project.

    Squeeze channels are a fraction of the block's *input*, at least 1, as in the released code. Expand 1 has no expansion layer.
    """
    inner = inputs * stage.expand
    depthwise = Convolution("depthwise", inner, inner, stage.kernel, pixels, stride, groups=inner)
    convolutions = [depthwise]
    if stage.expand != 1:
        convolutions.insert(0, Convolution("expand", inputs, inner, 1, pixels))
    if stage.squeeze:
        squeezed = max(1, int(stage.squeeze * inputs))
        convolutions.append(Convolution("reduce", inner, squeezed, 1, 1, norm=False))
        convolutions.append(Convolution("gate", squeezed, inner, 1, 1, norm=False, activation=False))
    convolutions.append(Convolution("project", inner, stage.channels, 1, depthwise.pixels_out, activation=False))
    return Block("mbconv", tuple(convolutions), skip=stride == 1 and inputs == stage.channels)


def scale(baseline: Network, coefficients: Coefficients, rounding: Rounding) -> Network:
    """The baseline with every dimension multiplied and rounded: layers by depth, channels (stem and head too) by width, pixels by resolution.

    Raises ValueError where the input side falls below the total stride: the last feature map would be all padding.
    """
    layers = round_layers(baseline.layers, coefficients.depth, rounding)
    pixels = round_pixels(baseline.pixels, coefficients.resolution, rounding)
    if pixels < baseline.stride:
        raise ValueError(
            f"resolution={coefficients.resolution:.3g} makes {pixels} px, below the baseline's total stride of {baseline.stride}; "
            f"take a larger phi or resolution of at least {baseline.stride / baseline.pixels:.3g}"
        )
    stages = tuple(
        replace(stage, layers=n, channels=round_channels(stage.channels, coefficients.width, rounding))
        for stage, n in zip(baseline.stages, layers, strict=True)
    )
    return replace(
        baseline,
        pixels=pixels,
        stem=round_channels(baseline.stem, coefficients.width, rounding),
        stages=stages,
        head=round_channels(baseline.head, coefficients.width, rounding),
    )
