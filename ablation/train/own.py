"""A network that a function of the user's builds: called, described, counted by torch, and set for training.

What is built is described by its tree of modules (names, classes, what they print of themselves, plain
attributes of classes that are not torch's), by the name, shape and kind of every tensor with its size at seed
0 (root mean square, three digits), and by what it costs. A digest of this and of the files that build it,
without their comments, is the network's identity. Numbers are as coarse as that because two processors
differ in the last bits of what they draw; that is why no output of the network is part of it.

It does not see what forward reads from elsewhere: a file, the environment, another version of an installed
library that builds the same modules.
"""

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ablation.runs.checks import first_line
from ablation.runs.config import Recipe, digest
from ablation.runs.sources import bare, searched_here
from ablation.theory.own import Own

Function = Callable[[float, float, int, int], nn.Module]
ARGUMENTS = ("depth", "width", "pixels", "classes")
aten = torch.ops.aten
# Convolutions, and what fully connected layers and attention are made of.
PRODUCTS = (aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
TWO = 2  # images that are counted: a module that mixes them is found out
PLAIN = (int, float, str, bool, type(None))

_imported: dict[str, str] = {}  # sources by the name of their module, as they were imported


def described(
    factory: str, sources: Mapping[str, str], depth: float, width: float, pixels: int, classes: int
) -> dict[str, Any]:
    """What planning needs to know of one network: the digest of what is built, and its counts.

    Raises ValueError, naming what was asked for, where nothing can be built or counted.
    """
    asked = dict(zip(ARGUMENTS, (depth, width, pixels, classes), strict=True))
    told = " ".join(f"{name}={value:g}" for name, value in asked.items())
    function = load(factory, sources)
    net = _built(factory, told, function, asked)
    if depth == width == 1:
        _refuse_chance(factory, net, _built(factory, told, function, asked))
    try:
        counts = counted(net, pixels, classes)
        known = _identity(factory, sources, net, counts)
    except ValueError as error:
        raise ValueError(f"baseline.factory={factory}: {told}: {error}") from error
    except Exception as error:
        raise ValueError(
            f"baseline.factory={factory}: {told}: its module fails on images of (N, 3, {pixels}, {pixels}) "
            f"that have a shape and no values: {type(error).__name__}: {first_line(error)}; try "
            "function(...)(torch.zeros(2, 3, pixels, pixels)), and register each tensor of its own as a "
            "buffer"
        ) from error
    return {"digest": known, **counts}


def build(network: Own, recipe: Recipe) -> nn.Module:
    """The module of a network, its weights drawn from torch's generator; every batch norm gets the recipe's
    momentum.

    Raises ValueError where another network than the planned one is built.
    """
    own = {name: getattr(network, name) for name in ARGUMENTS}
    found = described(network.factory, network.sources, **own)
    if found["digest"] != network.digest:
        raise ValueError(
            f"baseline.factory={network.factory}: builds another network than was planned "
            f"({found['digest']}, not {network.digest}): what it reads has changed; start the command again"
        )
    net = load(network.factory, network.sources)(*own.values())
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = recipe.norm_momentum
    return net


def load(factory: str, sources: Mapping[str, str]) -> Function:
    """The function, its files imported anew where they have changed; raises ValueError where there is
    none."""
    searched_here()
    name, _, function_name = factory.partition(":")
    if any(_imported.get(each, text) != text for each, text in sources.items()):
        for each in sources:
            sys.modules.pop(each, None)
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise ValueError(
            f"baseline.factory={factory}: {name} cannot be imported from {Path.cwd()}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    _imported.update(sources)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(
            f"baseline.factory={factory}: {name} has no function {function_name}; define "
            f"{function_name}({', '.join(ARGUMENTS)}) there"
        )
    _check_signature(factory, function)
    return function


def _check_signature(factory: str, function: Function) -> None:
    try:
        inspect.signature(function).bind(*ARGUMENTS)
    except TypeError as error:
        raise ValueError(
            f"baseline.factory={factory}: is called as function({', '.join(ARGUMENTS)}): {error}"
        ) from error


def _built(factory: str, told: str, function: Function, asked: Mapping[str, Any]) -> nn.Module:
    """The module at seed 0, in evaluation mode; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            net = function(*asked.values())
        except Exception as error:
            raise ValueError(
                f"baseline.factory={factory}: {told}: {type(error).__name__}: {first_line(error)}; it should "
                "build a network of every depth and width above 0"
            ) from error
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"baseline.factory={factory}: {told}: returns a {type(net).__name__}; it should return a "
            "torch.nn.Module"
        )
    return net.eval()


def _refuse_chance(factory: str, one: nn.Module, other: nn.Module) -> None:
    """Raises ValueError where two networks of one seed differ: nobody could train a run again."""
    first, second = one.state_dict(), other.state_dict()
    apart = [name for name in first if not _same(first[name], second.get(name))]
    if apart or first.keys() != second.keys():
        differing = apart[0] if apart else "what it is made of"
        raise ValueError(
            f"baseline.factory={factory}: builds two networks at one seed ({differing} differs); draw "
            "weights with torch's generator alone"
        )


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return True
    return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())


def counted(net: nn.Module, pixels: int, classes: int) -> dict[str, int]:
    """The fields of theory.cost.Cost, of an image: what torch's counter says of a forward pass on the meta
    device, where nothing is computed. Whatever it counts is in the macs, attention too; activations are what
    products put out.

    Moves no tensor of `net`. Raises ValueError for logits of another shape.
    """
    seen: list[tuple[int, bool]] = []  # elements that come out, whether grouped
    grouped = 0

    def noting(op: Any) -> Callable[..., int]:
        def flops(*shapes: Any, out_shape: Any = None, **named: Any) -> int:
            nonlocal grouped
            found = flop_registry[op](*shapes, out_val=out_shape, **named)
            is_grouped = op is aten.convolution and shapes[8] > 1
            seen.append((math.prod(out_shape), is_grouped))
            grouped += found if is_grouped else 0
            return found

        return flops

    noted = FlopCounterMode(display=False, custom_mapping={op: noting(op) for op in PRODUCTS})
    tensors = {
        name: tensor.detach().to("meta")
        for name, tensor in (*net.named_parameters(), *net.named_buffers())
    }
    images = torch.empty(TWO, 3, pixels, pixels, device="meta")
    with torch.no_grad(), noted:
        logits = torch.func.functional_call(net, tensors, (images,))
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (TWO, classes):
        raise ValueError(
            f"puts out {shape} for {TWO} images and {classes} classes; logits are ({TWO}, {classes})"
        )
    # A multiply-add is two of torch's operations.
    return {
        "macs": noted.get_total_flops() // (2 * TWO),
        "params": sum(parameter.numel() for parameter in net.parameters()),
        "activations": sum(elements for elements, _ in seen) // TWO,
        "grouped": grouped // (2 * TWO),
        "products": len(seen),
    }


def _identity(
    factory: str, sources: Mapping[str, str], net: nn.Module, counts: Mapping[str, int]
) -> str:
    """The digest of what is built and of what builds it; a file's place has no part in it."""
    return digest(
        {
            "function": factory.rpartition(":")[2],
            "files": sorted(bare(text) for text in sources.values()),
            "structure": [*_structure(net)],
            "counts": dict(counts),
        }
    )


def _structure(net: nn.Module) -> Iterator[Any]:
    for name, module in net.named_modules():
        yield [name, type(module).__qualname__, module.extra_repr(), _attributes(module)]
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        size = tensor.detach().double().square().mean().sqrt().item()
        yield [name, [*tensor.shape], str(tensor.dtype), f"{size:.3g}"]


def _attributes(module: nn.Module) -> dict[str, str]:
    """Numbers and words that a module of the user's class keeps; torch's classes print theirs."""
    if type(module).__module__.startswith("torch."):
        return {}
    return {
        name: repr(value)
        for name, value in sorted(vars(module).items())
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return isinstance(value, PLAIN)
