"""Baselines: stage tables to scale from, each with its source and the rounding that belongs to it."""

from dataclasses import dataclass

from ablation.network import Network, Stage
from ablation.scaling import Rounding


@dataclass(frozen=True)
class Baseline:
    """A network to scale from and how its scaled coefficients are rounded."""

    name: str
    network: Network
    rounding: Rounding


# EfficientNet-B0: Table 1 of arXiv 1905.11946v5; strides, expansion and squeeze-excite from tensorflow/tpu
# models/official/efficientnet/efficientnet_builder.py (_DEFAULT_BLOCKS_ARGS); batch-norm epsilon 1e-3 from the same.
B0 = Baseline(
    "b0",
    Network(
        pixels=224,
        classes=1000,
        stem=32,
        stages=(
            #     operator  expand kernel stride channels layers
            Stage("mbconv", 1,     3,     1,     16,      1),
            Stage("mbconv", 6,     3,     2,     24,      2),
            Stage("mbconv", 6,     5,     2,     40,      2),
            Stage("mbconv", 6,     3,     2,     80,      3),
            Stage("mbconv", 6,     5,     1,     112,     3),
            Stage("mbconv", 6,     5,     2,     192,     4),
            Stage("mbconv", 6,     3,     1,     320,     1),
        ),
        head=1280,
    ),
    Rounding(channels=8, floor=0.9, depth="ceil", resolution=1),
)  # fmt: skip

# mini: B0's blocks for images of 32 px and a CPU. One block a stage, narrow and small, so that each of the three dimensions has
# room to grow; depth and pixels move in fine steps, so that a budget can be met.
MINI = Baseline(
    "mini",
    Network(
        pixels=32,
        classes=12,
        stem=16,
        stages=(
            #     operator  expand kernel stride channels layers
            Stage("mbconv", 1,     3,     1,     16,      1),
            Stage("mbconv", 4,     3,     2,     24,      1),
            Stage("mbconv", 4,     3,     2,     48,      1),
            Stage("mbconv", 4,     3,     2,     96,      1),
        ),
        head=160,
    ),
    Rounding(channels=4, floor=0.9, depth="nearest", resolution=2),
)  # fmt: skip

BASELINES = {baseline.name: baseline for baseline in (MINI, B0)}
