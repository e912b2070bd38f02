"""The splits of a data set as uint8 tensors, in memory or streamed from the decoded or the encoded images, at
a network's resolution."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
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

from ablation.images.cache import choose, decoded, images_of, listed
from ablation.images.encoded import Originals, Unreadable, originals
from ablation.images.pixels import edges_of
from ablation.runs.answers import images_key
from ablation.runs.config import Data, Recipe, Run, digest
from ablation.runs.resized import kept

CPU = torch.device("cpu")
READ = 64  # originals that one reader decodes in a piece


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
    images, or of the originals, read and resized by `readers` processes ahead of need. view: None where whole
    images are resized, else the centre crop that is seen unless a batch brings boxes."""

    file: Path | Originals
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
        chosen = self.rows[rows.numpy()]
        if isinstance(self.file, Originals):
            draws = boxes.numpy() if boxes.shape[1] else None
            pixels = self.file.views(chosen, self.side, self.view, draws)
            return torch.from_numpy(pixels), self.labels[rows]
        stored = np.load(self.file, mmap_mode="r")
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
        """As those of Images. boxes: of each image in this order (see batches.random_boxes), or for originals
        the draws they follow from; None for its view. Raises Unreadable for an image that is damaged
        meanwhile."""
        boxes = torch.empty(len(order), 0) if boxes is None else boxes
        loader = DataLoader(
            self,  # type: ignore[arg-type]
            batch_size=None,  # a row of the sampler is a batch
            sampler=list(zip(order.split(size), boxes.split(size), strict=True)),
            num_workers=self.readers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it takes a number from the one of dropout
        )
        for pixels, labels in _in_a_line(loader):
            yield (
                pixels.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )

    def held(self) -> Images:
        """All of them in memory, as they are seen without boxes."""
        pixels = torch.empty(len(self), self.side, self.side, 3, dtype=torch.uint8)
        every = torch.arange(len(self))
        for place, (batch, _) in zip(every.split(READ), self.batches(every, READ), strict=True):
            pixels[place] = batch
        return Images(pixels, self.labels)


def _in_a_line(loader: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches; what a reader process says of an image without its traceback."""
    try:
        yield from loader
    except Unreadable as error:
        said = str(error).strip().splitlines()[-1]
        raise Unreadable(said.removeprefix(f"{Unreadable.__module__}.Unreadable: ")) from None


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


def load_for(run: Run, cache: Path, room: float = math.inf, readers: int = 1) -> Splits:
    """The splits of a run, cut as its recipe says; see `load`."""
    where = run.data, run.network.pixels, cache
    if run.recipe.from_original:
        return load_originals(*where, run.recipe, run.evaluate, room, readers)
    return load(*where, run.evaluate, room, readers, run.recipe.view)


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
    chosen = _chosen(data, folder, evaluate)
    whole = [name for name in chosen if view is None or name != "train"]
    held = _fit(chosen, whole, pixels, room)
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
    return _split(data, folder, chosen, splits)


def load_originals(
    data: Data,
    pixels: int,
    cache: Path,
    recipe: Recipe,
    evaluate: bool = True,
    room: float = math.inf,
    readers: int = 1,
) -> Splits:
    """As `load`, of images that stay encoded: what is cut at random is read and decoded anew in each epoch,
    the rest once and held in memory where it takes at most `room` bytes."""
    data.check_pixels(pixels)
    folder = listed(data, cache)
    chosen = _chosen(data, folder, evaluate)
    fixed = [name for name in chosen if name != "train" or not recipe.reads_train]
    held = _fit(chosen, fixed, pixels, room)
    names = sorted({source for source, _ in chosen.values()})
    found = originals(data, folder, names)
    splits: dict[str, Images | Streamed] = {}
    for name, (source, rows) in chosen.items():
        labels = _labels(data, folder, source, rows)
        whole = name == "train" and not recipe.reads_train
        share = 1.0 if whole else recipe.evaluation_crop
        each = Streamed(found[source], rows, labels, pixels, data.detail, readers, view=share)
        splits[name] = each.held() if held and name in fixed else each
    return _split(data, folder, chosen, splits)


Chosen = Mapping[str, tuple[str, np.ndarray]]  # of each split its source, and rows of that


def _chosen(data: Data, folder: Path, evaluate: bool) -> Chosen:
    every = choose(data, folder)
    return {name: rows for name, rows in every.items() if name != "evaluation" or evaluate}


def _fit(chosen: Chosen, kept: Iterable[str], pixels: int, room: float) -> bool:
    """Whether the splits that are to be kept take at most `room` bytes."""
    return 3 * pixels**2 * sum(len(chosen[name][1]) for name in kept) <= room


def _about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "about.json").read_text(encoding="utf-8"))


def _split(
    data: Data, folder: Path, chosen: Chosen, splits: Mapping[str, Images | Streamed]
) -> Splits:
    about = _about(folder)
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
        edges = edges_of(box, picture.width, picture.height)
        out[place] = picture.resize((pixels, pixels), Image.Resampling.BICUBIC, edges)
    return torch.from_numpy(out)


def _scaled(images: Tensor, pixels: int) -> Tensor:
    """uint8 (N, side, side, 3) at another side: bilinear, antialiased, in float32, rounded."""
    if images.shape[1] == pixels:
        return images
    planes = images.permute(0, 3, 1, 2).contiguous().float()  # a copy of bytes, not of floats
    scaled = F.interpolate(planes, size=(pixels, pixels), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
