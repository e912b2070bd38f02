"""Released weights: state dicts of timm and torchvision loaded into this project's module.

A state dict says neither how its convolutions pad nor the epsilon of its norms, so weights are named by
library and architecture: `network_of` gives the network that they fit and `load` puts them into its module.
To normalise images as that library does is left to the caller.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from torch import Tensor

from ablation.theory.baselines import B0, MOBILENET_V1, MOBILENET_V2, RESNET_50, Baseline
from ablation.theory.network import Block, Network, scale
from ablation.theory.scaling import PUBLISHED, Coefficients
from ablation.train.model import ConvNet

# Of a convolution spec: the modules that hold its tensors, convolution first, then norm.
Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Naming:
    """What a library calls its modules.

    outside: stem, head and classifier. place: where a block lies, a template of stage and layer (from 0) and
    number and index (of stages and of blocks, from 1). inside: below that place. unexpanded: the same for
    blocks without an expansion.
    """

    outside: Names
    place: str
    inside: Names
    unexpanded: Names = field(default_factory=dict)

    def modules(self, network: Network) -> Iterator[str]:
        """Every module that holds tensors, in the order of our own."""
        yield from self.outside["stem"]
        blocks = iter(network.blocks())
        index = 0
        for stage, layers in enumerate(network.layers):
            for layer in range(layers):
                index += 1
                place = self.place.format(stage=stage, layer=layer, number=stage + 1, index=index)
                for name in self._inside(next(blocks)):
                    yield f"{place}.{name}"
        yield from self.outside["head"] if network.head else ()
        yield from self.outside["classifier"]

    def _inside(self, block: Block) -> Iterator[str]:
        """The modules of one block, below its place."""
        convolutions = [conv.name for conv in block.convolutions]
        names = self.inside if "expand" in convolutions else self.unexpanded
        for name in convolutions:
            yield from names[name]


# huggingface/pytorch-image-models timm/models/efficientnet.py and _efficientnet_blocks.py, of release 1.0.31.
TIMM = Naming(
    outside={
        "stem": ("conv_stem", "bn1"),
        "head": ("conv_head", "bn2"),
        "classifier": ("classifier",),
    },
    place="blocks.{stage}.{layer}",
    inside={
        "expand": ("conv_pw", "bn1"),
        "depthwise": ("conv_dw", "bn2"),
        "reduce": ("se.conv_reduce",),
        "gate": ("se.conv_expand",),
        "project": ("conv_pwl", "bn3"),
    },
    unexpanded={
        "depthwise": ("conv_dw", "bn1"),
        "reduce": ("se.conv_reduce",),
        "gate": ("se.conv_expand",),
        "project": ("conv_pw", "bn2"),
        "pointwise": ("conv_pw", "bn2"),
    },
)

# pytorch/vision torchvision/models/efficientnet.py, of release 0.28.0.
TORCHVISION_EFFICIENTNET = Naming(
    outside={
        "stem": ("features.0.0", "features.0.1"),
        "head": ("features.8.0", "features.8.1"),
        "classifier": ("classifier.1",),
    },
    place="features.{number}.{layer}.block",
    inside={
        "expand": ("0.0", "0.1"),
        "depthwise": ("1.0", "1.1"),
        "reduce": ("2.fc1",),
        "gate": ("2.fc2",),
        "project": ("3.0", "3.1"),
    },
    unexpanded={
        "depthwise": ("0.0", "0.1"),
        "reduce": ("1.fc1",),
        "gate": ("1.fc2",),
        "project": ("2.0", "2.1"),
    },
)

# torchvision/models/mobilenetv2.py, of the same.
TORCHVISION_MOBILENET_V2 = Naming(
    outside={
        "stem": ("features.0.0", "features.0.1"),
        "head": ("features.18.0", "features.18.1"),
        "classifier": ("classifier.1",),
    },
    place="features.{index}.conv",
    inside={"expand": ("0.0", "0.1"), "depthwise": ("1.0", "1.1"), "project": ("2", "3")},
    unexpanded={"depthwise": ("0.0", "0.1"), "project": ("1", "2")},
)

# torchvision/models/resnet.py; timm/models/resnet.py has the same names.
RESNET = Naming(
    outside={"stem": ("conv1", "bn1"), "classifier": ("fc",)},
    place="layer{number}.{layer}",
    inside={
        "shortcut": ("downsample.0", "downsample.1"),
        "reduce": ("conv1", "bn1"),
        "spatial": ("conv2", "bn2"),
        "expand": ("conv3", "bn3"),
    },
)


@dataclass(frozen=True)
class Architecture:
    """What released weights were trained as."""

    naming: Naming
    baseline: Baseline
    norm_epsilon: float = (
        1e-5  # torch's default, which both libraries keep where nothing else is said
    )
    coefficients: Coefficients = field(default_factory=Coefficients)

    @property
    def network(self) -> Network:
        """The network with released coefficients and epsilon."""
        network = scale(self.baseline.network, self.coefficients, self.baseline.rounding)
        return replace(network, norm_epsilon=self.norm_epsilon)


ARCHITECTURES = {
    **{
        f"timm/efficientnet_{name}": Architecture(TIMM, B0, coefficients=row.coefficients)
        for name, row in PUBLISHED.items()
    },
    "timm/mobilenetv1_100": Architecture(TIMM, MOBILENET_V1),
    "timm/mobilenetv2_100": Architecture(TIMM, MOBILENET_V2),
    "timm/resnet50": Architecture(RESNET, RESNET_50),
    **{
        f"torchvision/efficientnet_{name}": Architecture(
            TORCHVISION_EFFICIENTNET,
            B0,
            1e-3 if name in ("b5", "b6", "b7") else 1e-5,
            row.coefficients,
        )
        for name, row in PUBLISHED.items()
    },
    "torchvision/mobilenet_v2": Architecture(TORCHVISION_MOBILENET_V2, MOBILENET_V2),
    "torchvision/resnet50": Architecture(RESNET, RESNET_50),
}


def network_of(name: str) -> Network:
    """The network that weights of `library/architecture` fit, with 1,000 classes, at its own resolution;
    raises ValueError for a name that is not known and for weights trained with other padding."""
    return _architecture(name).network


def load(net: ConvNet, state: Mapping[str, Tensor], name: str) -> None:
    """Put a state dict of `library/architecture` into `net`, a ConvNet of `network_of(name)` at any
    resolution and number of classes.

    timm's tags may follow the name ("timm/efficientnet_b0.ra_in1k"). Raises ValueError for another network,
    for tensors that are missing or too many, and for a shape that differs; then `net` is as it was.
    """
    architecture = _architecture(name)
    _check_network(net.network, architecture.network, name)
    ours = net.state_dict()
    names = _names(net, architecture.naming)
    _check_tensors(ours, state, names, name)
    net.load_state_dict(
        ours | {tensor: state[given] for tensor, given in names.items() if given in state}
    )


def _architecture(name: str) -> Architecture:
    plain = name.split(".")[0]
    if plain.split("/")[-1].startswith("tf_"):
        raise ValueError(
            f"{name}: trained with TensorFlow's SAME padding, asymmetric at stride 2, where this project "
            "pads kernel // 2 on every side; "
            "the logits would differ, so take weights without tf_ in their name, such as "
            "timm/efficientnet_b0"
        )
    if plain not in ARCHITECTURES:
        raise ValueError(f"{name}: no such weights are known; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[plain]


def _names(net: ConvNet, naming: Naming) -> dict[str, str]:
    """For each tensor of ours, `module.leaf`, what the library calls it."""
    split = {tensor: tensor.rpartition(".")[::2] for tensor in net.state_dict()}
    # In the order of the convolution specs.
    modules = dict.fromkeys(module for module, _ in split.values())
    theirs = dict(zip(modules, naming.modules(net.network), strict=True))
    return {tensor: f"{theirs[module]}.{leaf}" for tensor, (module, leaf) in split.items()}


def _check_network(network: Network, wanted: Network, name: str) -> None:
    wanted = replace(wanted, pixels=network.pixels, classes=network.classes)
    differs = [
        f.name for f in fields(Network) if getattr(network, f.name) != getattr(wanted, f.name)
    ]
    if differs:
        raise ValueError(
            f"{name}: this network has another {', '.join(differs)}; load into ConvNet(network_of('{name}'))"
        )


def _check_tensors(
    ours: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Mapping[str, str], name: str
) -> None:
    # Weights older than torch 0.4.1 do not count batches, and evaluation needs no count.
    missing = [
        given
        for given in names.values()
        if given not in state and not given.endswith(".num_batches_tracked")
    ]
    extra = sorted(state.keys() - set(names.values()))
    if missing:
        raise ValueError(
            f"{name}: {missing[0]} is missing, one of {len(missing)}; give the whole state dict and the "
            "name of its architecture"
        )
    if extra:
        raise ValueError(
            f"{name}: has no {extra[0]}, one of {len(extra)}; give the name of the architecture that has"
        )
    for tensor, given in names.items():
        if given in state and state[given].shape != ours[tensor].shape:
            shapes = (
                f"{tuple(state[given].shape)} where this network takes {tuple(ours[tensor].shape)}"
            )
            raise ValueError(
                f"{name}: {given} has shape {shapes}; give the architecture and the number of classes that "
                "it was made for"
            )
