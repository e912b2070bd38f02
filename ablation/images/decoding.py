"""From encoded images to arrays: a data set decoded once to one side, into a folder of numpy arrays."""

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ablation.images.embedded import EMBEDDED
from ablation.images.labels import Label
from ablation.images.parquet import Encoded
from ablation.images.pixels import SAMPLE, Deep, Levels, deep_sample, levels_of, square
from ablation.images.sources import SMALL, Part, open_source, parts_of
from ablation.runs.checks import first_line, listed
from ablation.runs.config import Data

TOGETHER = 256  # images that are decoded before they are written, of at most
HELD = 2**28  # bytes
EVERY = 0.2  # seconds between words about how far it is
PROGRESS = "progress"  # beside arrays that are being filled: images decoded, and in all
Fault = tuple[str, str]  # an image that does not decode, and why
WAY_OUT = "replace them, or leave them out by data.skip_broken=true"


def render(data: Data, folder: Path) -> dict[str, Any]:
    """Fill `folder` with the embedded set."""
    made = EMBEDDED[data.name]
    for split, count in made.SIZES.items():
        images, labels = made.render(split, count, data.split_seed)
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}-labels.npy", labels)
    return {}


def decode(data: Data, folder: Path) -> dict[str, Any]:
    """Fill `folder` from a hub data set or a local folder; returns what there is to say about it, by name.

    Raises ValueError, each in one line with what to do, for: a file that cannot be read, missing splits or
    columns, images that do not decode (all of them named, unless they are to be skipped), labels outside the
    classes, and images smaller than native size without upsample.
    """
    source = open_source(data, data.classes)
    parts = parts_of(data, source)
    count = Count(folder / PROGRESS, sum(len(part.rows) for part in parts))
    with ExitStack() as files:
        written = []
        for part in parts:
            check_labels(data, part.name, part.labels, source.classes)
            file = files.enter_context((folder / f"{part.name}.npy").open("w+b"))
            written.append(_Written(part, data, file, count))
        levels = levels_among(written, data)
        for each in written:
            each.deepen(levels)
        refuse_broken(data, written)
        check_native(data, [side for each in written for side in each.shorter.values()])
        for each in written:
            each.close_up()
    count.close()
    return conclude(data, folder, source.classes, written, levels)


class Looked(Protocol):
    """A part of the data whose images were all decoded. faults: of those that do not; deep: places of those
    of more than 8 bits; sizes: bytes of each."""

    part: Part
    faults: dict[int, Fault]
    deep: list[int]
    sizes: np.ndarray


def conclude(
    data: Data,
    folder: Path,
    classes: Sequence[Label],
    looked: Sequence[Looked],
    levels: Levels,
) -> dict[str, Any]:
    """Write labels, and what was left out, into `folder`; returns what there is to say of the images."""
    for each in looked:
        labels = np.delete(each.part.labels, sorted(each.faults))
        check_labels(data, each.part.name, labels, classes)
        np.save(folder / f"{each.part.name}-labels.npy", labels)
    broken = [fault for each in looked for fault in broken_of(each)]
    if broken:
        lines = [f"{name}: {why}\n" for name, why in broken]
        (folder / "broken.txt").write_text("".join(lines), "utf-8", "backslashreplace")
    read = sum(int(each.sizes.sum()) for each in looked)
    said = {"classes": [str(name) for name in classes], "broken": len(broken), "read": read}
    return said | ({"levels": dict(levels)} if levels else {})


def broken_of(looked: Looked) -> list[Fault]:
    """Images that do not decode, and why."""
    return [looked.faults[place] for place in sorted(looked.faults)]


def check_labels(data: Data, split: str, labels: np.ndarray, classes: Sequence[Label] = ()) -> None:
    """Raises ValueError for labels outside the classes, and where a class of one's own folder has no
    image."""
    wrong = np.flatnonzero((labels < 0) | (labels >= data.classes))
    if len(wrong):
        first = int(labels[wrong[0]])
        raise ValueError(
            f"{data.name}: {len(wrong)} of {len(labels)} labels in {split} outside the {data.classes} "
            f"classes, first {'none' if first == -1 else first} in row {wrong[0]}; correct data.classes or "
            "the labels"
        )
    absent = np.setdiff1d(np.arange(data.classes), labels)
    names = [str(classes[each]) if each < len(classes) else f"class {each}" for each in absent]
    if data.path and names:
        raise ValueError(
            f"data.path={data.path}: {split} has no image of {listed(names)}; every class needs one in every "
            "split: add images, or correct data.classes"
        )


def check_native(data: Data, shorter: Sequence[int]) -> None:
    """Raises ValueError where more than a tenth of all images, of these shorter sides, would have to be
    enlarged."""
    small = sum(side < data.side for side in shorter)
    if small > SMALL * len(shorter) and not data.upsample:
        setting = "native" if data.stored is None else "stored"
        raise ValueError(
            f"{data.name}: {small} of {len(shorter)} images are smaller than data.{setting}={data.side} px; "
            f"state a smaller data.{setting}, or data.upsample=true to enlarge them"
        )


def refuse_broken(data: Data, looked: Sequence[Looked]) -> None:
    """Raises ValueError that names every image that does not decode, unless they are to be left out."""
    lines = []
    for each in looked:
        faults = broken_of(each)
        if faults:
            share = f"{len(faults)} of {len(each.part.rows)} images in {each.part.name}"
            lines.append(f"{share} cannot be decoded: {told(faults)}")
    if lines and not data.skip_broken:
        raise ValueError(f"{data.name}: {'; '.join(lines)}; {WAY_OUT}")


def told(faults: Sequence[Fault]) -> str:
    """All of them, by reason."""
    names: dict[str, list[str]] = {}
    for name, why in faults:
        names.setdefault(why, []).append(name)
    return "; ".join(f"{why}: {', '.join(each)}" for why, each in names.items())


def levels_among(looked: Sequence[Looked], data: Data) -> Levels:
    """What becomes black and white in images of more than 8 bits, from a sample of those that train; empty
    where there are none."""
    deep = next((each for each in looked if each.deep), None)
    if deep is None:
        return {}
    rows = np.sort(deep.part.rows[deep.deep])
    chosen = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)]
    return levels_of(
        [deep_sample(read(), data.pixel_limit) for _, read in deep.part.table.encoded(chosen)]
    )


class Count:
    """How many of all images are decoded, in a file for whoever waits."""

    def __init__(self, file: Path, total: int) -> None:
        self.file, self.done, self.total = file, 0, total
        self.written = -math.inf
        self.add(0)

    def add(self, count: int) -> None:
        """So many more are; written now and then."""
        self.done += count
        now = time.monotonic()
        if now - self.written >= EVERY:
            self.file.write_text(f"{self.done} {self.total}")
            self.written = now

    def close(self) -> None:
        """Nobody waits any more."""
        self.file.unlink()


def progress_of(folder: Path) -> tuple[int, int] | None:
    """Images decoded, and in all, of a folder that is being filled; None where none is."""
    try:
        done, total = (folder / PROGRESS).read_text().split()
        return int(done), int(total)
    except (OSError, ValueError):  # none there, or just being written
        return None


class _Written:
    """A part of the data as an array (N, side, side, 3) in a file, written image by image and never mapped: a
    full disk is an error, not a dead process."""

    def __init__(self, part: Part, data: Data, file: BinaryIO, count: Count) -> None:
        self.part, self.data, self.file, self.count = part, data, file, count
        self.faults: dict[int, Fault] = {}
        self.shorter: dict[int, int] = {}
        self.deep: list[int] = []
        self.sizes = np.zeros(len(part.rows), np.int64)
        self._header(len(part.rows))
        self.start = self.file.tell()
        size = len(part.rows) * self._bytes
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(self.file.fileno(), self.start, size)
        self._decode(np.argsort(part.rows, kind="stable"), None)

    @property
    def _bytes(self) -> int:
        """Of one image."""
        return 3 * self.data.side**2

    def _header(self, count: int) -> None:
        shape = (count, self.data.side, self.data.side, 3)
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, about)

    def _decode(self, places: np.ndarray, levels: Levels | None) -> None:
        """Decode the rows at these places, ascending in the source, in threads: the codec releases the
        interpreter lock."""
        stream = zip(places, self.part.table.encoded(self.part.rows[places]), strict=True)
        together = max(1, min(TOGETHER, HELD // self._bytes))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while batch := list(islice(stream, together)):
                for place, pixels in pool.map(lambda item: self._one(*item, levels), batch):
                    if pixels is not None:
                        self.file.seek(self.start + place * self._bytes)
                        self.file.write(pixels)
                    self.count.add(0 if levels else 1)

    def _one(
        self, place: int, encoded: Encoded, levels: Levels | None
    ) -> tuple[int, np.ndarray | None]:
        name, read = encoded
        data = self.data
        try:
            content = read()
            self.sizes[place] = len(content)
            pixels, self.shorter[place] = square(
                *(content, data.side, data.background, data.pixel_limit, levels),
                scaled=data.stored is not None,
            )
            return place, pixels
        except Deep:
            self.deep.append(place)
        except Exception as error:
            self.faults[place] = name, first_line(error).rstrip(".")
        return place, None

    def deepen(self, levels: Levels) -> None:
        """Decode what has more than 8 bits, now that levels are known."""
        places = np.array(
            sorted(self.deep, key=lambda place: self.part.rows[place]), dtype=np.int64
        )
        if len(places):
            self._decode(places, levels)

    def close_up(self) -> None:
        """Move images up over those that do not decode, and leave the file whole."""
        kept = np.delete(np.arange(len(self.part.rows)), sorted(self.faults))
        for place in np.flatnonzero(kept != np.arange(len(kept))):
            self.file.seek(self.start + int(kept[place]) * self._bytes)
            pixels = self.file.read(self._bytes)
            self.file.seek(self.start + int(place) * self._bytes)
            self.file.write(pixels)
        self._header(len(kept))
        self.file.truncate(self.start + len(kept) * self._bytes)
        self.file.flush()
        os.fsync(self.file.fileno())
