"""What a run starts from: which network's weights a file holds, what of them a network takes that was scaled,
and its module with them.

A file holds the weights of one network, whole, in which each tensor has a stage and a layer: so a deeper
network takes its baseline's layers where they stand, not where their numbers would put them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ablation.runs.config import Init
from ablation.runs.trained import network_of
from ablation.theory.naming import Naming
from ablation.theory.network import Network
from ablation.theory.own import Own
from ablation.train.checkpoints import read_state
from ablation.train.model import ConvNet
from ablation.train.own import ARGUMENTS
from ablation.train.own import load as function_of
from ablation.train.released import ARCHITECTURES, architecture_of, counts, names_of, sides

Place = tuple[int | str, ...] | str
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
        return names_of(tensors, self.network, self.naming)


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
    drawn = {_module(tensor) for tensor in unfit if not counts(tensor)}
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
    """Put what a file holds of a network into its module; raises ValueError as `start` does, and for a file
    that is not what was planned."""
    path = Path(init.path)
    held = read_state(path, init.digest)
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
    return given is not None and sides(given) == sides(ours)


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
        named = architecture_of(source)
        kinds = [Kind(named.network, named.naming)]
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
        return network_of(about)
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
    missing = [given for given in needed if given not in held and not counts(given)]
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
