"""Class activation maps (Zhou et al. 2016, arXiv 1512.04150; the paper's Figure 7): where a network sees the
class of an image."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ablation.images.batches import normalise
from ablation.images.cache import choose, decoded, listed
from ablation.images.encoded import originals
from ablation.images.splits import Images, seen
from ablation.runs.arms import Planned
from ablation.runs.checks import first_line
from ablation.runs.config import Data, Execution, Recipe
from ablation.runs.records import weights_path
from ablation.train.checkpoints import read_weights
from ablation.train.model import ConvNet, net_of

log = logging.getLogger(__name__)
EXAMPLES = 4  # images shown


@dataclass(frozen=True)
class Maps:
    """What one network makes of some images: maps (N, h, w), 0 to 1 in each, and the classes (N,) that it
    predicts."""

    label: str
    maps: Tensor
    predicted: Tensor


@torch.inference_mode()
def class_activation_maps(net: ConvNet, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """(maps (N, h, w), logits (N, classes)) of images (N, 3, H, W), normalised, in evaluation mode: the
    features before pooling weighted by the classifier's row of each image's class. Their mean over pixels and
    the bias make the logit of that class."""
    net.eval()
    features = net.features(images)  # (N, C, h, w)
    maps = torch.einsum("nchw,nc->nhw", features, net.classifier.weight[classes])
    return maps, net.classifier(features.mean((2, 3)))


def examples(data: Data, cache: Path, pixels: int, recipe: Recipe, count: int = EXAMPLES) -> Images:
    """The first evaluation image of each of `count` classes, spread over all of them, as the recipe evaluates
    it: a choice that looks at no network."""
    prepared = listed if recipe.from_original else decoded
    folder = prepared(data, cache)
    source, rows = choose(data, folder)["evaluation"]
    labels = np.load(folder / f"{source}-labels.npy")
    wanted = np.linspace(0, data.classes - 1, min(count, data.classes)).round().astype(int)
    first = np.array(
        [
            rows[np.flatnonzero(labels[rows] == label)[0]]
            for label in wanted
            if (labels[rows] == label).any()
        ]
    )
    if recipe.from_original:
        found = originals(data, folder, [source])[source]
        shown = torch.from_numpy(found.views(first, pixels, recipe.view))
    else:
        stored = np.load(folder / f"{source}.npy", mmap_mode="r")
        shown = seen(stored, first, pixels, data.detail, recipe.view)
    return Images(shown, torch.from_numpy(labels[first]))


def maps_of(planned: Planned, execution: Execution) -> Maps | None:
    """The maps of a run whose weights were kept, None where they were not, or where a function built the
    network."""
    path = weights_path(execution.runs, planned.run.id)
    if not path.exists():
        return None
    net = net_of(planned.run)
    if not isinstance(net, ConvNet):  # nobody knows where its features are
        return None
    try:
        net.load_state_dict(read_weights(path))
    except (ValueError, RuntimeError) as error:  # torch's, for those of another network
        log.warning("no map of %s: %s", planned.label, first_line(error))
        return None
    run = planned.run
    images = examples(run.data, execution.cache, run.network.pixels, run.recipe)
    maps, logits = class_activation_maps(net, normalise(images.pixels), images.labels)
    low = maps.amin((1, 2), keepdim=True)
    high = maps.amax((1, 2), keepdim=True)
    return Maps(planned.arm.label, (maps - low) / (high - low).clamp(min=1e-12), logits.argmax(1))


def activation_figure(images: Images, found: Sequence[Maps], note: Sequence[str] = ()) -> Figure:
    """A row for each image (N, S, S, 3): itself, then each network's map over it; a cross where the network
    takes it for another class."""
    count, side = len(images), images.pixels.shape[1]
    figure = Figure(
        figsize=(1.75 * (len(found) + 1) + 0.3, 1.75 * count + 1.1), layout="constrained"
    )
    axes = figure.subplots(count, len(found) + 1, squeeze=False)
    for row, (picture, label) in enumerate(
        zip(images.pixels.numpy(), images.labels.tolist(), strict=True)
    ):
        axes[row, 0].imshow(picture)
        axes[row, 0].set_ylabel(f"class {label}", fontsize=9)
        grey = picture.mean(axis=2)
        for ax, one in zip(axes[row, 1:], found, strict=True):
            heat = F.interpolate(
                one.maps[None, None, row], size=(side, side), mode="bilinear", align_corners=False
            )[0, 0]
            ax.imshow(grey, cmap="gray", vmin=0, vmax=255)
            ax.imshow(heat.numpy(), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
            right = one.predicted[row].item() == label
            ax.set_xlabel(
                "right" if right else f"taken for {one.predicted[row].item()}",
                fontsize=8,
                color="0.3" if right else "#D55E00",
            )
    titles = [
        f"{one.label.replace(' ', chr(10), 1)}\nmap of {one.maps.shape[1]} x {one.maps.shape[2]}"
        for one in found
    ]
    for ax, title in zip(axes[0], ["image", *titles], strict=True):
        ax.set_title(title, fontsize=9)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
    figure.suptitle("Where each network sees the class", fontweight="bold")
    figure.supxlabel(
        "\n".join(
            [
                *note,
                "class activation maps of the image's own class, each from its least (dark) to its most "
                "(bright)",
            ]
        ),
        fontsize=9,
        color="0.35",
    )
    return figure
