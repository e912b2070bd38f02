"""Image sets as uint8 tensors: decoded once to native size and cached, resized once a run, split in three, augmented in batch on the device."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor

from ablation import shapes
from ablation.config import Data, Recipe, digest, folder_of
from ablation.records import write_json

if TYPE_CHECKING:
    import datasets

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in the released code
SMALL = 0.10  # native size is this quantile of shorter sides, so at most one image in ten is ever enlarged to it


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


def choose(data: Data, folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Rows of each split, ascending: validation is drawn from the training images by split_seed, train from the rest."""
    sizes = {source: len(np.load(folder / f"{source}-labels.npy")) for source in ("train", "evaluation")}
    left = sizes["train"] - data.validation_size
    wanted = data.train_size or left
    if not 0 < wanted <= left:
        raise ValueError(
            f"data.train_size={data.train_size}, data.validation_size={data.validation_size}: {data.name} has {sizes['train']} training "
            f"images in all; ask for fewer"
        )
    if (data.evaluation_size or 0) > sizes["evaluation"]:
        raise ValueError(f"data.evaluation_size={data.evaluation_size}: {data.name} has {sizes['evaluation']} evaluation images; ask for fewer")
    order = np.random.default_rng(data.split_seed).permutation(sizes["train"])
    held_out, rest = np.split(order, [data.validation_size])
    evaluation = np.random.default_rng(data.split_seed).permutation(sizes["evaluation"])[: data.evaluation_size]
    return {
        "train": ("train", np.sort(rest[:wanted])),
        "validation": ("train", np.sort(held_out)),
        "evaluation": ("evaluation", np.sort(evaluation)),
    }


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


def decoded(data: Data, cache: Path) -> Path:
    """The folder of decoded images, made once: train.npy, evaluation.npy (N, native, native, 3), *-labels.npy, about.json.

    Two processes that want it at the same time share the work of one.
    """
    relevant = ("name", "subset", "files", "classes", "native", "image", "label", "train", "evaluation", "upsample")
    source = {key: value for key, value in data.identity().items() if key in relevant} | {"decoder": 1}
    if data.name == "shapes":
        source |= {"generator": shapes.GENERATOR_VERSION, "seed": data.split_seed}
    folder = cache / f"{Path(data.name).name}-{digest(source)}"
    if (folder / "about.json").exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "about.json").exists():
            draft = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            (render if data.name == "shapes" else decode)(data, draft)
            write_json(draft / "about.json", {"source": source, "digest": _content_digest(draft)})
            shutil.rmtree(folder, ignore_errors=True)
            draft.replace(folder)
    return folder


def render(data: Data, folder: Path) -> None:
    """Fill `folder` with the embedded set."""
    if (data.classes, data.native) != (shapes.CLASSES, shapes.SIDE):
        raise ValueError(f"data.classes={data.classes}, data.native={data.native}: shapes has {shapes.CLASSES} classes at {shapes.SIDE} px")
    for split, count in shapes.SIZES.items():
        images, labels = shapes.render(split, count, data.split_seed)
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}-labels.npy", labels)


def decode(data: Data, folder: Path) -> None:
    """Fill `folder` from a hub data set or a local folder.

    Raises ValueError, each in one line with what to do, for: a file that cannot be read, missing splits or columns, images that do not
    decode (counted, the first named), labels outside the classes, and images smaller than native size without upsample.
    """
    source = open_source(data)
    image, label = columns(data, source[data.train])
    train, evaluation = _official_splits(data, source)
    for split, table in (("train", train), ("evaluation", evaluation)):
        labels = _checked_labels(data, split, table[label])
        images = np.lib.format.open_memmap(folder / f"{split}.npy", mode="w+", dtype=np.uint8, shape=(len(table), data.native, data.native, 3))
        _decode_into(images, table.select_columns(image), image, data, split)
        images.flush()
        np.save(folder / f"{split}-labels.npy", labels)


def open_source(data: Data) -> "datasets.DatasetDict":
    """The data set by Hugging Face `datasets`: a hub name, or a local folder of Parquet files or class folders."""
    import datasets

    datasets.disable_progress_bars()
    folder = folder_of(data.path) if data.path else None
    if data.files and not folder:
        raise ValueError(f"{data.name}: its images are files of your own; say where they lie, data.path=FOLDER")
    try:
        if not folder:
            return datasets.load_dataset(data.name, data.subset)
        parquet = sorted(folder.rglob("*.parquet"))
        _check_parquet(parquet)
        return datasets.load_dataset(str(folder)) if parquet else datasets.load_dataset("imagefolder", data_dir=str(folder))
    except ValueError:
        raise
    except Exception as error:
        where = f"data.path={data.path}" if data.path else f"data.name={data.name}"
        raise ValueError(f"{where} could not be opened: {_first_line(error)}; check name and network, or give a folder with data.path=...") from error


def _check_parquet(files: Sequence[Path]) -> None:
    import pyarrow.parquet

    for file in files:
        try:
            pyarrow.parquet.read_metadata(file)
        except Exception as error:
            raise ValueError(f"{file} is not a whole Parquet file ({_first_line(error)}); copy it again") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _official_splits(data: Data, source: Mapping[str, Any]) -> tuple["datasets.Dataset", "datasets.Dataset"]:
    """Training and evaluation images; without an official evaluation split a fifth of the training images is held out for good."""
    names = [data.evaluation] if data.evaluation else ["test", "validation"]
    for name in (data.train, *([data.evaluation] if data.evaluation else [])):
        if name not in source:
            raise ValueError(f"{data.name} has no split {name!r}, only {', '.join(source)}; set data.train=... or data.evaluation=...")
    found = next((name for name in names if name in source), None)
    if found:
        return source[data.train], source[found]
    parts = source[data.train].train_test_split(test_size=0.2, seed=data.split_seed)
    return parts["train"], parts["test"]


def columns(data: Data, table: "datasets.Dataset") -> tuple[str, str]:
    """Names of the image and the label column: as stated, or the only ones of their type."""
    import datasets

    found = []
    for role, stated, kind in (("image", data.image, datasets.Image), ("label", data.label, datasets.ClassLabel)):
        names = [name for name, feature in table.features.items() if isinstance(feature, kind)]
        if stated is None and len(names) == 1:
            stated = names[0]
        if stated is None or stated not in table.features:
            raise ValueError(f"{data.name}: no single {role} column among {', '.join(table.features)}; set data.{role}=...")
        found.append(stated)
    return found[0], found[1]


def _checked_labels(data: Data, split: str, labels: Sequence[int | None]) -> np.ndarray:
    values = np.array([-1 if value is None else value for value in labels], dtype=np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= data.classes))
    if len(wrong):
        raise ValueError(
            f"{data.name}: {len(wrong)} of {len(values)} labels in {split} lie outside the {data.classes} classes, first {labels[int(wrong[0])]} "
            f"in row {wrong[0]}; correct data.classes or the labels"
        )
    return values


def _decode_into(images: np.ndarray, table: "datasets.Dataset", column: str, data: Data, split: str) -> None:
    """Decode every row into `images`, in threads: the codec releases the interpreter lock."""
    import datasets

    rows = table.cast_column(column, datasets.Image(decode=False))
    broken: list[str] = []
    small = 0

    def one(index: int) -> None:
        nonlocal small
        item = rows[index][column]
        try:
            images[index], shorter = square(item["bytes"] or Path(item["path"]).read_bytes(), data.native)
            small += shorter < data.native
        except Exception as error:
            broken.append(f"{item['path'] or ''} (row {index}: {_first_line(error)})".strip())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(rows))))
    if broken:
        first = sorted(broken)[0]
        raise ValueError(f"{data.name}: {len(broken)} of {len(rows)} images in {split} do not decode, first {first}; replace or remove them")
    if small > SMALL * len(rows) and not data.upsample:
        raise ValueError(
            f"{data.name}: {small} of {len(rows)} images in {split} are smaller than data.native={data.native} px; state a smaller data.native, or "
            f"data.upsample=true to enlarge them"
        )


def square(encoded: bytes, side: int) -> tuple[np.ndarray, int]:
    """A decoded image as uint8 (side, side, 3), shorter side resized to `side` and the centre cropped; and its shorter side as it came."""
    from PIL import Image, ImageOps

    with Image.open(BytesIO(encoded)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    shorter = min(picture.size)
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture), shorter


def describe(values: Mapping[str, Any]) -> dict[str, int]:
    """classes and native of a data set whose config leaves them open: its label names, and the header of every training image.

    native is the 10th percentile of shorter sides in pixels. values: the fields of `Data`.
    """
    import datasets
    from PIL import Image

    data = Data(**{**values, "classes": 2, "native": 1})
    table = open_source(data)[data.train]
    image, label = columns(data, table)
    feature = table.features[label]
    classes = feature.num_classes if isinstance(feature, datasets.ClassLabel) else int(max(table[label])) + 1
    sides = []
    for item in table.select_columns(image).cast_column(image, datasets.Image(decode=False)):
        try:
            with Image.open(BytesIO(item[image]["bytes"]) if item[image]["bytes"] else item[image]["path"]) as picture:
                sides.append(min(picture.size))
        except OSError:
            continue  # named and counted when the images are decoded
    if not sides:
        raise ValueError(f"{data.name}: no image of the training split could be read; look at the files")
    return {"classes": classes, "native": int(np.quantile(sides, SMALL))}


def _content_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.glob("*.npy")):
        array = np.load(file, mmap_mode="r")
        for start in range(0, len(array), 1024):
            total.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return total.hexdigest()[:16]


def check_digest(data: Data, found: str, runs: Path) -> None:
    """The first run in a folder of records writes down what its images were; raises ValueError where a later run finds others.

    `shapes` is exempt: its identity is its generator's version, and another processor may round a pixel otherwise.
    """
    if data.name == "shapes":
        return
    path = runs / "data" / f"{digest(data.identity())}.json"
    if not path.exists():
        write_json(path, {"name": data.name, "digest": found})
    elif (known := json.loads(path.read_text())["digest"]) != found:
        raise ValueError(f"{data.name} has changed since the records in {runs} were made (digest {found}, was {known}); set runs=... to start anew")


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
