"""The card of a trained network: what a person reads first, in the form of the Hugging Face hub."""

import json
from collections.abc import Mapping
from typing import Any

from ablation.runs.checks import counted

NAMED = 12  # classes that the card names
MOST = 3  # classes that the example prints

CARD = """---
pipeline_tag: image-classification
tags: [pytorch, ablation, {baseline}]
metrics: [accuracy]
# license: yours to say, see below
---

# {label}

{what}

| | |
| --- | --- |
| accuracy | {accuracy} |
| multiply-adds | {macs:,} |
| parameters | {params:,} |
| images | {pixels} x {pixels} px |
| classes | {classes} |
| run | `{run}`, seed {seed}, {epochs} |

## Use

`pip install torch safetensors pillow`, then in this folder:

```python
import torch
from PIL import Image

from model import load, prepare

net, config = load()
images = prepare(Image.open("photo.jpg"), config["images"])
with torch.inference_mode():
    shares = net(images)[0].softmax(0)
for share, place in zip(*shares.topk({most})):
    print(f"{{share:.1%}}  {{config['images']['classes'][place]}}")
```

`model.py` is the whole network in plain PyTorch, `model.safetensors` holds its weights, `config.json` what is
written here and more.{onnx}

## How images are prepared

{steps}

## What it was trained on

{data}

## Licence

`model.py` holds code of ablation, Apache-2.0. Of the images and of these weights{from_others}: {licence}.
"""


def told(images: Mapping[str, Any]) -> list[str]:
    """How an image becomes what the network takes, step by step."""
    native, detail, pixels = images["native"], images["detail"], images["pixels"]
    background, levels = images["background"], images["levels"]
    original = images["crop_from"] == "original"
    scale = "a JPEG decoded at the scale of its own that leaves"
    scaled = [f"{scale} {2 * native} px or more"]
    enough = [f"{scale} twice the pixels of what is cut out, or more"]
    to_detail = f"shorter side to {detail} px" if original else f"to {detail} x {detail} px"
    side = "a square whose side is that of the shorter one" if original else "the side"
    cut = [
        *([f"{to_detail}, bicubic (Pillow)"] if detail else []),
        f"the centre, {images['evaluation_crop']:g} of {side}, to {pixels} x {pixels} px in one resize, "
        "bicubic with antialiasing (Pillow's Image.resize with a box)",
    ]
    fit = f"shorter side to {native} px and the centre cropped, bicubic (Pillow's ImageOps.fit)"
    under = f"over {background}" if background else "dropped"
    sides = [side for side in (detail, pixels) if side]
    before = [native, *sides]
    resized = [
        f"to {side} x {side} px, bilinear with antialiasing (torch), rounded to whole bytes"
        for earlier, side in zip(before, sides, strict=False)
        if side != earlier
    ]
    deep = [
        f"more than 8 bits a channel ({kind}): {black:g} becomes black, {white:g} white"
        for kind, (black, white) in levels.items()
    ]
    return [
        *(enough if original else scaled if images["scaled"] else []),
        "turned upright as its EXIF says",
        *deep,
        f"to RGB, transparency {under}",
        *([] if original else [fit]),
        *(resized if images["crop_from"] == "shrunk" else cut),
        "divided by 255, less the mean, over the deviation of each channel",
    ]


def card(about: Mapping[str, Any], named: bool, onnx: bool = False) -> str:
    """The card of what config.json says; named: whether classes have names."""
    images, network, training = about["images"], about["network"], about["training"]
    return CARD.format(
        label=about["label"],
        baseline=json.dumps(network["baseline"]),
        what=what(network),
        accuracy=accuracy(about["accuracy"]),
        macs=network["macs"],
        params=network["params"],
        pixels=images["pixels"],
        classes=classes(images["classes"], named),
        run=about["run"],
        seed=training["seed"],
        epochs=counted(training["epochs"], "epoch"),
        most=min(MOST, len(images["classes"])),
        onnx=ONNX.format(pixels=images["pixels"]) if onnx else "",
        steps="\n".join(f"{number}. {step}" for number, step in enumerate(images["steps"], 1)),
        data=data(about["data"]) + start(about["start"]),
        from_others=", and of those that they started from" if about["start"] else "",
        licence=about["data"]["licence"],
    )


ONNX = """ `model.onnx` takes `images`, float (N, 3, {pixels}, {pixels}) as `prepare` leaves them, and gives
`logits`."""


def what(network: Mapping[str, Any]) -> str:
    """The network in a sentence."""
    scaled = ", ".join(f"{name} x {network[name]:.3g}" for name in ("depth", "width", "resolution"))
    phi = "" if network["phi"] is None else f" at phi={network['phi']:g}"
    return (
        f"A ConvNet: the baseline `{network['baseline']}` scaled by {network['rule']}{phi} "
        f"({network['cost']} cost; {scaled} as built)."
    )


def accuracy(found: Mapping[str, Any]) -> str:
    """What was measured, and on which images."""
    count = f"{found['images']:,} " if found["images"] else ""
    closed = "" if found["split"] == "evaluation" else "; the evaluation split was not opened"
    bf16 = ", in bf16 autocast" if found["precision"] == "bf16" else ""
    return f"{found['value']:.1%} of {count}images of the {found['split']} split{bf16}{closed}"


def classes(names: list[str], named: bool) -> str:
    """How many, and what they are called."""
    if not named:
        return f"{len(names)}, by number: their names are not known"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    first = ", ".join(name.replace("|", "\\|").replace("\n", " ") for name in names[:NAMED])
    return f"{len(names)}: {first}{more}"


def data(about: Mapping[str, Any]) -> str:
    """The images, and what is wrong with them."""
    shuffled = (
        " Their labels were shuffled: it can have learned nothing." if about["permuted"] else ""
    )
    return f"`{about['name']}` (digest {about['digest'] or 'not known'}).{shuffled}"


def start(about: Mapping[str, Any] | None) -> str:
    """What the weights started from, where they were not drawn."""
    if about is None:
        return ""
    share = f"{about['share']:.1%} of its parameters"
    return f"\n\nIt started from `{about['source']}` (SHA-256 {about['digest'][:12]}) with {share}."
