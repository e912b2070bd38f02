"""The splits of a data set as uint8 tensors, in memory or streamed from the decoded images, at a network's
resolution."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torch.nn.functional as F
import xxhash
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ablation.images.cache import choose, decoded, images_of, kept
from ablation.runs.answers import images_key
from ablation.runs.config import Data, digest

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Images:
    """A split in the memory of one device: pixels uint8 (N, side, side, 3) and labels int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.labels.device

    @property
    def side(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    def to(self, device: torch.device) -> "Images":
        """The same on another device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def head(self, count: int) -> "Images":
        """The first `count` of them."""
        return Images(self.pixels[:count], self.labels[:count])

    def batches(
        self, order: Tensor, size: int, boxes: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels on the device, `size` images at a time; order: of the rows, int64 on the CPU.

        Raises ValueError for boxes: what is in memory was cut before.
        """
        if boxes is not None:
            raise ValueError("crops are cut from stored images, and these are in memory")
        for rows in order.to(self.device).split(size):
            yield self.pixels[rows], self.labels[rows]


@dataclass(frozen=True)
class Streamed:
    """The same split where it is too large, or crops are cut from what is stored: rows of a file of decoded
    images, read and resized by `readers` processes ahead of need. view: None where whole images are resized,
    else the centre crop that is seen unless a batch brings boxes."""

    file: Path
    rows: np.ndarray
    labels: Tensor
    side: int
    detail: int | None
    readers: int
    device: torch.device = CPU
    view: float | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, wanted: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        rows, boxes = wanted
        stored = np.load(self.file, mmap_mode="r")
        chosen = self.rows[rows.numpy()]
        if boxes.shape[1]:
            return cut(stored, chosen, boxes, self.side, self.detail), self.labels[rows]
        return seen(stored, chosen, self.side, self.detail, self.view), self.labels[rows]

    @property
    def stored_side(self) -> int:
        """Of the decoded images, in pixels."""
        return np.load(self.file, mmap_mode="r").shape[1]

    def to(self, device: torch.device) -> "Streamed":
        """The same, whose batches go to another device."""
        return replace(self, device=device)

    def head(self, count: int) -> "Streamed":
        """The first `count` of them."""
        return replace(self, rows=self.rows[:count], labels=self.labels[:count])

    def batches(
        self, order: Tensor, size: int, boxes: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As those of Images. boxes: of each image in this order (see batches.random_boxes), None for its
        view."""
        boxes = torch.empty(len(order), 0) if boxes is None else boxes
        loader = DataLoader(
            self,  # type: ignore[arg-type]
            batch_size=None,  # a row of the sampler is a batch
            sampler=list(zip(order.split(size), boxes.split(size), strict=True)),
            num_workers=self.readers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it takes a number from the one of dropout
        )
        for pixels, labels in loader:
            yield (
                pixels.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


@dataclass(frozen=True)
class Splits:
    """train; validation, held out of train for every choice; evaluation, None unless asked for. digest: of
    the decoded source; keys: which images of it a split that is measured whole holds, by its name. told:
    names of classes and the like (see cache.images_of)."""

    train: Images | Streamed
    validation: Images | Streamed
    evaluation: Images | Streamed | None
    digest: str
    keys: Mapping[str, str]
    told: Mapping[str, Any]


def load(
    data: Data,
    pixels: int,
    cache: Path,
    evaluate: bool = True,
    room: float = math.inf,
    readers: int = 1,
    view: float | None = None,
) -> Splits:
    """The three splits at `pixels` from the cache of decoded images, which is filled first where needed.

    Together they are held in memory where they take at most `room` bytes, else streamed. view: side of the
    centre crop that is measured, where every image is cut from the stored one; training images are then
    always streamed. Raises ValueError for sizes that the source does not have, and for whatever is wrong with
    the source (see `decode`).
    """
    data.check_pixels(pixels)
    folder = decoded(data, cache)
    chosen = {
        name: rows
        for name, rows in choose(data, folder).items()
        if name != "evaluation" or evaluate
    }
    whole = [name for name in chosen if view is None or name != "train"]
    held = 3 * pixels**2 * sum(len(chosen[name][1]) for name in whole) <= room
    splits: dict[str, Images | Streamed] = {}
    for name, (source, rows) in chosen.items():
        stored = Streamed(
            folder / f"{source}.npy",
            rows,
            _labels(data, folder, source, rows),
            pixels,
            data.detail,
            readers,
            view=view,
        )
        splits[name] = in_memory(stored) if held and name in whole else stored
    about = json.loads((folder / "about.json").read_text())
    measured = [name for name in chosen if name != "train"]
    keys = {name: images_key(about["digest"], chosen[name][1]) for name in measured}
    evaluation = splits.get("evaluation")
    told = images_of(data, about)
    return Splits(splits["train"], splits["validation"], evaluation, about["digest"], keys, told)


def in_memory(split: Streamed) -> Images:
    """All of a split at once: resized here, or by whoever asked for the same before."""
    every = torch.arange(len(split)), torch.empty(len(split), 0)
    seen_as = {"detail": split.detail, "view": split.view}
    if split.side == split.stored_side and not any(seen_as.values()):
        return Images(*split[every])
    rows = xxhash.xxh3_128_hexdigest(np.ascontiguousarray(split.rows))
    alike = digest({"rows": rows, **seen_as, "by": [torch.__version__, PIL.__version__]})
    name = f"{split.file.stem}-{split.side}px-{alike}"
    pixels = kept(split.file.parent, name, lambda: split[every][0].numpy())
    return Images(torch.from_numpy(pixels), split.labels)


def _labels(data: Data, folder: Path, source: str, rows: np.ndarray) -> Tensor:
    labels = np.load(folder / f"{source}-labels.npy")
    if data.permuted:
        labels = np.random.default_rng([data.split_seed, len(labels)]).permutation(labels)
    return torch.from_numpy(labels[rows])


def resize(
    native: np.ndarray, rows: np.ndarray, pixels: int, detail: int | None = None, chunk: int = 32
) -> Tensor:
    """Rows of (N, side, side, 3) as uint8 (len(rows), pixels, pixels, 3), by way of `detail` pixels where
    that is given."""
    out = torch.empty(len(rows), pixels, pixels, 3, dtype=torch.uint8)
    for start in range(0, len(rows), chunk):
        batch = torch.from_numpy(native[rows[start : start + chunk]])
        out[start : start + chunk] = _scaled(_scaled(batch, detail) if detail else batch, pixels)
    return out


def seen(
    stored: np.ndarray, rows: np.ndarray, pixels: int, detail: int | None, view: float | None
) -> Tensor:
    """Rows of (N, side, side, 3) as they are measured, uint8 (len(rows), pixels, pixels, 3): resized as a
    whole, or the centre crop of this share of a side."""
    if view is None:
        return resize(stored, rows, pixels, detail)
    return cut(stored, rows, centred(len(rows), view), pixels, detail)


def centred(count: int, view: float) -> Tensor:
    """(count, 4): boxes of centre crops of this share of a side (see batches.random_boxes)."""
    return torch.tensor([view, view, 0.5, 0.5], dtype=torch.float64).expand(count, 4)


def cut(
    stored: np.ndarray, rows: np.ndarray, boxes: Tensor, pixels: int, detail: int | None = None
) -> Tensor:
    """Rows of (N, side, side, 3) as uint8 (len(rows), pixels, pixels, 3), of each its box, by one resize:
    bicubic, antialiased, Pillow's, so the same bytes wherever they are computed.

    boxes: (len(rows), 4), height, width, centre y and x in image units. detail: the side that an image is
    reduced to before.
    """
    out = np.empty((len(rows), pixels, pixels, 3), np.uint8)
    for place, (row, box) in enumerate(zip(rows, boxes.tolist(), strict=True)):
        picture = Image.fromarray(stored[row])
        if detail:
            picture = picture.resize((detail, detail), Image.Resampling.BICUBIC)
        edges = _edges(box, picture.width)
        out[place] = picture.resize((pixels, pixels), Image.Resampling.BICUBIC, edges)
    return torch.from_numpy(out)


def _edges(box: Sequence[float], side: int) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge of a box in pixels of an image; what rounding puts beyond it is taken
    back."""
    height, width, centre_y, centre_x = box
    left, upper = (
        max(0.0, side * (c - size / 2)) for c, size in ((centre_x, width), (centre_y, height))
    )
    return left, upper, min(side, left + side * width), min(side, upper + side * height)


def _scaled(images: Tensor, pixels: int) -> Tensor:
    """uint8 (N, side, side, 3) at another side: bilinear, antialiased, in float32, rounded."""
    if images.shape[1] == pixels:
        return images
    planes = images.permute(0, 3, 1, 2).contiguous().float()  # a copy of bytes, not of floats
    scaled = F.interpolate(planes, size=(pixels, pixels), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
