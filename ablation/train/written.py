"""The module of a run written out as a file of plain PyTorch: operators as they stand in `operators`, every
layer from its convolution spec, and ConvNet's own forward."""

import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablation.runs.config import Run
from ablation.theory.blocks import Block, Convolution
from ablation.theory.network import Network
from ablation.train.model import ACTIVATIONS, OPERATORS, ConvNet, arguments, drop_rates
from ablation.train.operators import LayerNorm, LayerScale, SqueezeExcite, StochasticDepth, conv

# What a file may need, in its order.
CLASSES = (
    *(StochasticDepth, SqueezeExcite, LayerNorm, LayerScale),
    *dict.fromkeys(OPERATORS.values()),
)
IDENTITY = "nn.Identity()"

FILE = '''"""{about}"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


{parts}


class Model(nn.Module):
    """Stem, blocks, head, classifier; images (N, 3, {pixels}, {pixels}) as `prepare` leaves them, to logits
    (N, {classes})."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = {stem}
        self.pool = {pool}
        self.blocks = nn.Sequential(
{blocks}
        )
        self.head = {head}
        self.hidden = {hidden}
        self.dropout = nn.Dropout({dropout})
        self.classifier = {classifier}

{features}
{forward}

{prepare}

def load(folder: str | Path | None = None) -> tuple[Model, dict[str, Any]]:
    """The trained network in evaluation mode and config.json, from this file's folder or another."""
    from safetensors.torch import load_file

    folder = Path(folder or Path(__file__).parent)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    net = Model()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net.eval(), config
'''
BATCH_NORM = '''def batch_norm(channels: int) -> nn.BatchNorm2d:
    """As it was in training."""
    return nn.BatchNorm2d(channels, eps={epsilon!r}, momentum={momentum!r})
'''
LAYER_NORM = '''def layer_norm(channels: int) -> LayerNorm:
    """As it was in training."""
    return LayerNorm(channels, eps={epsilon!r})
'''


def prepare(picture: Any, images: Mapping[str, Any]) -> Tensor:
    """A Pillow image as the network takes it, float (1, 3, pixels, pixels); images: of config.json.

    Raises ValueError for an image of more than 8 bits a channel where none was in the data.
    """
    import math

    from PIL import Image, ImageOps

    side, original = images["native"], images["crop_from"] == "original"
    detail, wanted = images["detail"], images["pixels"]
    shares = [images["evaluation_crop"] * (min(picture.size) / each) for each in picture.size]
    if original:  # a JPEG at its own scale, as long as twice of what is needed is left
        needed = (detail, detail) if detail else [wanted / share for share in shares]
        picture.draft(None, (math.ceil(2 * needed[0]), math.ceil(2 * needed[1])))
    elif images["scaled"]:  # as long as twice the side is left
        picture.draft(None, (2 * side, 2 * side))
    if picture.getexif().get(0x0112) in (5, 6, 7, 8):
        shares.reverse()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":
        import numpy as np

        if picture.mode[0] not in images["levels"]:
            raise ValueError(
                f"mode {picture.mode}: more than 8 bits a channel; convert it to 8 bits"
            )
        black, white = images["levels"][picture.mode[0]]
        values = np.nan_to_num(np.asarray(picture, np.float64), nan=black)
        share = ((values - black) / (white - black)).clip(0, 1)
        picture = Image.fromarray((255 * share).round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if images["background"]:
            under = Image.new("RGBA", picture.size, images["background"])
            picture = Image.alpha_composite(under, picture)
    picture = picture.convert("RGB")
    if original and detail:  # shorter side to `detail`
        reduced = [max(1, round(each * detail / min(picture.size))) for each in picture.size]
        picture = picture.resize((reduced[0], reduced[1]), Image.Resampling.BICUBIC)
    if not original and picture.size != (side, side):  # shorter side to `side`, centre cropped
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    if images["crop_from"] == "stored":
        side = detail or side
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        shares = [images["evaluation_crop"]] * 2
    if images["crop_from"] != "shrunk":  # of the centre one resize
        near = [each * (0.5 - share / 2) for each, share in zip(picture.size, shares, strict=True)]
        far = [
            edge + each * share
            for edge, each, share in zip(near, picture.size, shares, strict=True)
        ]
        side = wanted
        picture = picture.resize((side, side), Image.Resampling.BICUBIC, (*near, *far))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = pixels.view(1, side, side, 3).permute(0, 3, 1, 2).float()
    whole = images["crop_from"] == "shrunk"
    for each in (detail, wanted) if whole else ():
        if each and each != pixels.shape[2]:
            pixels = nn.functional.interpolate(
                pixels, size=(each, each), mode="bilinear", antialias=True
            )
            pixels = pixels.round().clamp(0, 255)
    mean = torch.tensor(images["mean"])[:, None, None]
    deviation = torch.tensor(images["deviation"])[:, None, None]
    return (pixels - 255 * mean) / (255 * deviation)


def written(run: Run, about: str) -> str:
    """The file of a run's module; about: its docstring, in whole lines."""
    network, recipe = run.network, run.recipe
    head, hidden = network.head_convolution(), network.hidden_layer()
    layers = {
        "stem": convolution(network.stem_convolution()),
        "pool": pool(network),
        "blocks": textwrap.indent("\n".join(rows(network, recipe.drop_path)), 12 * " "),
        "head": convolution(head) if head else IDENTITY,
        "hidden": fully_connected(hidden, network) if hidden else IDENTITY,
        "classifier": fully_connected(network.classifier(), network),
    }
    return FILE.format(
        about=about,
        parts=parts("\n".join(layers.values()), network.norm_epsilon, recipe.norm_momentum),
        pixels=network.pixels,
        classes=network.classes,
        dropout=recipe.dropout,
        features=inspect.getsource(ConvNet.features),
        forward=inspect.getsource(ConvNet.forward),
        prepare=inspect.getsource(prepare),
        **layers,
    )


def parts(text: str, epsilon: float, momentum: float) -> str:
    """The functions and classes that this text calls, in their order."""
    norms = [
        template.format(epsilon=epsilon, momentum=momentum)
        for name, template in (("batch_norm", BATCH_NORM), ("layer_norm", LAYER_NORM))
        if calls(text, name)
    ]
    whole = "\n".join([text, *norms])
    classes = [kind for kind in CLASSES if calls(whole, kind.__name__)]
    return "\n\n".join([inspect.getsource(conv), *map(inspect.getsource, classes), *norms]).strip()


def calls(text: str, name: str) -> bool:
    """Whether a function or class of this name is called, and not one of a module's."""
    return re.search(rf"(?<![\w.]){name}\(", text) is not None


def rows(network: Network, drop_path: float) -> Iterator[str]:
    """Each block, stage after stage; equal ones that follow each other once."""
    blocks = zip(network.blocks(), drop_rates(network, drop_path), strict=True)
    for number, stage in enumerate(network.stages, 1):
        own = list(itertools.islice(blocks, stage.layers))
        last = own[-1][0]
        yield f"# Stage {number}: {stage.operator}, {last.outputs} channels, {last.pixels_out} px."
        for text, equal in itertools.groupby(operator(block, rate) for block, rate in own):
            yield repeated(text, len(list(equal)))


def repeated(text: str, count: int) -> str:
    """An argument as it stands, or so many of it."""
    if count == 1:
        return f"{text},"
    return f"*(\n{textwrap.indent(text, 4 * ' ')}\n    for _ in range({count})\n),"


def operator(block: Block, drop_rate: float) -> str:
    """What builds a block."""
    kind = OPERATORS[block.operator]
    layers = {spec.name: convolution(spec) for spec in block.convolutions}
    own = layers | {
        "excite": excite(layers),
        "drop": f"StochasticDepth({drop_rate!r})" if drop_rate else IDENTITY,
        "activation": activation(block.activation),
        "skip": repr(block.skip),
    }
    given = "\n".join(f"{name}={own.get(name, IDENTITY)}," for name in arguments(kind))
    return f"{kind.__name__}(\n{textwrap.indent(given, 4 * ' ')}\n)"


def excite(layers: Mapping[str, str]) -> str:
    """The squeeze-excite of a block, where it has one."""
    if "gate" not in layers:
        return IDENTITY
    return f"SqueezeExcite(\n    {layers['squeeze']},\n    {layers['gate']},\n)"


def activation(name: str) -> str:
    """An activation by its name, as torch writes it."""
    return f"nn.{ACTIVATIONS[name]()!r}".replace("'", '"') if name else IDENTITY


def convolution(spec: Convolution) -> str:
    """What builds the layers of one spec, without what is as the function has it."""
    norm = f"{spec.norm}_norm({spec.normed})" if spec.norm else None
    given = {
        "stride": spec.stride,
        "padding": spec.padding,
        "groups": spec.groups,
        "bias": spec.bias,
        "before": norm if spec.norm_first else None,
        "norm": None if spec.norm_first else norm,
        "activation": activation(spec.activation) if spec.activation else None,
        "scale": f"LayerScale({spec.outputs})" if spec.layer_scale else None,
    }
    usual = inspect.signature(conv).parameters
    said = [f"{name}={value}" for name, value in given.items() if value != usual[name].default]
    return f"conv({', '.join([f'{spec.inputs}, {spec.outputs}, {spec.kernel}', *said])})"


def pool(network: Network) -> str:
    """The max-pool after the stem, where there is one."""
    return f"nn.MaxPool2d(3, {network.stem_pool}, padding=1)" if network.stem_pool > 1 else IDENTITY


def fully_connected(layer: Convolution, network: Network) -> str:
    """A spec of one pixel, on (N, inputs): norm, linear, activation, those that it has."""
    linear = f"nn.Linear({layer.inputs}, {layer.outputs})"
    norm = [f"nn.LayerNorm({layer.inputs}, eps={network.norm_epsilon!r})"] if layer.norm else []
    after = [activation(layer.activation)] if layer.activation else []
    layers = [*norm, linear, *after]
    return linear if len(layers) == 1 else f"nn.Sequential({', '.join(layers)})"
