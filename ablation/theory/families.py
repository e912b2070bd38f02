"""Published families beside the paper's own: stage tables with their sources, for 1,000 classes. All round as
the released code does, but where nothing is said otherwise."""

from collections.abc import Mapping

from ablation.theory.blocks import Stage
from ablation.theory.network import Network, scale
from ablation.theory.scaling import RELEASED, Published


def resnet(
    operator: str, layers: tuple[int, ...], expand: float = 1, times: int = 1, groups: int = 1
) -> Network:
    """A ResNet v1.5 of Table 1 of arXiv 1512.03385v1, at 224 px; `times` the channels within a block."""
    stages = tuple(
        Stage(operator, expand, 3, stride, times * channels, n, groups=groups)
        for n, channels, stride in zip(layers, (64, 128, 256, 512), (1, 2, 2, 2), strict=True)
    )
    return Network(
        pixels=224,
        classes=1000,
        stem=64,
        stages=stages,
        stem_kernel=7,
        stem_pool=2,
        activation="relu",
        norm_epsilon=1e-5,
    )


# ResNet-1001 for images of 32 px: He et al. 2016, arXiv 1603.05027v3, 111 bottlenecks a stage; with the
# activation after the addition, as everywhere here.
RESNET_1001 = Network(
    pixels=32,
    classes=10,
    stem=16,
    stages=(
        #     operator      expand kernel stride channels layers
        Stage("bottleneck", 4,     3,     1,     16,      111),
        Stage("bottleneck", 4,     3,     2,     32,      111),
        Stage("bottleneck", 4,     3,     2,     64,      111),
    ),
    stem_stride=1,
    activation="relu",
    norm_epsilon=1e-5,
)  # fmt: skip


def _regnet(
    widths: tuple[int, ...], layers: tuple[int, ...], group_width: int, squeeze: float
) -> Network:
    """arXiv 2003.13678v1; widths, depths and group widths as facebookresearch/pycls lists them."""
    stages = tuple(
        Stage("bottleneck", 1, 3, 2, channels, n, squeeze, group_width=group_width)
        for channels, n in zip(widths, layers, strict=True)
    )
    return Network(224, 1000, 32, stages, activation="relu", norm_epsilon=1e-5)


# torchvision models/efficientnet.py (efficientnet_v2_s), whose epsilon it has, at the 300 px that it is
# trained with; Table 4 of arXiv 2104.00298v3.
EFFICIENTNET_V2_S = Network(
    pixels=300,
    classes=1000,
    stem=24,
    stages=(
        #     operator  expand kernel stride channels layers squeeze
        Stage("fused",  1,     3,     1,     24,      2),
        Stage("fused",  4,     3,     2,     48,      4),
        Stage("fused",  4,     3,     2,     64,      4),
        Stage("mbconv", 4,     3,     2,     128,     6,     0.25),
        Stage("mbconv", 6,     3,     1,     160,     9,     0.25),
        Stage("mbconv", 6,     3,     2,     256,     15,    0.25),
    ),
    head=1280,
)  # fmt: skip

# tensorflow/tpu models/official/efficientnet/lite/efficientnet_lite_builder.py: B0 without squeeze-excite,
# with ReLU6; stem and head keep their channels, the first and the last stage their layers.
LITE_0 = Network(
    pixels=224,
    classes=1000,
    stem=32,
    stages=(
        #     operator  expand kernel stride channels layers
        Stage("mbconv", 1,     3,     1,     16,      1, fixed=("layers",)),
        Stage("mbconv", 6,     3,     2,     24,      2),
        Stage("mbconv", 6,     5,     2,     40,      2),
        Stage("mbconv", 6,     3,     2,     80,      3),
        Stage("mbconv", 6,     5,     1,     112,     3),
        Stage("mbconv", 6,     5,     2,     192,     4),
        Stage("mbconv", 6,     3,     1,     320,     1, fixed=("layers",)),
    ),
    head=1280,
    activation="relu6",
    fixed=("stem", "head"),
)  # fmt: skip

# Of the same file, efficientnet_lite_params().
LITES = {
    "efficientnet-lite0": Published(1.0, 1.0, 224),
    "efficientnet-lite1": Published(1.0, 1.1, 240),
    "efficientnet-lite2": Published(1.1, 1.2, 260),
    "efficientnet-lite3": Published(1.2, 1.4, 280),
    "efficientnet-lite4": Published(1.4, 1.8, 300),
}

# Tables 2 and 1 of arXiv 1905.02244v5, expansions as in timm models/mobilenetv3.py; hidden layers and epsilon
# as in torchvision models/mobilenetv3.py.
MOBILENET_V3_SMALL = Network(
    pixels=224,
    classes=1000,
    stem=16,
    stages=(
        #     operator     expand kernel stride channels layers squeeze
        Stage("mbconv-v3", 1,     3,     2,     16,      1,     0.25, activation="relu"),
        Stage("mbconv-v3", 4.5,   3,     2,     24,      1,           activation="relu"),
        Stage("mbconv-v3", 3.67,  3,     1,     24,      1,           activation="relu"),
        Stage("mbconv-v3", 4,     5,     2,     40,      1,     0.25),
        Stage("mbconv-v3", 6,     5,     1,     40,      2,     0.25),
        Stage("mbconv-v3", 3,     5,     1,     48,      2,     0.25),
        Stage("mbconv-v3", 6,     5,     2,     96,      3,     0.25),
    ),
    head=576,
    activation="hardswish",
    hidden=1024,
)  # fmt: skip

MOBILENET_V3_LARGE = Network(
    pixels=224,
    classes=1000,
    stem=16,
    stages=(
        #     operator     expand kernel stride channels layers squeeze
        Stage("mbconv-v3", 1,     3,     1,     16,      1,           activation="relu"),
        Stage("mbconv-v3", 4,     3,     2,     24,      1,           activation="relu"),
        Stage("mbconv-v3", 3,     3,     1,     24,      1,           activation="relu"),
        Stage("mbconv-v3", 3,     5,     2,     40,      3,     0.25, activation="relu"),
        Stage("mbconv-v3", 6,     3,     2,     80,      1),
        Stage("mbconv-v3", 2.5,   3,     1,     80,      1),
        Stage("mbconv-v3", 2.3,   3,     1,     80,      2),
        Stage("mbconv-v3", 6,     3,     1,     112,     2,     0.25),
        Stage("mbconv-v3", 6,     5,     2,     160,     3,     0.25),
    ),
    head=960,
    activation="hardswish",
    hidden=1280,
)  # fmt: skip

# Section 3 of arXiv 2201.03545v2; facebookresearch/ConvNeXt models/convnext.py (convnext_tiny).
CONVNEXT_TINY = Network(
    pixels=224,
    classes=1000,
    stem=96,
    stages=(
        #     operator    expand kernel stride channels layers
        Stage("convnext", 4,     7,     1,     96,      3),
        Stage("convnext", 4,     7,     2,     192,     3),
        Stage("convnext", 4,     7,     2,     384,     9),
        Stage("convnext", 4,     7,     2,     768,     3),
    ),
    stem_kernel=4,
    stem_stride=4,
    activation="gelu",
    norm="layer",
    norm_epsilon=1e-6,
)  # fmt: skip

FAMILIES: Mapping[str, Network] = {
    "resnet-18": resnet("basic", (2, 2, 2, 2)),
    "resnet-34": resnet("basic", (3, 4, 6, 3)),
    "resnet-101": resnet("bottleneck", (3, 4, 23, 3), 4),
    "resnet-152": resnet("bottleneck", (3, 8, 36, 3), 4),
    "resnet-200": resnet("bottleneck", (3, 24, 36, 3), 4),
    "resnet-1001": RESNET_1001,
    # arXiv 1605.07146v4; arXiv 1611.05431v2, Table 1.
    "wide-resnet-50-2": resnet("bottleneck", (3, 4, 6, 3), 2, times=2),
    "resnext-50-32x4d": resnet("bottleneck", (3, 4, 6, 3), 2, times=2, groups=32),
    "regnet-x-400mf": _regnet((32, 64, 160, 400), (1, 2, 7, 12), 16, 0),
    "regnet-y-400mf": _regnet((48, 104, 208, 440), (1, 3, 6, 6), 8, 0.25),
    "efficientnet-v2-s": EFFICIENTNET_V2_S,
    **{name: scale(LITE_0, row.coefficients, RELEASED) for name, row in LITES.items()},
    "mobilenet-v3-small": MOBILENET_V3_SMALL,
    "mobilenet-v3-large": MOBILENET_V3_LARGE,
    "convnext-tiny": CONVNEXT_TINY,
}
