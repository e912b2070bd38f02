"""Weights from files: state dicts of timm and torchvision, and our own, put into this project's module, and
its tensors into theirs.

A state dict says neither how its convolutions pad nor the epsilon of its norms, so weights are named by
library and architecture: `network_of` gives the network that they fit, `load` puts them into its module, and
`give` puts ours into theirs. `start` finds what a file holds of any network, scaled or not, and `begin` puts
that there. To normalise images as that library does is left to the caller.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ablation.runs.checks import build, first_line
from ablation.runs.config import Init
from ablation.theory.baselines import B0, BASELINES, MOBILENET_V1, MOBILENET_V2, Baseline
from ablation.theory.blocks import Stage
from ablation.theory.families import LITES
from ablation.theory.network import Network, scale
from ablation.theory.own import Own
from ablation.theory.scaling import PUBLISHED, Coefficients
from ablation.train.model import ConvNet
from ablation.train.naming import (
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
from ablation.train.own import ARGUMENTS
from ablation.train.own import load as function_of

Place = tuple[int, ...] | str


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
    names = _names(net.state_dict(), net.network, architecture.naming)
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
    architecture, epsilon = _architecture(name), net.network.norm_epsilon
    _check_network(net.network, replace(architecture.network, norm_epsilon=epsilon), name)
    ours, theirs = net.state_dict(), module.state_dict()
    names = _names(net.state_dict(), net.network, architecture.naming)
    _check_tensors(ours, theirs, names, name)
    module.load_state_dict(
        {given: ours[tensor].reshape(theirs[given].shape) for tensor, given in names.items()}
    )
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            layer.eps = epsilon


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


def _names(tensors: Iterable[str], network: Network, naming: Naming) -> dict[str, str]:
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
    missing = [given for given in names.values() if given not in state and not _counts(given)]
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
        if given in state and _sides(state[given]) != _sides(ours[tensor]):
            shapes = (
                f"{tuple(state[given].shape)} where this network takes {tuple(ours[tensor].shape)}"
            )
            raise ValueError(
                f"{name}: {given} has shape {shapes}; give the architecture and the number of classes that "
                "it was made for"
            )


def _counts(tensor: str) -> bool:
    """Whether this is a norm's count of batches, which weights older than torch 0.4.1 lack and evaluation
    does without."""
    return tensor.endswith("num_batches_tracked")


def _sides(tensor: Tensor) -> tuple[int, ...]:
    """The shape without what may be left out: a linear layer is a convolution of one pixel."""
    return tuple(side for side in tensor.shape if side != 1)


# ---------------------------------------------------------------- what a run starts from


# What lies beside a file of ours and says which network it holds, and where it says so.
BESIDE = {"model.safetensors": ("config.json",), "weights.pt": ("record.json", "config")}


@dataclass(frozen=True)
class Start:
    """What a file holds of a network. names: what it calls these tensors of ours; lacks: of the first that it
    lacks, what is wrong, "" where that is nothing but a classifier of other classes; share: of the
    parameters, those that it holds; classifier: whether that is all of them; norm_epsilon: that of the
    network in the file."""

    names: Mapping[str, str]
    lacks: str
    share: float
    classifier: bool
    norm_epsilon: float | None


@dataclass(frozen=True)
class Kind:
    """What a file may hold: a network, its tensors called as a library does, or as we do."""

    network: Network | Own
    naming: Naming | None = None

    def names(self) -> dict[str, str]:
        """For each tensor of ours, what the file calls it."""
        tensors = _blank(self.network).state_dict()
        if self.naming is None or isinstance(self.network, Own):
            return {tensor: tensor for tensor in tensors}
        return _names(tensors, self.network, self.naming)


def read(path: Path, digest: str) -> dict[str, Tensor]:
    """The state dict in a file, safetensors or torch.save's; raises ValueError for anything else, for numbers
    that are none, and for a file of another digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} has changed since the run was planned; start the command again")
    try:
        state = _state(content)
    except Exception as error:  # of many kinds, by where a file ends
        raise ValueError(
            f"{path} holds no weights ({first_line(error)}); give a state dict, as safetensors or "
            "torch.save(net.state_dict(), FILE) leave it"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(each, Tensor) for each in state.values()
    ):
        raise ValueError(
            f"{path} holds {_described(state)}, no state dict; save that alone, "
            "torch.save(net.state_dict(), FILE)"
        )
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{path}: {broken[0]} holds numbers that are not finite; take other weights"
        )
    return dict(state)


def _state(content: bytes) -> object:
    """What a file holds; safetensors begin with the length of a mapping in JSON."""
    if content[8:9] == b"{":
        return safetensors.torch.load(content)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _described(found: object) -> str:
    """What was found in place of a state dict."""
    if isinstance(found, Mapping):
        return f"a mapping of {', '.join(map(str, [*found][:3]))}"
    return f"a {type(found).__name__}"


def start(
    network: Network | Own,
    baseline: Network | Own,
    held: Mapping[str, Tensor],
    source: str,
    path: Path,
) -> Start:
    """What the tensors of a file hold of a network that was scaled from a baseline: the modules of the same
    layer of the same stage whose tensors all have the same shapes.

    Raises ValueError where the file does not hold the network that its source names or that lies beside it,
    else this network or its baseline, whole but for a classifier.
    """
    kind = _recognised(_kinds(network, baseline, source, path), held, source)
    called = _called(network, kind)
    ours, of_classes = _blank(network).state_dict(), _of_classes(network)
    unfit = [tensor for tensor, given in called.items() if not _fits(ours[tensor], held.get(given))]
    drawn = {_module(tensor) for tensor in unfit if not _counts(tensor)}
    kept = {tensor for tensor in ours if _module(tensor) not in drawn}
    added = [tensor for tensor in unfit if tensor not in kept | of_classes]
    sizes = {name: each.numel() for name, each in _blank(network).named_parameters()}
    return Start(
        names={
            tensor: called[tensor] for tensor in ours if tensor in kept and called[tensor] in held
        },
        lacks=_lacking(added[0], called[added[0]], ours, held) if added else "",
        share=sum(size for name, size in sizes.items() if name in kept) / sum(sizes.values()),
        classifier=of_classes <= kept,
        norm_epsilon=None if isinstance(kind.network, Own) else kind.network.norm_epsilon,
    )


def begin(net: nn.Module, network: Network | Own, baseline: Network | Own, init: Init) -> None:
    """Put what a file holds of a network into its module; raises ValueError as `read` and `start` do."""
    path = Path(init.path)
    held = read(path, init.digest)
    names = start(network, baseline, held, init.source, path).names
    ours = net.state_dict()
    given = {tensor: held[name].reshape(ours[tensor].shape) for tensor, name in names.items()}
    net.load_state_dict(ours | given)


def _module(tensor: str) -> str:
    """The module that holds a tensor; one of the network itself stands alone."""
    return tensor.rpartition(".")[0] or tensor


def _called(network: Network | Own, kind: Kind) -> dict[str, str]:
    """For each tensor of a network, what a file of some kind calls that of the same place; "" for none."""
    inside = dict(zip(_places(kind.network), kind.names().values(), strict=True))
    places = zip(_blank(network).state_dict(), _places(network), strict=True)
    return {tensor: inside.get(place, "") for tensor, place in places}


def _fits(ours: Tensor, given: Tensor | None) -> bool:
    return given is not None and _sides(given) == _sides(ours)


def _lacking(
    tensor: str, given: str, ours: Mapping[str, Tensor], held: Mapping[str, Tensor]
) -> str:
    """What is wrong with a tensor that a file lacks."""
    if given not in held:
        return f"the weights have no {tensor}"
    return (
        f"{tensor} has shape {tuple(ours[tensor].shape)}, in the weights {tuple(held[given].shape)}"
    )


@lru_cache(maxsize=64)
def _blank(network: Network | Own) -> nn.Module:
    """The module of a network as names and shapes, without memory; torch's generator is left as it was."""
    if not isinstance(network, Own):
        with torch.device("meta"):
            return ConvNet(network)
    function = function_of(network.factory, network.sources)
    with torch.random.fork_rng(devices=[]):
        return function(*(getattr(network, name) for name in ARGUMENTS)).to("meta")


def _of_classes(network: Network | Own) -> set[str]:
    """Tensors whose shape follows from the number of classes."""
    ours = _blank(network).state_dict()
    others = _blank(replace(network, classes=network.classes + 1)).state_dict()
    return {name for name, tensor in ours.items() if tensor.shape != others[name].shape}


def _places(network: Network | Own) -> Iterator[Place]:
    """Of each tensor, where it stands whatever the depth: stage, layer and name within a block; its own name
    outside of blocks."""
    tensors = _blank(network).state_dict()
    if isinstance(network, Own):
        yield from tensors
        return
    blocks = [
        (stage, layer) for stage, count in enumerate(network.layers) for layer in range(count)
    ]
    for tensor in tensors:
        room, _, rest = tensor.partition(".")
        number, _, inside = rest.partition(".")
        yield (*blocks[int(number)], inside) if room == "blocks" else tensor


def _kinds(network: Network | Own, baseline: Network | Own, source: str, path: Path) -> list[Kind]:
    """What a file may hold, for data of as many classes as the network's."""
    if isinstance(network, Own) or isinstance(baseline, Own):
        return [Kind(network)]
    kinds = [Kind(network), Kind(baseline)]
    kinds += [
        Kind(each.network, each.naming)
        for each in ARCHITECTURES.values()
        if _alike(each.network, network) or _alike(each.network, baseline)
    ]
    if beside := _network_beside(path):
        kinds = [Kind(beside)]
    if source.startswith(LIBRARIES):
        architecture = _architecture(source)
        kinds = [Kind(architecture.network, architecture.naming)]
    for kind in kinds:
        _check_kin(network, kind.network, source)
    seen = {"pixels": network.pixels, "classes": network.classes}
    return [replace(kind, network=replace(kind.network, **seen)) for kind in kinds]


LIBRARIES = ("timm/", "torchvision/")


def _alike(network: Network, other: Network) -> bool:
    """Whether two networks have the same tensors, classifiers apart."""
    seen = {name: getattr(other, name) for name in ("pixels", "classes", "norm_epsilon")}
    return replace(network, **seen) == other


def _check_kin(network: Network, other: Network, source: str) -> None:
    """Raises ValueError where weights were trained in a network that differs in more than its size."""
    sizes = ("pixels", "classes", "stem", "stages", "head", "hidden", "norm_epsilon", "fixed")
    pairs = [("", network, other, sizes)]
    for number, (ours, theirs) in enumerate(zip(network.stages, other.stages, strict=False), 1):
        pairs.append((f"stage {number}'s ", ours, theirs, ("channels", "layers", "fixed")))
    for where, ours, theirs, left_out in pairs:
        for name in (each.name for each in fields(ours) if each.name not in left_out):
            mine, given = getattr(ours, name), getattr(theirs, name)
            if mine != given:
                raise ValueError(
                    f"init={source}: {where}{name} is {given} in the weights' network, {mine} in this one; "
                    "give weights of its baseline"
                )


def _network_beside(path: Path) -> Network | None:
    """The network whose weights an export or a run of ours left, as the file beside them says; None where
    none does."""
    if path.name not in BESIDE:
        return None
    name, *inside = BESIDE[path.name]
    try:
        about = json.loads((path.parent / name).read_text("utf-8"))
        for key in (*inside, "network"):
            about = about[key]
        values = {each.name: about[each.name] for each in fields(Network) if each.name in about}
        stages = tuple(build(Stage, row) for row in values["stages"])
        return build(Network, values | {"stages": stages})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recognised(kinds: Iterable[Kind], held: Mapping[str, Tensor], source: str) -> Kind:
    """The kind that a file is of; raises ValueError where it is of none."""
    found = [(kind, _faults(kind, held)) for kind in kinds]
    kind, faults = min(found, key=lambda each: len(each[1]))
    if faults:
        raise ValueError(
            f"init={source}: not the weights of this network or its baseline: {faults[0]}, one of "
            f"{len(faults)} differences; give the whole weights of the baseline"
        )
    return kind


def _faults(kind: Kind, held: Mapping[str, Tensor]) -> list[str]:
    """What in a file is not as in a network of this kind; a classifier may be of other classes."""
    ours, of_classes = _blank(kind.network).state_dict(), _of_classes(kind.network)
    names = kind.names()
    needed = {given: ours[tensor] for tensor, given in names.items() if tensor not in of_classes}
    missing = [given for given in needed if given not in held and not _counts(given)]
    extra = sorted(held.keys() - set(names.values()))
    both = [given for given in needed if given in held]
    shapes = {given: (tuple(held[given].shape), tuple(needed[given].shape)) for given in both}
    return [
        *(f"they have no {given}" for given in missing),
        *(f"they have {given}, too" for given in extra),
        *(
            f"{given} has shape {shapes[given][0]}, not {shapes[given][1]}"
            for given in both
            if not _fits(needed[given], held[given])
        ),
    ]
