"""Where images come from: a data set is decoded once to native size, into a folder of numpy arrays, and split
in three."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.images import shapes
from ablation.runs.config import Data, folder_of

if TYPE_CHECKING:
    import datasets

# Native size is this quantile of shorter sides, so at most one image in ten is ever enlarged to it.
SMALL = 0.10


def render(data: Data, folder: Path) -> None:
    """Fill `folder` with the embedded set."""
    if (data.classes, data.native) != (shapes.CLASSES, shapes.SIDE):
        raise ValueError(
            f"data.classes={data.classes}, data.native={data.native}: shapes has {shapes.CLASSES} classes "
            f"at {shapes.SIDE} px"
        )
    for split, count in shapes.SIZES.items():
        images, labels = shapes.render(split, count, data.split_seed)
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}-labels.npy", labels)


def decode(data: Data, folder: Path) -> None:
    """Fill `folder` from a hub data set or a local folder.

    Raises ValueError, each in one line with what to do, for: a file that cannot be read, missing splits or
    columns, images that do not decode (counted, the first named), labels outside the classes, and images
    smaller than native size without upsample.
    """
    source = open_source(data)
    image, label = columns(data, source[data.train])
    train, evaluation = _official_splits(data, source)
    for split, table in (("train", train), ("evaluation", evaluation)):
        labels = _checked_labels(data, split, table[label])
        images = np.lib.format.open_memmap(
            folder / f"{split}.npy",
            mode="w+",
            dtype=np.uint8,
            shape=(len(table), data.native, data.native, 3),
        )
        _decode_into(images, table.select_columns(image), image, data, split)
        images.flush()
        np.save(folder / f"{split}-labels.npy", labels)


def open_source(data: Data) -> "datasets.DatasetDict":
    """The data set by Hugging Face `datasets`: a hub name, or a local folder of Parquet files or class
    folders."""
    import datasets

    datasets.disable_progress_bars()
    folder = folder_of(data.path) if data.path else None
    if data.files and not folder:
        raise ValueError(
            f"{data.name}: its images are files of your own; say where they lie, data.path=FOLDER"
        )
    try:
        if not folder:
            return datasets.load_dataset(data.name, data.subset)
        parquet = sorted(folder.rglob("*.parquet"))
        _check_parquet(parquet)
        return (
            datasets.load_dataset(str(folder))
            if parquet
            else datasets.load_dataset("imagefolder", data_dir=str(folder))
        )
    except ValueError:
        raise
    except Exception as error:
        where = f"data.path={data.path}" if data.path else f"data.name={data.name}"
        raise ValueError(
            f"{where} could not be opened: {_first_line(error)}; check name and network, or give a folder "
            "with data.path=..."
        ) from error


def _check_parquet(files: Sequence[Path]) -> None:
    import pyarrow.parquet

    for file in files:
        try:
            pyarrow.parquet.read_metadata(file)
        except Exception as error:
            raise ValueError(
                f"{file} is not a whole Parquet file ({_first_line(error)}); copy it again"
            ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _official_splits(
    data: Data, source: Mapping[str, Any]
) -> tuple["datasets.Dataset", "datasets.Dataset"]:
    """Training and evaluation images; without an official evaluation split a fifth of the training images is
    held out for good."""
    names = [data.evaluation] if data.evaluation else ["test", "validation"]
    for name in (data.train, *([data.evaluation] if data.evaluation else [])):
        if name not in source:
            raise ValueError(
                f"{data.name} has no split {name!r}, only {', '.join(source)}; set data.train=... or "
                "data.evaluation=..."
            )
    found = next((name for name in names if name in source), None)
    if found:
        return source[data.train], source[found]
    parts = source[data.train].train_test_split(test_size=0.2, seed=data.split_seed)
    return parts["train"], parts["test"]


def columns(data: Data, table: "datasets.Dataset") -> tuple[str, str]:
    """Names of the image and the label column: as stated, or the only ones of their type."""
    import datasets

    found = []
    for role, stated, kind in (
        ("image", data.image, datasets.Image),
        ("label", data.label, datasets.ClassLabel),
    ):
        names = [name for name, feature in table.features.items() if isinstance(feature, kind)]
        if stated is None and len(names) == 1:
            stated = names[0]
        if stated is None or stated not in table.features:
            raise ValueError(
                f"{data.name}: no single {role} column among {', '.join(table.features)}; set data.{role}=..."
            )
        found.append(stated)
    return found[0], found[1]


def _checked_labels(data: Data, split: str, labels: Sequence[int | None]) -> np.ndarray:
    values = np.array([-1 if value is None else value for value in labels], dtype=np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= data.classes))
    if len(wrong):
        raise ValueError(
            f"{data.name}: {len(wrong)} of {len(values)} labels in {split} lie outside the {data.classes} "
            f"classes, first {labels[int(wrong[0])]} "
            f"in row {wrong[0]}; correct data.classes or the labels"
        )
    return values


def _decode_into(
    images: np.ndarray, table: "datasets.Dataset", column: str, data: Data, split: str
) -> None:
    """Decode every row into `images`, in threads: the codec releases the interpreter lock."""
    import datasets

    rows = table.cast_column(column, datasets.Image(decode=False))
    broken: list[str] = []
    small = 0

    def one(index: int) -> None:
        nonlocal small
        item = rows[index][column]
        try:
            images[index], shorter = square(
                item["bytes"] or Path(item["path"]).read_bytes(), data.native
            )
            small += shorter < data.native
        except Exception as error:
            broken.append(f"{item['path'] or ''} (row {index}: {_first_line(error)})".strip())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(rows))))
    if broken:
        first = sorted(broken)[0]
        raise ValueError(
            f"{data.name}: {len(broken)} of {len(rows)} images in {split} do not decode, first {first}; "
            "replace or remove them"
        )
    if small > SMALL * len(rows) and not data.upsample:
        raise ValueError(
            f"{data.name}: {small} of {len(rows)} images in {split} are smaller than "
            f"data.native={data.native} px; state a smaller data.native, or "
            f"data.upsample=true to enlarge them"
        )


def square(encoded: bytes, side: int) -> tuple[np.ndarray, int]:
    """A decoded image as uint8 (side, side, 3), shorter side resized to `side` and the centre cropped; and
    its shorter side as it came."""
    from PIL import Image, ImageOps

    with Image.open(BytesIO(encoded)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    shorter = min(picture.size)
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture), shorter


def describe(values: Mapping[str, Any]) -> dict[str, int]:
    """classes and native of a data set whose config leaves them open: its label names, and the header of
    every training image.

    native is the 10th percentile of shorter sides in pixels. values: the fields of `Data`.
    """
    import datasets
    from PIL import Image

    data = Data(**{**values, "classes": 2, "native": 1})
    table = open_source(data)[data.train]
    image, label = columns(data, table)
    feature = table.features[label]
    classes = (
        feature.num_classes
        if isinstance(feature, datasets.ClassLabel)
        else int(max(table[label])) + 1
    )
    sides = []
    for item in table.select_columns(image).cast_column(image, datasets.Image(decode=False)):
        try:
            with Image.open(
                BytesIO(item[image]["bytes"]) if item[image]["bytes"] else item[image]["path"]
            ) as picture:
                sides.append(min(picture.size))
        except OSError:
            continue  # named and counted when the images are decoded
    if not sides:
        raise ValueError(
            f"{data.name}: no image of the training split could be read; look at the files"
        )
    return {"classes": classes, "native": int(np.quantile(sides, SMALL))}
