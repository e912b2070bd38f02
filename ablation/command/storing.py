"""Which decoded images a plan needs, how many bytes they take, and whether the disk has them."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.images.cache import counts, place, resized
from ablation.images.embedded import embedded
from ablation.images.survey import Survey
from ablation.runs.arms import Planned
from ablation.runs.config import Data

UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Store:
    """The decoded images of one data set. images: in all, None where that is not known before it is opened.
    there: whether they are decoded. pixels: input side of the largest network that reads them. grown: whether
    for its sake they are stored larger than is stated."""

    data: Data
    folder: Path
    images: int | None
    there: bool
    pixels: int
    grown: bool

    @property
    def each(self) -> int:
        """Bytes of one image."""
        return 3 * self.data.side**2

    @property
    def bytes(self) -> int:
        """Still to be written; 0 where that is not known."""
        return 0 if self.there else self.each * (self.images or 0)

    def __str__(self) -> str:
        """In one line."""
        side = f"{self.data.side} px"
        why = f", for the network of {self.pixels} px" if self.grown else ""
        if self.images is None:
            each = f"{in_words(self.each)} an image; how many is known once the set is opened"
            return f"to store: {self.data.name} at {side}{why}, {each}"
        takes = f"{self.images:,} images at {side}{why}, {in_words(self.images * self.each)}"
        if self.there:
            smaller = sum(file.stat().st_size for file in resized(self.folder).glob("*.npy"))
            beside = f", and {in_words(smaller)} resized from them" if smaller else ""
            return f"stored: {takes}{beside}, in {self.folder}"
        free = in_words(room(self.folder.parent))
        return f"to store: {takes}, in {self.folder.parent}, where {free} are free"


def stores(needed: Iterable[tuple[Planned, Survey]], cache: Path) -> list[Store]:
    """What the runs of a plan read, each decoded data set once."""
    surveys: dict[Data, Survey] = {}
    largest: dict[Data, int] = {}
    for entry, survey in needed:
        data = entry.run.data
        surveys[data] = survey
        largest[data] = max(largest.get(data, 0), entry.run.network.pixels)
    found: dict[Path, Store] = {}
    for data, survey in surveys.items():
        folder = place(data, cache)
        before = found.get(folder)
        pixels = max(largest[data], before.pixels if before else 0)
        decoded = counts(folder)
        images = sum(decoded.values()) if decoded else _images(data, survey)
        grown = data.side > survey.data.side
        found[folder] = Store(data, folder, images, bool(decoded), pixels, grown)
    return list(found.values())


def _images(data: Data, survey: Survey) -> int | None:
    made = embedded(data)
    return sum(made.SIZES.values()) if made else survey.images


def announce(wanted: Sequence[Store], cache: Path) -> None:
    """Say what will be decoded; raises ValueError where the disk has too little room."""
    for store in wanted:
        if not store.there:
            print(store, flush=True)
    refuse_full(wanted, cache)


def refuse_full(wanted: Sequence[Store], cache: Path) -> None:
    """Raises ValueError where a disk has less room than decoded images will take."""
    needed, free = sum(store.bytes for store in wanted), room(cache)
    if needed > free:
        ways = ["cache=FOLDER on a disk that has them", *_smaller(wanted, free)]
        raise ValueError(
            f"cache={cache}: decoded images take {in_words(needed)} ({needed:,} bytes), {in_words(free)} "
            f"({free:,}) are free there; set {', or '.join(ways)}"
        )


def _smaller(wanted: Sequence[Store], free: int) -> list[str]:
    """A side that holds every network and fits, where there is one."""
    side = max(store.pixels for store in wanted)
    decoded = [store for store in wanted if not store.there and not store.data.embedded]
    if not decoded or len(decoded) < sum(not store.there for store in wanted):
        return []
    fits = 3 * side**2 * sum(store.images or 0 for store in decoded) <= free
    less = all(side < store.data.side for store in decoded)
    return [f"data.stored={side}"] if fits and less else []


def room(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def in_words(count: float) -> str:
    """Bytes, as people say them: powers of a thousand."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {UNITS[unit]}" if count < 999.5 else f"{count:,.0f} {UNITS[unit]}"
