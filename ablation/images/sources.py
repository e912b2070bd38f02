"""Where images come from: a folder of one's own, or a set of the Hugging Face hub, as two splits with
labels."""

import contextlib
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ablation.images.folders import Listing, Split, files_below, read_folder
from ablation.images.labels import Label, coded
from ablation.images.parquet import Encoded, columns, read_parquet
from ablation.images.pixels import opened
from ablation.runs.checks import first_line
from ablation.runs.config import Data, folder_of

if TYPE_CHECKING:
    import datasets

# Native size is this quantile of shorter sides, so at most one image in ten is ever enlarged to it.
SMALL = 0.10
HELD_OUT = 0.2  # of the training images, to evaluate on, where there is no split for that
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Table(Protocol):
    """Images of one split."""

    name: str

    def __len__(self) -> int: ...

    @property
    def values(self) -> Sequence[Any]:
        """Labels as they come."""

    @property
    def names(self) -> Sequence[str] | None:
        """Of the classes, where a column states them."""

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """A name for people and what reads the bytes, of ascending rows."""


@dataclass(frozen=True)
class Images:
    """Image files of one split of a folder."""

    folder: Path
    split: Split

    def __len__(self) -> int:
        return len(self.split.files)

    @property
    def name(self) -> str:
        """Of the split."""
        return self.split.name or "train"

    @property
    def values(self) -> Sequence[Any]:
        """Classes by name."""
        return self.split.labels

    @property
    def names(self) -> None:
        """The classes are those that occur."""
        return None

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """Each file by its path below the folder."""
        for row in rows:
            file = self.split.files[row]
            yield file, (self.folder / file).read_bytes


@dataclass(frozen=True)
class Hub:
    """Rows of a split of a hub data set."""

    table: "datasets.Dataset"
    image: str
    label: str
    name: str

    def __len__(self) -> int:
        return len(self.table)

    @property
    def values(self) -> Sequence[Any]:
        """The label column."""
        return list(self.table[self.label])

    @property
    def names(self) -> Sequence[str] | None:
        """Of a ClassLabel column."""
        return getattr(self.table.features[self.label], "names", None)

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """Each by its path, where it has one, and its row."""
        import datasets

        chosen = self.table.select_columns(self.image).select(rows)
        stored = chosen.cast_column(self.image, datasets.Image(decode=False))
        for row, item in zip(rows, stored, strict=True):
            image = item[self.image]
            read = (
                partial(bytes, image["bytes"]) if image["bytes"] else Path(image["path"]).read_bytes
            )
            yield f"{image['path'] or ''} (row {row})".strip(), read


@dataclass(frozen=True)
class Source:
    """A data set as it lies: the split that trains and the one that evaluates, None where it is held out of
    the first; labels of both from 0, and the classes they stand for. labelled_by: what says the class of a
    file. unused: images or files of splits that are not used. left_out: files by reason."""

    train: Table
    evaluation: Table | None
    labels: tuple[np.ndarray, ...]
    classes: tuple[Label, ...]
    labelled_by: str = ""
    unused: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        """The splits that are used."""
        return [self.train, *([] if self.evaluation is None else [self.evaluation])]


@dataclass(frozen=True)
class Part:
    """One of the two splits that are decoded: rows of a table in their final order, and their labels."""

    name: str
    table: Table
    rows: np.ndarray
    labels: np.ndarray


def open_source(data: Data, classes: int | None) -> Source:
    """A folder of class folders, tables or Parquet files at the path, by rules of ours; else a set of the
    hub, by Hugging Face `datasets`. classes: as stated, None where labels decide."""
    if data.path:
        return open_folder(
            data.path, data.train, data.evaluation, data.subset, data.image, data.label, classes
        )
    if data.files:
        raise ValueError(
            f"{data.name}: its images are files of your own; say where they lie, data.path=FOLDER"
        )
    return _open_hub(data, classes)


@lru_cache(maxsize=8)
def open_folder(
    path: str,
    train: str,
    evaluation: str | None,
    subset: str | None,
    image: str | None,
    label: str | None,
    classes: int | None,
) -> Source:
    """What lies in a folder, read once a process; raises ValueError, naming the path, for whatever is wrong
    with it."""
    folder = folder_of(path)
    files = files_below(path)
    if files.parquet and files.images:
        raise ValueError(
            f"data.path={path}: both images and Parquet files, {files.images[0]} and {files.parquet[0]}; "
            "leave one of the two"
        )
    if not files.parquet:
        return _of_files(folder, read_folder(path, train, evaluation, label), classes)
    try:
        first, second, unused = read_parquet(
            folder, files.parquet, train, evaluation, subset, image, label
        )
    except ValueError as error:
        raise ValueError(f"data.path={path}: {error}") from error
    return _of_tables([first, second], classes, "the label column", unused, files.left_out)


def forget() -> None:
    """Let go of the names and labels of every file that was listed: half a kilobyte for each."""
    open_folder.cache_clear()
    files_below.cache_clear()


def _of_files(folder: Path, listing: Listing, classes: int | None) -> Source:
    splits = [
        None if split is None else Images(folder, split)
        for split in (listing.train, listing.evaluation)
    ]
    return _of_tables(splits, classes, listing.labelled_by, listing.unused, listing.left_out)


def _of_tables(
    tables: Sequence[Table | None],
    classes: int | None,
    labelled_by: str = "",
    unused: Mapping[str, int] | None = None,
    left_out: Mapping[str, Sequence[str]] | None = None,
) -> Source:
    used = [table for table in tables if table is not None]
    labels, named = coded([table.values for table in used], classes, used[0].names)
    train, evaluation = tables
    assert train is not None
    return Source(
        train, evaluation, tuple(labels), named, labelled_by, unused or {}, left_out or {}
    )


def _open_hub(data: Data, classes: int | None) -> Source:
    """A set of the Hugging Face hub, whatever folders of its name lie here."""
    import datasets

    if not HUB_NAME.fullmatch(data.name):
        raise ValueError(
            f"data.name={data.name}: no name of the Hugging Face hub; a folder is data.path={data.name}"
        )
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory() as away, contextlib.chdir(away):
            found = datasets.load_dataset(data.name, data.subset)
    except ValueError:
        raise
    except Exception as error:
        why = first_line(error).rstrip(".")
        raise ValueError(
            f"data.name={data.name} could not be opened: {why}; check name and network, or give a folder "
            "with data.path=..."
        ) from error
    names = [data.evaluation] if data.evaluation else ["test", "validation"]
    for name in (data.train, *([data.evaluation] if data.evaluation else [])):
        if name not in found:
            raise ValueError(
                f"{data.name} has no split {name!r}, only {', '.join(found)}; set data.train=... or "
                "data.evaluation=..."
            )
    features = found[data.train].features
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    try:
        image, label = columns(kinds, data.image, data.label)
    except ValueError as error:
        raise ValueError(f"{data.name}: {error}") from None
    evaluation = next((name for name in names if name in found), None)
    tables = [
        None if name is None else Hub(found[name], image, label, name)
        for name in (data.train, evaluation)
    ]
    return _of_tables(tables, classes)


def parts_of(data: Data, source: Source) -> list[Part]:
    """Training and evaluation images; without a split for evaluation a fifth of the training images is held
    out for good."""
    rows = [np.arange(len(table)) for table in source.tables]
    tables = source.tables
    labels = list(source.labels)
    if source.evaluation is None:
        order = drawn(labels[0], data.split_seed, data.draw)
        held_out, rest = np.split(order, [math.ceil(HELD_OUT * len(order))])
        tables, labels, rows = tables * 2, labels * 2, [rest, held_out]
    named = zip(("train", "evaluation"), tables, rows, labels, strict=True)
    return [Part(name, table, chosen, each[chosen]) for name, table, chosen, each in named]


def drawn(labels: np.ndarray, seed: int, draw: str) -> np.ndarray:
    """Rows in random order (N,): plain, or by class, where every beginning holds each class in its share."""
    order = np.random.default_rng(seed).permutation(len(labels))
    if draw == "plain":
        return order
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place[order], kind="stable")]


def describe_hub(data: Data) -> dict[str, int]:
    """classes and native of a hub set whose config leaves them open: its labels, and the header of every
    training image. native is the 10th percentile of shorter sides in pixels."""
    source = open_source(data, None)
    sides = []
    for _, read in source.train.encoded(np.arange(len(source.train))):
        try:
            with opened(read(), data.pixel_limit) as picture:
                sides.append(min(picture.size))
        except (OSError, ValueError):
            continue  # named and counted when the images are decoded
    if not sides:
        raise ValueError(
            f"{data.name}: no image of the training split could be read; look at the files"
        )
    return {"classes": len(source.classes), "native": int(np.quantile(sides, SMALL))}
