"""The splits of a data set as uint8 tensors, in memory or streamed from the decoded images, at a network's
resolution."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from ablation.images.cache import choose, decoded, images_of
from ablation.runs.answers import images_key
from ablation.runs.config import Data

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

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels on the device, `size` images at a time; order: of the rows, int64 on the CPU."""
        for rows in order.to(self.device).split(size):
            yield self.pixels[rows], self.labels[rows]


@dataclass(frozen=True)
class Streamed:
    """The same split where it is too large: rows of a file of decoded images, read and resized by `readers`
    processes ahead of need."""

    file: Path
    rows: np.ndarray
    labels: Tensor
    side: int
    detail: int | None
    readers: int
    device: torch.device = CPU

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return resize(
            np.load(self.file, mmap_mode="r"), self.rows[rows.numpy()], self.side, self.detail
        ), self.labels[rows]

    def to(self, device: torch.device) -> "Streamed":
        """The same, whose batches go to another device."""
        return replace(self, device=device)

    def head(self, count: int) -> "Streamed":
        """The first `count` of them."""
        return replace(self, rows=self.rows[:count], labels=self.labels[:count])

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As those of Images."""
        loader = DataLoader(
            self,  # type: ignore[arg-type]
            batch_size=None,  # a row of the sampler is a batch
            sampler=order.split(size),
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
) -> Splits:
    """The three splits at `pixels` from the cache of decoded images, which is filled first where needed.

    Together they are held in memory where they take at most `room` bytes, else streamed. Raises ValueError
    for sizes that the source does not have, and for whatever is wrong with the source (see `decode`).
    """
    data.check_pixels(pixels)
    folder = decoded(data, cache)
    chosen = {
        name: rows
        for name, rows in choose(data, folder).items()
        if name != "evaluation" or evaluate
    }
    held = 3 * pixels**2 * sum(len(rows) for _, rows in chosen.values()) <= room
    splits: dict[str, Images | Streamed] = {}
    for name, (source, rows) in chosen.items():
        stored = Streamed(
            folder / f"{source}.npy",
            rows,
            _labels(data, folder, source, rows),
            pixels,
            data.detail,
            readers,
        )
        splits[name] = Images(*stored[torch.arange(len(rows))]) if held else stored
    about = json.loads((folder / "about.json").read_text())
    measured = [name for name in chosen if name != "train"]
    keys = {name: images_key(about["digest"], chosen[name][1]) for name in measured}
    evaluation = splits.get("evaluation")
    told = images_of(data, about)
    return Splits(splits["train"], splits["validation"], evaluation, about["digest"], keys, told)


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


def _scaled(images: Tensor, pixels: int) -> Tensor:
    """uint8 (N, side, side, 3) at another side: bilinear, antialiased, in float32, rounded."""
    if images.shape[1] == pixels:
        return images
    planes = images.permute(0, 3, 1, 2).contiguous().float()  # a copy of bytes, not of floats
    scaled = F.interpolate(planes, size=(pixels, pixels), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
