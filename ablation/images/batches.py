"""Image sets as uint8 tensors, in memory or streamed from what is decoded: resized, then augmented in batch
on the device."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablation.images.augment import augmented, draw_mixes, draw_operations, mixed
from ablation.images.splits import Images, Streamed, centred
from ablation.runs.config import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in the released code


class Batches:
    """Training batches for one network: normalised float images (B, 3, side, side) and labels (B,), augmented
    on the device; where images are mixed, also the share (B,) that its partner has of each.

    Order and augmentation of an epoch depend on (seed, epoch) alone; the last, partial batch is dropped.
    Where a recipe accumulates, each of the parts of a batch comes by itself. Of `ranks` processes that train
    one network together, each takes its share of what is seen at once.
    """

    def __init__(
        self,
        images: Images | Streamed,
        recipe: Recipe,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if len(images) < recipe.batch_size:
            raise ValueError(
                f"recipe.batch_size={recipe.batch_size}: there are only {len(images)} training images; "
                "take a smaller batch"
            )
        recipe.check_split(ranks)
        self.images = images
        self.margin = round(recipe.shift * images.side)
        self.recipe, self.seed, self.epoch, self.rank, self.ranks = recipe, seed, epoch, rank, ranks

    def __len__(self) -> int:
        return self.steps * self.recipe.accumulate

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self.images) // self.recipe.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch())
        count = self.steps * self.recipe.batch_size
        order = torch.randperm(len(self.images), generator=draw)[:count]
        shifts = torch.randint(0, 2 * self.margin + 1, (2, count), generator=draw) - self.margin
        flips = torch.rand(count, generator=draw) < (0.5 if self.recipe.flip else 0.0)
        boxes = self._boxes(count, draw)
        own = self.recipe.part // self.ranks
        mine = torch.arange(count).view(-1, self.ranks, own)[:, self.rank].flatten()
        cut = boxes[mine] if self.recipe.reads_train else None  # by whoever reads the images
        after = boxes if self.recipe.view is None else torch.empty(count, 0)
        operations = draw_operations(count, self.recipe.randaugment, draw)[mine].split(own)
        drawn = (
            drawn[mine].to(self.images.device).split(own)
            for drawn in (shifts.T, flips, after, self._mixes(count))
        )
        for (pixels, labels), chosen, shift, flip, box, mix in zip(
            self.images.batches(order[mine], own, cut), operations, *drawn, strict=True
        ):
            moved = displaced(pixels, shift) if self.margin else pixels
            turned = mirrored(moved, flip) if self.recipe.flip else moved
            images = normalise(augmented(turned, chosen, self.recipe.magnitude))
            if box.shape[1]:
                images = crop(images, box)
            if self.recipe.mixes:
                images, shares = mixed(images, mix)
                yield images, labels, shares
            else:
                yield images, labels

    def _mixes(self, count: int) -> Tensor:
        """What is mixed into each image: (count, 5), or (count, 0) for nothing."""
        if not self.recipe.mixes:
            return torch.empty(count, 0)
        rng = np.random.default_rng([self.seed, self.epoch()])
        return draw_mixes(count, self.recipe.mixup, self.recipe.cutmix, rng)

    def _boxes(self, count: int, draw: torch.Generator) -> Tensor:
        """What is cut from each image: (count, 4), or (count, 0) where whole ones were resized before; of
        originals, whose shape is not known yet, what it follows from."""
        if self.recipe.crop < 1:
            drawn = random_draws if self.recipe.from_original else random_boxes
            return drawn(count, self.recipe.crop, draw)
        return centred(count, 1.0) if self.recipe.from_stored else torch.empty(count, 0)


def mirrored(pixels: Tensor, flips: Tensor) -> Tensor:
    """uint8 (B, side, side, 3), left for right where flips (B,) says so."""
    return torch.where(flips[:, None, None, None], pixels.flip(2), pixels)


def displaced(pixels: Tensor, shifts: Tensor) -> Tensor:
    """uint8 (B, side, side, 3) moved by shifts (B, 2), rows and columns, with mirrored edges."""
    steps = torch.arange(pixels.shape[1], device=pixels.device)
    down, across = (_mirrored(shifts[:, axis : axis + 1] + steps, len(steps)) for axis in (0, 1))
    each = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[each, down[:, :, None], across[:, None, :]]


def _mirrored(places: Tensor, side: int) -> Tensor:
    """Places beyond the edges of `side` pixels, by less than a side, reflected into them."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


def standard() -> dict[str, list[float]]:
    """What images are standardised by, in plain values: mean and deviation of each channel, of 1."""
    return {"mean": list(MEAN), "deviation": list(STD)}


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in channels_last memory, standardised by ImageNet's mean and
    deviation."""
    mean, scale = _standard(pixels.device, pixels.shape[2])
    # (N, H, 3 W): a loop over three channels would be the innermost, eight times slower on a CPU.
    rows = pixels.flatten(2).float()
    return rows.sub_(mean).mul_(scale).view(pixels.shape).permute(0, 3, 1, 2)


@lru_cache
def _standard(device: torch.device, width: int) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of a row in units of a uint8, made once: a copy to a GPU waits for it."""
    with torch.inference_mode(False):
        mean, deviation = (torch.tensor(values, device=device) * 255 for values in (MEAN, STD))
        return mean.repeat(width), (1 / deviation).repeat(width)


def random_draws(count: int, least: float, draw: torch.Generator) -> Tensor:
    """(count, 4), what random crops follow from (see encoded.random_box): height and width in square roots of
    an image's area, and where they lie down and across, from 0 to 1; area in [least, 1], aspect 3/4 to 4/3
    (Szegedy et al. 2015)."""
    area = least + (1 - least) * torch.rand(count, generator=draw)
    aspect = torch.exp((2 * torch.rand(count, generator=draw) - 1) * np.log(4 / 3))
    down, across = (torch.rand(count, generator=draw) for _ in range(2))
    return torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt(), down, across], 1)


def random_boxes(count: int, least: float, draw: torch.Generator) -> Tensor:
    """(count, 4): height, width, centre y and x of random crops of squares, in image units."""
    height, width, down, across = random_draws(count, least, draw).T
    height, width = height.clamp(max=1), width.clamp(max=1)
    centre_y, centre_x = (
        side / 2 + (1 - side) * place for side, place in ((height, down), (width, across))
    )
    return torch.stack([height, width, centre_y, centre_x], 1)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Each image's box (see random_boxes) stretched to the full side, bilinear: (B, 3, side, side)."""
    height, width, centre_y, centre_x = boxes.T
    zero = torch.zeros_like(height)
    rows = [
        torch.stack([width, zero, 2 * centre_x - 1], 1),
        torch.stack([zero, height, 2 * centre_y - 1], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
