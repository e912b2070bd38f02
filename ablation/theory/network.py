"""A network as a value: a stage table of integers, every block written out as convolution specs.

The paper's notation is N = F_1^L1 ... F_s^Ls (X<H, W, C>): operators stay, scaling moves layers L, channels C
and pixels H = W. `cost` sums the specs of this module and `model` builds them; no formula stands beside a
layer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ablation.theory.blocks import (
    ACTIVATIONS,
    NORMS,
    OPERATORS,
    Block,
    Convolution,
    Stage,
    grouped,
    known,
    odd,
    positive,
)
from ablation.theory.scaling import (
    Coefficients,
    Rounding,
    round_channels,
    round_layers,
    round_pixels,
)


@dataclass(frozen=True)
class Network:
    """A ConvNet as integers: input side in pixels, classes, stem channels, stages, head channels (the last
    1x1 convolution, 0 for none).

    stem_pool: stride of a 3x3 max-pool after the stem convolution, 1 for none. hidden: channels of a fully
    connected layer between the mean of all pixels and the classifier, 0 for none (MobileNetV3). norm: of
    stem, head and classifier; blocks have that of their operator. With "layer" the stem has no activation,
    and a norm comes before the classifier (ConvNeXt). An even stem_kernel is a patch, as wide as its stride.
    fixed: "stem", "head" (with hidden) or both, whose channels scaling leaves alone.

    Raises ValueError for a network that cannot be built.
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
    hidden: int = 0
    norm: str = "batch"
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: a network has one stage at least")
        known("activation", self.activation, ACTIVATIONS)
        known("norm", self.norm, NORMS)
        for name in self.fixed:
            known("fixed", name, ("stem", "head"))
        if self.head < 0 or self.hidden < 0 or not self.norm_epsilon > 0:
            raise ValueError(
                f"head={self.head}, hidden={self.hidden}, norm_epsilon={self.norm_epsilon:g}: a layer has 0 "
                "channels or more, an epsilon is above 0"
            )
        positive(self, "pixels", "classes", "stem", "stem_kernel", "stem_stride", "stem_pool")
        if self.stem_kernel != self.stem_stride:
            odd("stem_kernel", self.stem_kernel)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks per stage."""
        return tuple(stage.layers for stage in self.stages)

    @property
    def scaled_layers(self) -> tuple[int, ...]:
        """Blocks of each stage whose number scaling changes."""
        return tuple(stage.layers for stage in self.stages if "layers" not in stage.fixed)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stem, of each stage and, where there are such, of the head and the hidden layer."""
        after = tuple(channels for channels in (self.head, self.hidden) if channels)
        return (self.stem, *(stage.channels for stage in self.stages), *after)

    def scaled_widths(self, rounding: Rounding) -> Iterator[tuple[int, Rounding]]:
        """Those channels that scaling changes, each with how it rounds them."""
        if "stem" not in self.fixed:
            yield self.stem, rounding
        for stage in self.stages:
            if "channels" not in stage.fixed:
                yield stage.channels, grouped(rounding, stage)
        if "head" not in self.fixed:
            yield from ((channels, rounding) for channels in (self.head, self.hidden) if channels)

    @property
    def features(self) -> int:
        """Channels whose mean over all pixels is taken."""
        return self.head or self.blocks()[-1].outputs

    @property
    def stride(self) -> int:
        """Product of all strides: input pixels per pixel of the last feature map."""
        return math.prod(
            (self.stem_stride, self.stem_pool, *(stage.stride for stage in self.stages))
        )

    def stem_convolution(self) -> Convolution:
        """The first convolution."""
        return Convolution(
            "stem",
            3,
            self.stem,
            self.stem_kernel,
            self.pixels,
            self.stem_stride,
            norm=self.norm,
            activation=self.activation if self.norm == "batch" else "",
        )

    def blocks(self) -> tuple[Block, ...]:
        """Every block in order; each starts from the channels and pixels that the one before puts out."""
        blocks: list[Block] = []
        channels = self.stem
        pixels = -(-self.stem_convolution().pixels_out // self.stem_pool)
        for stage in self.stages:
            operator = OPERATORS[stage.operator]
            for layer in range(stage.layers):
                stride = stage.stride if layer == 0 else 1
                block = operator.block(
                    stage, channels, pixels, stride, stage.activation or self.activation
                )
                blocks.append(block)
                channels, pixels = block.outputs, block.pixels_out
        return tuple(blocks)

    def head_convolution(self) -> Convolution | None:
        """The last one before the mean of all pixels; None where there is none."""
        if not self.head:
            return None
        last = self.blocks()[-1]
        return Convolution(
            "head", last.outputs, self.head, 1, last.pixels_out, activation=self.activation
        )

    def hidden_layer(self) -> Convolution | None:
        """The fully connected layer before the classifier, as a convolution of one pixel; None where there is
        none."""
        if not self.hidden:
            return None
        return Convolution(
            "hidden", self.features, self.hidden, 1, 1, norm="", activation=self.activation
        )

    def classifier(self) -> Convolution:
        """The classifier as a convolution of one pixel."""
        norm = "" if self.norm == "batch" else self.norm
        return Convolution(
            "classifier",
            self.hidden or self.features,
            self.classes,
            1,
            1,
            norm=norm,
            norm_first=bool(norm),
        )

    def convolutions(self) -> Iterator[Convolution]:
        """Every convolution and the classifier, in the order of the forward pass."""
        yield self.stem_convolution()
        for block in self.blocks():
            yield from block.convolutions
        if head := self.head_convolution():
            yield head
        if hidden := self.hidden_layer():
            yield hidden
        yield self.classifier()


def scale(baseline: Network, coefficients: Coefficients, rounding: Rounding) -> Network:
    """The baseline with every dimension multiplied and rounded: layers by depth, channels (stem and head too)
    by width, pixels by resolution; what is fixed stays.

    Raises ValueError where the input side falls below the total stride: the last feature map would be all
    padding.
    """
    layers = iter(round_layers(baseline.scaled_layers, coefficients.depth, rounding))
    pixels = round_pixels(baseline.pixels, coefficients.resolution, rounding)
    if pixels < baseline.stride:
        raise ValueError(
            f"resolution={coefficients.resolution:.3g} makes {pixels} px, below the baseline's total "
            f"stride of {baseline.stride}; "
            f"take a larger phi or resolution of at least {baseline.stride / baseline.pixels:.3g}"
        )
    widths = iter(
        round_channels(channels, coefficients.width, each)
        for channels, each in baseline.scaled_widths(rounding)
    )
    stem = baseline.stem if "stem" in baseline.fixed else next(widths)
    stages = tuple(
        replace(
            stage,
            layers=stage.layers if "layers" in stage.fixed else next(layers),
            channels=stage.channels if "channels" in stage.fixed else next(widths),
        )
        for stage in baseline.stages
    )
    head, hidden = (
        channels if "head" in baseline.fixed or not channels else next(widths)
        for channels in (baseline.head, baseline.hidden)
    )
    return replace(baseline, pixels=pixels, stem=stem, stages=stages, head=head, hidden=hidden)
