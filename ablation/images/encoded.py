"""Images that stay as they came, in files, in Parquet's bytes or in a set of the hub: looked at once, and
decoded whenever they are read."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import xxhash

from ablation.images.decoding import (
    PROGRESS,
    TOGETHER,
    Count,
    Fault,
    check_labels,
    check_native,
    conclude,
    levels_among,
    refuse_broken,
)
from ablation.images.parquet import Encoded, Parquet
from ablation.images.pixels import Box, Cut, Deep, Levels, view
from ablation.images.sources import Images, Part, forget, open_source, parts_of
from ablation.runs.checks import first_line
from ablation.runs.config import Data


class Unreadable(ValueError):
    """An image that was whole when it was looked at, and is not any more."""


class Readable(Protocol):
    """Encoded images, any of which can be read at any time."""

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """A name for people and what reads the bytes, of rows in any order."""


@dataclass(frozen=True)
class Files:
    """Image files of a folder. names: relative to it, one after another in one piece of memory, which reader
    processes share; ends: of each in it."""

    folder: Path
    names: bytes
    ends: np.ndarray

    @classmethod
    def of(cls, table: Images) -> "Files":
        """The files of a split."""
        names = [os.fsencode(name) for name in table.split.files]
        return cls(table.folder, b"".join(names), np.cumsum([len(name) for name in names]))

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """Each file by its path below the folder."""
        for row in rows:
            name = os.fsdecode(self.names[_start(self.ends, row) : self.ends[row]])
            yield name, (self.folder / name).read_bytes


@dataclass(frozen=True)
class Packed:
    """Encoded images one after another in a file, and in an array beside it where each of them ends."""

    file: Path
    ends: Path

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """Each by its number; one seek an image."""
        ends = np.load(self.ends, mmap_mode="r")
        with self.file.open("rb") as file:
            for row in rows:
                piece = partial(_piece, file, _start(ends, row), int(ends[row]))
                yield f"{self.file} (image {row})", piece


def _start(ends: np.ndarray, row: int) -> int:
    return int(ends[row - 1]) if row else 0


def _piece(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


@dataclass(frozen=True)
class Originals:
    """The images of a split, decoded as they are read. rows: of the table, that of each image."""

    table: Readable
    rows: np.ndarray
    data: Data
    levels: Levels

    def views(
        self,
        places: np.ndarray,
        side: int,
        share: float | None = None,
        draws: np.ndarray | None = None,
    ) -> np.ndarray:
        """What a network of this side sees of images, uint8 (len(places), side, side, 3), each cut out of its
        original by one resize (see pixels.view).

        draws: of each a random box, (len(places), 4), see random_box; without them the centre, of this share
        of the shorter side. Raises Unreadable, in one line that names the image.
        """
        out = np.empty((len(places), side, side, 3), np.uint8)
        for number, image in enumerate(self.table.encoded(self.rows[places])):
            draw = None if draws is None else draws[number]
            cut = partial(centre_box, share) if draw is None else partial(random_box, draw)
            out[number] = self._one(image, side, cut)
        return out

    def _one(self, image: Encoded, side: int, cut: Cut) -> np.ndarray:
        name, read = image
        data = self.data
        look = (data.background, data.pixel_limit, self.levels, data.detail)
        try:
            return view(read(), side, cut, *look)[0]
        except Exception as error:  # whatever a disk or a codec raises
            why = first_line(error).rstrip(".")
            raise Unreadable(
                f"{data.name}: {name} was whole before training began, and cannot be read now: {why}; bring "
                "it back and start the command again, which goes on from the last checkpoint"
            ) from error


def centre_box(share: float, width: int, height: int) -> Box:
    """The square in the centre of an image whose side is this share of the shorter one."""
    shorter = min(width, height)
    return share * (shorter / height), share * (shorter / width), 0.5, 0.5


def random_box(draw: np.ndarray, width: int, height: int) -> Box:
    """A random crop of an image of any shape. draw: float32 (4,), a row of batches.random_draws.

    In a square it is the box of batches.random_boxes, to the last bit.
    """
    down, across = draw[2:]
    root, whole = np.sqrt(np.float32(width / height)), np.float32(1)
    tall, wide = min(draw[0] * root, whole), min(draw[1] / root, whole)
    centre_y, centre_x = (
        side / 2 + (whole - side) * place for side, place in ((tall, down), (wide, across))
    )
    return float(tall), float(wide), float(centre_y), float(centre_x)


@dataclass
class _Looked:
    """A part of the data whose images were all decoded once, at the smallest scale: places in its order of
    those that do not decode, or have more than 8 bits; of each a digest and the number of its bytes, its
    shorter side, and its row in what is read later."""

    part: Part
    faults: dict[int, Fault] = field(default_factory=dict)
    deep: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.part.rows)
        self.digests = np.zeros((count, 16), np.uint8)
        self.shorter = np.zeros(count, np.int32)
        self.rows = self.part.rows.copy()
        self.sizes = np.zeros(count, np.int64)


def listing(data: Data, folder: Path) -> dict[str, Any]:
    """Fill `folder` with what there is to know of images before any is trained on, every one of which is
    decoded once: rows and labels of those that are whole; of Parquet files, whose rows cannot be read one by
    one, their bytes, too.

    Returns what there is to say about them; raises ValueError as `decoding.decode` does.
    """
    source = open_source(data, data.classes)
    parts = parts_of(data, source)
    for part in parts:
        check_labels(data, part.name, part.labels, source.classes)
    count = Count(folder / PROGRESS, sum(len(part.rows) for part in parts))
    looked = [_look(part, data, folder, count) for part in parts]
    refuse_broken(data, looked)
    check_native(data, np.concatenate([each.shorter[each.shorter > 0] for each in looked]))
    count.close()
    total = xxhash.xxh3_64()
    for each in looked:
        whole = np.delete(np.arange(len(each.rows)), sorted(each.faults))
        np.save(folder / f"{each.part.name}-rows.npy", each.rows[whole])
        total.update(each.digests[whole].tobytes())
        total.update(each.part.labels[whole].astype("<i8").tobytes())
    levels = levels_among(looked, data)
    said = conclude(data, folder, source.classes, looked, levels)
    packed = isinstance(source.train, Parquet)
    return said | {"digest": total.hexdigest(), "packed": packed}


def _look(part: Part, data: Data, folder: Path, count: Count) -> _Looked:
    """Decode each image of a part in ascending rows, in threads; the bytes of Parquet files are written into
    one file as they come."""
    found = _Looked(part)
    places = np.argsort(part.rows, kind="stable")
    stream = zip(places, part.table.encoded(part.rows[places]), strict=True)
    ends: list[int] = []
    with ExitStack() as opened:
        packs = isinstance(part.table, Parquet)
        pack = opened.enter_context((folder / f"{part.name}.bytes").open("wb")) if packs else None
        pool = opened.enter_context(ThreadPoolExecutor(os.cpu_count()))
        while batch := list(islice(stream, TOGETHER)):
            looks = pool.map(lambda item: _look_at(found, data, *item), batch)
            for (place, _), encoded in zip(batch, looks, strict=True):
                if pack and place not in found.faults:
                    found.rows[place] = len(ends)
                    pack.write(encoded)
                    ends.append(pack.tell())
                count.add(1)
        if pack:
            pack.flush()
            os.fsync(pack.fileno())
            np.save(folder / f"{part.name}-ends.npy", np.array(ends, np.int64))
    return found


def _look_at(found: _Looked, data: Data, place: int, image: Encoded) -> bytes:
    """Decode one image, note what is found, and return its bytes where they are to be kept."""
    name, read = image
    try:
        encoded = read()
        found.sizes[place] = len(encoded)
        digest = xxhash.xxh3_128_digest(encoded)
        found.digests[place] = np.frombuffer(digest, np.uint8)
        _, found.shorter[place] = view(
            encoded, 1, partial(centre_box, 1.0), data.background, data.pixel_limit
        )
    except Deep:
        found.deep.append(place)
    except Exception as error:
        found.faults[place] = name, first_line(error).rstrip(".")
        return b""
    return encoded if isinstance(found.part.table, Parquet) else b""


def originals(data: Data, folder: Path, names: Sequence[str]) -> dict[str, Originals]:
    """The images of these parts of a data set that was looked at (see `listing`)."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    rows = {name: np.load(folder / f"{name}-rows.npy", mmap_mode="r") for name in names}
    levels = about.get("levels", {})
    if about["packed"]:
        tables: dict[str, Readable] = {
            name: Packed(folder / f"{name}.bytes", folder / f"{name}-ends.npy") for name in names
        }
    else:
        tables = {
            part.name: _readable(part)
            for part in parts_of(data, open_source(data, data.classes))
            if part.name in names
        }
    forget()
    return {name: Originals(tables[name], rows[name], data, levels) for name in names}


def _readable(part: Part) -> Readable:
    """The files of a folder, in little memory; rows of a hub set, which `datasets` maps from the disk."""
    return Files.of(part.table) if isinstance(part.table, Images) else part.table


def packed_bytes(data: Data) -> int:
    """Of the images that `listing` copies: as large as the Parquet files that hold them; of others none."""
    if not data.path:
        return 0
    tables = open_source(data, data.classes).tables
    copied = [table for table in tables if isinstance(table, Parquet)]
    return sum((table.folder / file).stat().st_size for table in copied for file in table.files)
