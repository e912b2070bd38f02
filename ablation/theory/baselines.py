"""Baselines: stage tables to scale from, each with its source and the rounding that belongs to it."""

import itertools
import math
from dataclasses import dataclass, replace

from ablation.theory.blocks import Stage
from ablation.theory.families import FAMILIES, resnet
from ablation.theory.network import Network, scale
from ablation.theory.scaling import RELEASED, Coefficients, Rounding


@dataclass(frozen=True)
class Baseline:
    """A network to scale from and how its scaled coefficients are rounded; theory.own has the same of a
    function of the user's."""

    name: str
    network: Network
    rounding: Rounding

    def of(self, classes: int) -> "Baseline":
        """The same for data of so many classes."""
        return replace(self, network=replace(self.network, classes=classes))

    def at(self, pixels: int) -> "Baseline":
        """The same on images of another side, which its name then tells; raises ValueError for a side that is
        no whole number of its steps, or that its strides leave nothing of."""
        if pixels == self.pixels:
            return self
        if pixels % self.step_pixels or pixels < self.least_pixels:
            raise ValueError(
                f"baseline.pixels={pixels}: {self.name} goes in steps of {self.step_pixels} px from "
                f"{self.least_pixels} px up"
            )
        name = f"{self.name} at {pixels} px"
        return replace(self, name=name, network=replace(self.network, pixels=pixels))

    def scaled(self, coefficients: Coefficients) -> Network:
        """The network at these coefficients; raises ValueError where there is none."""
        return scale(self.network, coefficients, self.rounding)

    def realised(self, network: Network, width: float) -> Coefficients:
        """Realised depth is blocks in total, of the stages that scale, and resolution pixels over the
        baseline's; width is the multiplier, since rounded channels have no single ratio."""
        scaled = sum(self.network.scaled_layers)
        depth = sum(network.scaled_layers) / scaled if scaled else 1.0
        return Coefficients(depth, width, network.pixels / self.network.pixels)

    def depths(self, low: float, high: float) -> list[float]:
        """Depths that build distinct networks: whole blocks in total (nearest), or k / L for every stage of L
        layers (ceil)."""
        layers = self.network.scaled_layers
        if not layers:
            return [1.0]
        if self.rounding.depth == "nearest":
            total = sum(layers)
            least = max(len(layers), math.floor(low * total))
            return [blocks / total for blocks in range(least, math.ceil(high * total) + 1)]
        found: set[float] = set()
        for n in set(layers):
            least = max(1, math.floor(low * n))
            found |= {k / n for k in range(least, math.ceil(high * n) + 1)}
        return sorted(found)

    def widths(self, low: float, high: float, intended: float) -> list[float]:
        """For each distinct set of channels the multiplier nearest to the intended width, of all that build
        it."""
        edges = [low, *sorted(self._channel_edges(low, high)), high]
        return [_inside(a, b, intended) for a, b in itertools.pairwise(edges) if b > a]

    def _channel_edges(self, low: float, high: float) -> set[float]:
        """Multipliers at which some number of channels steps up; see round_channels: k steps last until k +
        1/2 or k / floor."""
        edges = set()
        for channels, rounding in set(self.network.scaled_widths(self.rounding)):
            per_step = channels / rounding.channels
            for k in range(max(1, math.floor(low * per_step) - 1), math.ceil(high * per_step) + 2):
                edge = min(k + 0.5, k / rounding.floor if rounding.floor else math.inf) / per_step
                if low < edge < high:
                    edges.add(edge)
        return edges

    @property
    def pixels(self) -> int:
        """Side of its input."""
        return self.network.pixels

    @property
    def step_pixels(self) -> int:
        """Between sides."""
        return self.rounding.resolution

    @property
    def least_pixels(self) -> int:
        """The smallest side, in whole steps, that its strides leave a pixel of."""
        return -(-self.network.stride // self.step_pixels) * self.step_pixels


def _inside(a: float, b: float, intended: float) -> float:
    """The point of the interval nearest to the intended width; an edge belongs to one side only, so a hair
    off it."""
    width = min(max(intended, a), b)
    hair = 1e-9 * (b - a)
    return width if width == 1 else min(max(width, a + hair), b - hair)


# For small networks: depth and pixels move in fine steps, so that a budget can be met.
FINE = Rounding(channels=4, floor=0.9, depth="nearest", resolution=2)
FINEST = Rounding(channels=1, floor=0.9, depth="nearest", resolution=1)

# EfficientNet-B0: Table 1 of arXiv 1905.11946v5; strides, expansion and squeeze-excite from tensorflow/tpu
# models/official/efficientnet/efficientnet_builder.py (_DEFAULT_BLOCKS_ARGS); batch-norm epsilon 1e-3 from
# the same.
B0 = Baseline(
    "b0",
    Network(
        pixels=224,
        classes=1000,
        stem=32,
        stages=(
            #     operator  expand kernel stride channels layers squeeze
            Stage("mbconv", 1,     3,     1,     16,      1,     0.25),
            Stage("mbconv", 6,     3,     2,     24,      2,     0.25),
            Stage("mbconv", 6,     5,     2,     40,      2,     0.25),
            Stage("mbconv", 6,     3,     2,     80,      3,     0.25),
            Stage("mbconv", 6,     5,     1,     112,     3,     0.25),
            Stage("mbconv", 6,     5,     2,     192,     4,     0.25),
            Stage("mbconv", 6,     3,     1,     320,     1,     0.25),
        ),
        head=1280,
    ),
    RELEASED,
)  # fmt: skip

# mini: B0's blocks for images of 32 px and a CPU. One block a stage, narrow and small, so that each of the
# three dimensions has room to grow.
MINI = Baseline(
    "mini",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator  expand kernel stride channels layers squeeze
            Stage("mbconv", 1,     3,     1,     16,      1,     0.25),
            Stage("mbconv", 4,     3,     2,     24,      1,     0.25),
            Stage("mbconv", 4,     3,     2,     48,      1,     0.25),
            Stage("mbconv", 4,     3,     2,     96,      1,     0.25),
        ),
        head=160,
    ),
    FINE,
)  # fmt: skip

# midi: mini with finer steps of depth, so that compound scaling at twice its cost is 3 degrees off its
# direction, not 24.
MIDI = Baseline(
    "midi",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator  expand kernel stride channels layers squeeze
            Stage("mbconv", 1,     3,     1,     16,      1,     0.25),
            Stage("mbconv", 4,     3,     2,     24,      2,     0.25),
            Stage("mbconv", 4,     3,     2,     48,      2,     0.25),
            Stage("mbconv", 4,     3,     2,     96,      2,     0.25),
        ),
        head=160,
    ),
    FINE,
)  # fmt: skip

# mini-10: the like of mini for images that have 32 px themselves (CIFAR). It starts at 10 px, so that eight
# times the cost in pixels alone, 28 px, enlarges none; stem and two stages keep them, since there are few.
MINI_10 = Baseline(
    "mini-10",
    Network(
        pixels=10,
        classes=10,
        stem=8,
        stages=(
            #     operator  expand kernel stride channels layers squeeze
            Stage("mbconv", 1,     3,     1,     16,      1,     0.25),
            Stage("mbconv", 2,     3,     1,     24,      2,     0.25),
            Stage("mbconv", 2,     3,     2,     40,      2,     0.25),
        ),
        stem_stride=1,
        head=160,
    ),
    FINE,
)  # fmt: skip

# micro: the baseline of studies on `stripes`, for images of 20 px. Small in each dimension, and none of them
# stands in for another: no squeeze-excite, which would relate all pixels whatever the depth, and only the
# stem and the first stage relate neighbours, so that what a network relates grows with its layers.
MICRO = Baseline(
    "micro",
    Network(
        pixels=20,
        classes=6,
        stem=8,
        stages=(
            #     operator  expand kernel stride channels layers
            Stage("mbconv", 2,     3,     1,     8,       2),
            Stage("mbconv", 3,     1,     2,     16,      1),
            Stage("mbconv", 3,     1,     1,     24,      1),
        ),
        head=64,
        activation="silu",
    ),
    FINEST,
)  # fmt: skip

# MobileNetV1 1.0: Table 1 of arXiv 1704.04861v1, whose last stride is a misprint; strides as in
# tensorflow/models research/slim/nets/mobilenet_v1.py (_CONV_DEFS); ReLU6 and batch-norm epsilon 1e-3 from
# its mobilenet_v1_arg_scope.
MOBILENET_V1 = Baseline(
    "mobilenet-v1",
    Network(
        pixels=224,
        classes=1000,
        stem=32,
        stages=(
            #     operator     expand kernel stride channels layers
            Stage("separable", 1,     3,     1,     64,      1),
            Stage("separable", 1,     3,     2,     128,     2),
            Stage("separable", 1,     3,     2,     256,     2),
            Stage("separable", 1,     3,     2,     512,     6),
            Stage("separable", 1,     3,     2,     1024,    2),
        ),
        activation="relu6",
    ),
    RELEASED,
)  # fmt: skip

# MobileNetV2 1.0: Table 2 of arXiv 1801.04381v4; tensorflow/models
# research/slim/nets/mobilenet/mobilenet_v2.py (V2_DEF), ReLU6; batch-norm epsilon 1e-3 is slim's default.
MOBILENET_V2 = Baseline(
    "mobilenet-v2",
    Network(
        pixels=224,
        classes=1000,
        stem=32,
        stages=(
            #     operator  expand kernel stride channels layers
            Stage("mbconv", 1,     3,     1,     16,      1),
            Stage("mbconv", 6,     3,     2,     24,      2),
            Stage("mbconv", 6,     3,     2,     32,      3),
            Stage("mbconv", 6,     3,     2,     64,      4),
            Stage("mbconv", 6,     3,     1,     96,      3),
            Stage("mbconv", 6,     3,     2,     160,     3),
            Stage("mbconv", 6,     3,     1,     320,     1),
        ),
        head=1280,
        activation="relu6",
    ),
    RELEASED,
)  # fmt: skip

# ResNet-50 v1.5: Table 1 of arXiv 1512.03385v1 with the stride in the 3x3 convolution as in torchvision
# models/resnet.py (Bottleneck, "ResNet V1.5"); batch-norm epsilon 1e-5 from there and from tensorflow/tpu
# models/official/resnet/resnet_model.py.
RESNET_50 = Baseline("resnet-50", resnet("bottleneck", (3, 4, 6, 3), 4), RELEASED)

# The other families for images of 32 px and a CPU, chosen like mini: tables whose depth, width, resolution
# and compound all meet budgets of two and four times their cost. MobileNetV1's rows of 64 to 512 channels at
# three quarters of that, MobileNetV2's first rows, and ResNet-50's at an eighth of its width, behind a stem
# without pool.
MINI_MOBILENET_V1 = Baseline(
    "mini-mobilenet-v1",
    Network(
        pixels=32,
        classes=12,
        stem=12,
        stages=(
            #     operator     expand kernel stride channels layers
            Stage("separable", 1,     3,     1,     48,      1),
            Stage("separable", 1,     3,     2,     96,      1),
            Stage("separable", 1,     3,     2,     192,     1),
            Stage("separable", 1,     3,     2,     384,     1),
        ),
        activation="relu6",
    ),
    FINE,
)  # fmt: skip

MINI_MOBILENET_V2 = Baseline(
    "mini-mobilenet-v2",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator  expand kernel stride channels layers
            Stage("mbconv", 1,     3,     1,     16,      1),
            Stage("mbconv", 6,     3,     2,     24,      1),
            Stage("mbconv", 6,     3,     2,     32,      1),
            Stage("mbconv", 6,     3,     2,     64,      1),
        ),
        head=256,
        activation="relu6",
    ),
    FINE,
)  # fmt: skip

MINI_RESNET = Baseline(
    "mini-resnet",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator      expand kernel stride channels layers
            Stage("bottleneck", 4,     3,     1,     8,       1),
            Stage("bottleneck", 4,     3,     2,     16,      1),
            Stage("bottleneck", 4,     3,     2,     32,      1),
            Stage("bottleneck", 4,     3,     2,     64,      1),
        ),
        activation="relu",
        norm_epsilon=1e-5,
    ),
    FINE,
)  # fmt: skip

# ResNet-18's at an eighth of its width, behind a stem without pool; ConvNeXt's with three stages and kernels
# of 5 px, since its last maps have 4.
MINI_RESNET_18 = Baseline(
    "mini-resnet-18",
    Network(
        pixels=32,
        classes=12,
        stem=20,
        stages=(
            #     operator expand kernel stride channels layers
            Stage("basic", 1,     3,     1,     8,       1),
            Stage("basic", 1,     3,     2,     16,      1),
            Stage("basic", 1,     3,     2,     32,      1),
            Stage("basic", 1,     3,     2,     64,      1),
        ),
        activation="relu",
        norm_epsilon=1e-5,
    ),
    FINE,
)  # fmt: skip

MINI_CONVNEXT = Baseline(
    "mini-convnext",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator    expand kernel stride channels layers
            Stage("convnext", 4,     5,     1,     16,      1),
            Stage("convnext", 4,     5,     2,     24,      1),
            Stage("convnext", 4,     5,     2,     32,      1),
        ),
        stem_kernel=2,
        stem_stride=2,
        activation="gelu",
        norm="layer",
        norm_epsilon=1e-6,
    ),
    FINE,
)  # fmt: skip

MINIS = (
    MICRO,
    MINI,
    MIDI,
    MINI_10,
    MINI_MOBILENET_V1,
    MINI_MOBILENET_V2,
    MINI_RESNET,
    MINI_RESNET_18,
    MINI_CONVNEXT,
)
OTHERS = tuple(Baseline(name, table, RELEASED) for name, table in FAMILIES.items())
BASELINES = {
    baseline.name: baseline
    for baseline in (*MINIS, B0, MOBILENET_V1, MOBILENET_V2, RESNET_50, *OTHERS)
}
