"""Image sets as uint8 tensors: resized once a run from what is decoded, augmented in batch on the device."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablation.config import Data, Recipe
from ablation.sources import choose, decoded

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in the released code


@dataclass(frozen=True)
class Images:
    """A split: pixels uint8 (N, side, side, 3) and labels int64 (N,), on one device."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels.to(device), self.labels.to(device))

    def head(self, count: int) -> "Images":
        return Images(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True)
class Splits:
    """train; validation, held out of train for every choice; evaluation, None unless asked for. digest: of the decoded source."""

    train: Images
    validation: Images
    evaluation: Images | None
    digest: str


def load(data: Data, pixels: int, cache: Path, evaluate: bool = True) -> Splits:
    """The three splits at `pixels` from the cache of decoded images, which is filled first where needed.

    Raises ValueError for sizes that the source does not have, and for whatever is wrong with the source (see `decode`).
    """
    data.check_pixels(pixels)
    folder = decoded(data, cache)
    splits = {}
    for name, (source, rows) in choose(data, folder).items():
        if name != "evaluation" or evaluate:
            native, labels = np.load(folder / f"{source}.npy", mmap_mode="r"), np.load(folder / f"{source}-labels.npy")
            splits[name] = Images(resize(native, rows, pixels, data.detail), torch.from_numpy(labels[rows]))
    about = json.loads((folder / "about.json").read_text())
    return Splits(splits["train"], splits["validation"], splits.get("evaluation"), about["digest"])


def resize(native: np.ndarray, rows: np.ndarray, pixels: int, detail: int | None = None, chunk: int = 32) -> Tensor:
    """Rows of (N, side, side, 3) as uint8 (len(rows), pixels, pixels, 3), by way of `detail` pixels where that is given."""
    out = torch.empty(len(rows), pixels, pixels, 3, dtype=torch.uint8)
    for start in range(0, len(rows), chunk):
        batch = torch.from_numpy(native[rows[start : start + chunk]])
        out[start : start + chunk] = _scaled(_scaled(batch, detail) if detail else batch, pixels)
    return out


def _scaled(images: Tensor, pixels: int) -> Tensor:
    """uint8 (N, side, side, 3) at another side: bilinear, antialiased, in float32, rounded."""
    if images.shape[1] == pixels:
        return images
    planes = images.permute(0, 3, 1, 2).float().contiguous()
    scaled = F.interpolate(planes, size=(pixels, pixels), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class Batches:
    """Training batches from a split that lies on the device: an iterable of (images float (B, 3, side, side), labels (B,)).

    Order and augmentation of an epoch depend on (seed, epoch) alone; the last, partial batch is dropped. Of `ranks` processes that train one
    network together, each takes its part of every batch.
    """

    def __init__(self, images: Images, recipe: Recipe, seed: int, epoch: Callable[[], int], rank: int = 0, ranks: int = 1) -> None:
        if len(images) < recipe.batch_size:
            raise ValueError(f"recipe.batch_size={recipe.batch_size}: there are only {len(images)} training images; take a smaller batch")
        if recipe.batch_size % ranks:
            raise ValueError(f"devices={ranks}: recipe.batch_size={recipe.batch_size} does not split into equal parts; take another number")
        self.side = images.pixels.shape[1]
        self.margin = round(recipe.shift * self.side)
        self.padded, self.labels = _reflect(images.pixels, self.margin), images.labels
        self.recipe, self.seed, self.epoch, self.rank, self.ranks = recipe, seed, epoch, rank, ranks

    def __len__(self) -> int:
        return len(self.labels) // self.recipe.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device, size = self.labels.device, self.recipe.batch_size
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch())
        count = len(self) * size
        order = torch.randperm(len(self.labels), generator=draw)[:count]
        shifts = torch.randint(0, 2 * self.margin + 1, (2, count), generator=draw)
        flips = torch.rand(count, generator=draw) < (0.5 if self.recipe.flip else 0.0)
        boxes = random_boxes(count, self.recipe.crop, draw) if self.recipe.crop < 1 else torch.empty(count, 0)
        order, shifts, flips, boxes = (drawn.to(device) for drawn in (order, shifts, flips, boxes))
        own = size // self.ranks
        for start in range(self.rank * own, count, size):
            part = slice(start, start + own)
            pixels = self._gather(order[part], shifts[:, part], flips[part])
            images = normalise(pixels)
            yield (crop(images, boxes[part]) if boxes.shape[1] else images), self.labels[order[part]]

    def _gather(self, rows: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
        """Shifted and mirrored images in one indexing operation: (B, side, side, 3) uint8."""
        steps = torch.arange(self.side, device=rows.device)
        down = shifts[0][:, None] + steps
        across = shifts[1][:, None] + torch.where(flips[:, None], steps.flip(0), steps)
        return self.padded[rows[:, None, None], down[:, :, None], across[:, None, :]]


def _reflect(pixels: Tensor, margin: int) -> Tensor:
    """(N, S, S, 3) with `margin` mirrored pixels on each side."""
    side = pixels.shape[1]
    steps = torch.arange(-margin, side + margin, device=pixels.device).abs()
    steps = torch.where(steps >= side, 2 * (side - 1) - steps, steps)
    return pixels[:, steps][:, :, steps] if margin else pixels


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in channels_last memory, standardised by ImageNet's mean and deviation."""
    mean, scale = _standard(pixels.device)
    return ((pixels.float() - mean) * scale).permute(0, 3, 1, 2)


@lru_cache
def _standard(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation in units of a uint8, made once: a copy to a GPU waits for it."""
    with torch.inference_mode(False):
        return torch.tensor(MEAN, device=device) * 255, 1 / (torch.tensor(STD, device=device) * 255)


def random_boxes(count: int, least: float, draw: torch.Generator) -> Tensor:
    """(count, 4): height, width, centre y and x of random crops in image units; area in [least, 1], aspect 3/4 to 4/3 (Szegedy et al. 2015)."""
    area = least + (1 - least) * torch.rand(count, generator=draw)
    aspect = torch.exp((2 * torch.rand(count, generator=draw) - 1) * np.log(4 / 3))
    height, width = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)
    centre_y, centre_x = (side / 2 + (1 - side) * torch.rand(count, generator=draw) for side in (height, width))
    return torch.stack([height, width, centre_y, centre_x], 1)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Each image's box (see random_boxes) stretched to the full side, bilinear: (B, 3, side, side)."""
    height, width, centre_y, centre_x = boxes.T
    zero = torch.zeros_like(height)
    rows = [torch.stack([width, zero, 2 * centre_x - 1], 1), torch.stack([zero, height, 2 * centre_y - 1], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
