"""Released weights: state dicts of timm and torchvision loaded into this project's module, and its tensors
into theirs.

A state dict says neither how its convolutions pad nor the epsilon of its norms, so weights are named by
library and architecture: `network_of` gives the network that they fit, `load` puts them into its module, and
`give` puts ours into theirs. To normalise images as that library does is left to the caller.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from torch import Tensor, nn

from ablation.theory.baselines import B0, BASELINES, MOBILENET_V1, MOBILENET_V2, Baseline
from ablation.theory.families import LITES
from ablation.theory.naming import (
    RESNET,
    TIMM,
    TIMM_CONVNEXT,
    TIMM_MOBILENET_V3,
    TIMM_REGNET,
    TORCHVISION_CONVNEXT,
    TORCHVISION_EFFICIENTNET,
    TORCHVISION_MOBILENET_V2,
    TORCHVISION_MOBILENET_V3,
    TORCHVISION_REGNET,
    Naming,
)
from ablation.theory.network import Network, scale
from ablation.theory.scaling import PUBLISHED, Coefficients
from ablation.train.model import ConvNet


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


EFFICIENTNETS = {f"efficientnet_{name}": row.coefficients for name, row in PUBLISHED.items()}
# What timm and torchvision call networks that are in our table, with torch's own epsilon.
RESNETS = {
    "resnet18": "resnet-18",
    "resnet34": "resnet-34",
    "resnet50": "resnet-50",
    "resnet101": "resnet-101",
    "resnet152": "resnet-152",
    "wide_resnet50_2": "wide-resnet-50-2",
    "resnext50_32x4d": "resnext-50-32x4d",
}

ARCHITECTURES = {
    **{
        f"timm/{name}": Architecture(TIMM, B0, coefficients=coefficients)
        for name, coefficients in EFFICIENTNETS.items()
    },
    **{
        f"timm/efficientnet_{name.removeprefix('efficientnet-')}": Architecture(
            TIMM, BASELINES[name]
        )
        for name in LITES
    },
    "timm/mobilenetv1_100": Architecture(TIMM, MOBILENET_V1),
    "timm/mobilenetv2_100": Architecture(TIMM, MOBILENET_V2),
    "timm/mobilenetv3_small_100": Architecture(TIMM_MOBILENET_V3, BASELINES["mobilenet-v3-small"]),
    "timm/mobilenetv3_large_100": Architecture(TIMM_MOBILENET_V3, BASELINES["mobilenet-v3-large"]),
    **{f"timm/{theirs}": Architecture(RESNET, BASELINES[ours]) for theirs, ours in RESNETS.items()},
    "timm/resnet200": Architecture(RESNET, BASELINES["resnet-200"]),
    "timm/regnetx_004_tv": Architecture(TIMM_REGNET, BASELINES["regnet-x-400mf"]),
    "timm/regnety_004": Architecture(TIMM_REGNET, BASELINES["regnet-y-400mf"]),
    "timm/convnext_tiny": Architecture(TIMM_CONVNEXT, BASELINES["convnext-tiny"], 1e-6),
    **{
        f"torchvision/{name}": Architecture(
            TORCHVISION_EFFICIENTNET,
            B0,
            1e-3 if name[-2:] in ("b5", "b6", "b7") else 1e-5,
            coefficients,
        )
        for name, coefficients in EFFICIENTNETS.items()
    },
    "torchvision/efficientnet_v2_s": Architecture(
        TORCHVISION_EFFICIENTNET, BASELINES["efficientnet-v2-s"], 1e-3
    ),
    "torchvision/mobilenet_v2": Architecture(TORCHVISION_MOBILENET_V2, MOBILENET_V2),
    "torchvision/mobilenet_v3_small": Architecture(
        TORCHVISION_MOBILENET_V3, BASELINES["mobilenet-v3-small"], 1e-3
    ),
    **{
        f"torchvision/{theirs}": Architecture(RESNET, BASELINES[ours])
        for theirs, ours in RESNETS.items()
    },
    "torchvision/regnet_x_400mf": Architecture(TORCHVISION_REGNET, BASELINES["regnet-x-400mf"]),
    "torchvision/regnet_y_400mf": Architecture(TORCHVISION_REGNET, BASELINES["regnet-y-400mf"]),
    "torchvision/convnext_tiny": Architecture(
        TORCHVISION_CONVNEXT, BASELINES["convnext-tiny"], 1e-6
    ),
}


def network_of(name: str) -> Network:
    """The network that weights of `library/architecture` fit, with 1,000 classes, at its own resolution;
    raises ValueError as `architecture_of` does."""
    return architecture_of(name).network


def load(net: ConvNet, state: Mapping[str, Tensor], name: str) -> None:
    """Put a state dict of `library/architecture` into `net`, a ConvNet of `network_of(name)` at any
    resolution and number of classes.

    timm's tags may follow the name ("timm/efficientnet_b0.ra_in1k"). Raises ValueError for another network,
    for tensors that are missing or too many, and for a shape that differs; then `net` is as it was.
    """
    architecture = architecture_of(name)
    _check_network(net.network, architecture.network, name)
    ours = net.state_dict()
    names = names_of(net.state_dict(), net.network, architecture.naming)
    _check_tensors(ours, state, names, name)
    net.load_state_dict(
        ours
        | {
            tensor: state[given].reshape(ours[tensor].shape)
            for tensor, given in names.items()
            if given in state
        }
    )


def give(net: ConvNet, module: nn.Module, name: str) -> None:
    """The other way round: put the tensors of `net` into the library's own module of `library/architecture`,
    made with as many classes, and give its norms the epsilon that `net` was trained with.

    Raises ValueError as `load` does; then `module` is as it was.
    """
    architecture, epsilon = architecture_of(name), net.network.norm_epsilon
    _check_network(net.network, replace(architecture.network, norm_epsilon=epsilon), name)
    ours, theirs = net.state_dict(), module.state_dict()
    names = names_of(net.state_dict(), net.network, architecture.naming)
    _check_tensors(ours, theirs, names, name)
    module.load_state_dict(
        {given: ours[tensor].reshape(theirs[given].shape) for tensor, given in names.items()}
    )
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            layer.eps = epsilon


def architecture_of(name: str) -> Architecture:
    """What weights of `library/architecture` were trained as; raises ValueError for a name that is not known
    and for weights trained with other padding."""
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


def names_of(tensors: Iterable[str], network: Network, naming: Naming) -> dict[str, str]:
    """For each tensor of ours, `module.leaf`, what the library calls it."""
    split = {tensor: tensor.rpartition(".")[::2] for tensor in tensors}
    # In the order of the convolution specs.
    modules = dict.fromkeys(module for module, _ in split.values())
    theirs = dict(zip(modules, naming.modules(network), strict=True))
    return {
        tensor: f"{theirs[module]}.{naming.leaves.get(leaf, leaf)}"
        for tensor, (module, leaf) in split.items()
    }


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
    missing = [given for given in names.values() if given not in state and not counts(given)]
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
        if given in state and sides(state[given]) != sides(ours[tensor]):
            shapes = (
                f"{tuple(state[given].shape)} where this network takes {tuple(ours[tensor].shape)}"
            )
            raise ValueError(
                f"{name}: {given} has shape {shapes}; give the architecture and the number of classes that "
                "it was made for"
            )


def counts(tensor: str) -> bool:
    """Whether this is a norm's count of batches, which weights older than torch 0.4.1 lack and evaluation
    does without."""
    return tensor.endswith("num_batches_tracked")


def sides(tensor: Tensor) -> tuple[int, ...]:
    """The shape without what may be left out: a linear layer is a convolution of one pixel."""
    return tuple(side for side in tensor.shape if side != 1)
