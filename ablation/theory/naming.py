"""What timm and torchvision call the modules that hold a network's tensors, in the order of our own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ablation.theory.blocks import Block
from ablation.theory.network import Network

# Of a convolution spec: the modules that hold its tensors, in the order of our own.
Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Naming:
    """What a library calls its modules.

    Names are templates of stage and layer (from 0), number, nth and index (of stages, of layers and of
    blocks, from 1), even and odd (twice the stage, and one more). Stages are theirs: rows of a table with
    equal channels are one. outside: stem, head, hidden layer and classifier, whose fields are of what would
    come after the last block. place: where a block lies. inside: below that place, of each block; a name with
    a field is whole. leaves: of tensors that we call otherwise.
    """

    outside: Names
    place: str
    inside: Callable[[Block], Names]
    leaves: Mapping[str, str] = field(default_factory=dict)

    def modules(self, network: Network) -> Iterator[str]:
        """Every module that holds tensors, in the order of our own."""
        yield from self.outside["stem"]
        blocks = iter(network.blocks())
        stage, layer, index = -1, 0, 1
        for row, before in zip(network.stages, (None, *network.stages), strict=False):
            if before is None or row.channels != before.channels:
                stage, layer = stage + 1, 0
            for _ in range(row.layers):
                yield from self._inside(next(blocks), _fields(stage, layer, index))
                layer, index = layer + 1, index + 1
        after = _fields(stage + 1, 0, index)
        for name, there in (
            ("head", network.head),
            ("hidden", network.hidden),
            ("classifier", network.classes),
        ):
            if there:
                yield from (each.format(**after) for each in self.outside[name])

    def _inside(self, block: Block, place: Mapping[str, int]) -> Iterator[str]:
        """The modules of one block."""
        names = self.inside(block)
        for conv in block.convolutions:
            for name in names[conv.name]:
                below = f"{self.place}.{name}".removesuffix(".")
                yield (name if "{" in name else below).format(**place)


def _fields(stage: int, layer: int, index: int) -> dict[str, int]:
    return {
        "stage": stage,
        "layer": layer,
        "nth": layer + 1,
        "number": stage + 1,
        "index": index,
        "even": 2 * stage,
        "odd": 2 * stage + 1,
    }


def _timm_inverted(block: Block) -> Names:
    """timm counts norms in their order and calls a pointwise convolution by what comes before it."""
    excite = {"squeeze": ("se.conv_reduce",), "gate": ("se.conv_expand",)}
    if block.convolutions[0].name == "expand":
        return excite | {
            "expand": ("conv_pw", "bn1"),
            "depthwise": ("conv_dw", "bn2"),
            "project": ("conv_pwl", "bn3"),
        }
    last = ("conv_pw", "bn2")
    return excite | {"depthwise": ("conv_dw", "bn1"), "project": last, "pointwise": last}


def _numbered(block: Block) -> dict[str, tuple[str, ...]]:
    """torchvision's blocks are sequences: each convolution has a number, both of squeeze-excite the same."""
    names: dict[str, tuple[str, ...]] = {}
    for conv in block.convolutions:
        number = len(names) - ("gate" in names)
        names[conv.name] = (f"{number}.0", f"{number}.1")
        if conv.name == "squeeze":
            names["squeeze"] = (f"{number}.fc1",)
        if conv.name == "gate":
            names["gate"] = (f"{number - 1}.fc2",)
    return names


def _projected(block: Block) -> Names:
    """The same, but for MobileNetV2, whose last convolution and norm have numbers of their own."""
    last = len(block.convolutions) - 1
    return _numbered(block) | {"project": (f"{last}", f"{last + 1}")}


def _resnet(block: Block) -> Names:
    """A bottleneck's convolutions, or a basic block's."""
    return {
        "shortcut": ("downsample.0", "downsample.1"),
        "reduce": ("conv1", "bn1"),
        "spatial": ("conv2", "bn2"),
        "expand": ("conv3", "bn3"),
        "first": ("conv1", "bn1"),
        "second": ("conv2", "bn2"),
    }


def _regnet(block: Block) -> Names:
    return {
        "shortcut": ("proj.0", "proj.1"),
        "reduce": ("f.a.0", "f.a.1"),
        "spatial": ("f.b.0", "f.b.1"),
        "squeeze": ("f.se.fc1",),
        "gate": ("f.se.fc2",),
        "expand": ("f.c.0", "f.c.1"),
    }


def _timm_regnet(block: Block) -> Names:
    return {
        "shortcut": ("downsample.conv", "downsample.bn"),
        "reduce": ("conv1.conv", "conv1.bn"),
        "spatial": ("conv2.conv", "conv2.bn"),
        "squeeze": ("se.fc1",),
        "gate": ("se.fc2",),
        "expand": ("conv3.conv", "conv3.bn"),
    }


def _convnext(block: Block) -> Names:
    return {
        "downsample": ("features.{even}.0", "features.{even}.1"),
        "depthwise": ("block.0", "block.2"),
        "expand": ("block.3",),
        "project": ("block.5", ""),
    }


def _timm_convnext(block: Block) -> Names:
    return {
        "downsample": ("stages.{stage}.downsample.0", "stages.{stage}.downsample.1"),
        "depthwise": ("conv_dw", "norm"),
        "expand": ("mlp.fc1",),
        "project": ("mlp.fc2", ""),
    }


# huggingface/pytorch-image-models, of release 1.0.31: timm/models/efficientnet.py and
# _efficientnet_blocks.py, mobilenetv3.py, regnet.py, convnext.py.
TIMM = Naming(
    outside={
        "stem": ("conv_stem", "bn1"),
        "head": ("conv_head", "bn2"),
        "classifier": ("classifier",),
    },
    place="blocks.{stage}.{layer}",
    inside=_timm_inverted,
)
TIMM_MOBILENET_V3 = replace(
    TIMM,
    outside=dict(TIMM.outside)
    | {"head": ("blocks.{stage}.0.conv", "blocks.{stage}.0.bn1"), "hidden": ("conv_head",)},
)
TIMM_REGNET = Naming(
    outside={"stem": ("stem.conv", "stem.bn"), "classifier": ("head.fc",)},
    place="s{number}.b{nth}",
    inside=_timm_regnet,
)
TIMM_CONVNEXT = Naming(
    outside={"stem": ("stem.0", "stem.1"), "classifier": ("head.norm", "head.fc")},
    place="stages.{stage}.blocks.{layer}",
    inside=_timm_convnext,
)

# pytorch/vision, of release 0.28.0: torchvision/models/efficientnet.py, mobilenetv2.py, mobilenetv3.py,
# regnet.py, convnext.py.
TORCHVISION_EFFICIENTNET = Naming(
    outside={
        "stem": ("features.0.0", "features.0.1"),
        "head": ("features.{number}.0", "features.{number}.1"),
        "classifier": ("classifier.1",),
    },
    place="features.{number}.{layer}.block",
    inside=_numbered,
)
TORCHVISION_MOBILENET_V2 = Naming(
    outside={
        "stem": ("features.0.0", "features.0.1"),
        "head": ("features.{index}.0", "features.{index}.1"),
        "classifier": ("classifier.1",),
    },
    place="features.{index}.conv",
    inside=_projected,
)
TORCHVISION_MOBILENET_V3 = Naming(
    outside=dict(TORCHVISION_MOBILENET_V2.outside)
    | {"hidden": ("classifier.0",), "classifier": ("classifier.3",)},
    place="features.{index}.block",
    inside=_numbered,
)
TORCHVISION_REGNET = Naming(
    outside={"stem": ("stem.0", "stem.1"), "classifier": ("fc",)},
    place="trunk_output.block{number}.block{number}-{layer}",
    inside=_regnet,
)
TORCHVISION_CONVNEXT = Naming(
    outside={
        "stem": ("features.0.0", "features.0.1"),
        "classifier": ("classifier.0", "classifier.2"),
    },
    place="features.{odd}.{layer}",
    inside=_convnext,
    leaves={"gamma": "layer_scale"},
)

# torchvision/models/resnet.py; timm/models/resnet.py has the same names.
RESNET = Naming(
    outside={"stem": ("conv1", "bn1"), "classifier": ("fc",)},
    place="layer{number}.{layer}",
    inside=_resnet,
)
