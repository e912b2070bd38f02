"""Which images a plan reads, how many bytes of them have to be stored, and whether the disk has room."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.images.cache import counts, place
from ablation.images.embedded import embedded
from ablation.images.encoded import packed_bytes
from ablation.images.survey import Survey
from ablation.runs.arms import Planned
from ablation.runs.config import Data
from ablation.runs.pace import Pace, last_pace
from ablation.runs.resized import resized

UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Store:
    """The images of one data set as runs read them. images: in all, None where that is not known before it is
    opened. there: whether they are decoded, or looked at where they stay encoded. pixels: input side of the
    largest network that reads them. grown: whether for its sake they are stored larger than is stated.
    encoded: whether they stay as they came; packed: bytes of them that are copied. read: bytes of their
    files, None where that is not known; pace: at which images were decoded last in this way."""

    data: Data
    folder: Path
    images: int | None
    there: bool
    pixels: int
    grown: bool = False
    encoded: bool = False
    packed: int = 0
    read: int | None = None
    pace: Pace | None = None

    @property
    def takes(self) -> int:
        """Bytes of all of them on the disk; 0 where that is not known."""
        return self.packed if self.encoded else self.each * (self.images or 0)

    @property
    def each(self) -> int:
        """Bytes of one decoded image."""
        return 3 * self.data.side**2

    @property
    def bytes(self) -> int:
        """Still to be written; 0 where that is not known."""
        return 0 if self.there else self.takes

    @property
    def decodes(self) -> bool:
        """Whether files are still to be decoded for it."""
        return not (self.there or self.encoded or self.data.embedded)

    def __str__(self) -> str:
        """In one line."""
        return self._kept + ("" if self.there or self.data.embedded else f"; {self._decoding}")

    @property
    def _decoding(self) -> str:
        """How long it takes until all are decoded once, or what is missing to say so."""
        if self.read is None:
            return "how long decoding takes is known once the set is opened"
        if self.pace is None:
            return "how long decoding takes is known once a set was decoded so here"
        took = duration(self.read / self.pace.rate)
        rate = f"{in_words(self.pace.rate)} of files a second"
        return f"decoding: about {took}, at {rate}, as {self.pace.name} was on {self.pace.measured[:10]}"

    @property
    def _kept(self) -> str:
        """What is stored, and where."""
        if self.encoded and not self.packed:
            return f"to read: {self._count} as they came, decoded while training; nothing is stored"
        side = f"{self.data.side} px"
        why = f", for the network of {self.pixels} px" if self.grown else ""
        if self.images is None:
            each = f"{in_words(self.each)} an image; how many is known once the set is opened"
            return f"to store: {self.data.name} at {side}{why}, {each}"
        how = "as they came" if self.encoded else f"at {side}{why}"
        takes = f"{self._count} {how}, {in_words(self.takes)}"
        if self.there:
            smaller = sum(file.stat().st_size for file in resized(self.folder).glob("*.npy"))
            beside = f", and {in_words(smaller)} resized from them" if smaller else ""
            return f"stored: {takes}{beside}, in {self.folder}"
        free = in_words(room(self.folder.parent))
        return f"to store: {takes}, in {self.folder.parent}, where {free} are free"

    @property
    def _count(self) -> str:
        known = self.images is not None
        return f"{self.images:,} images" if known else f"the images of {self.data.name}"


def stores(needed: Iterable[tuple[Planned, Survey]], cache: Path) -> list[Store]:
    """What the runs of a plan read, each data set once for each way in which it is read."""
    surveys: dict[tuple[Data, bool], Survey] = {}
    largest: dict[tuple[Data, bool], int] = {}
    for entry, survey in needed:
        key = entry.run.data, entry.run.recipe.from_original
        surveys[key] = survey
        largest[key] = max(largest.get(key, 0), entry.run.network.pixels)
    found: dict[Path, Store] = {}
    for (data, encoded), survey in surveys.items():
        folder = place(data, cache, encoded)
        before = found.get(folder)
        pixels = max(largest[data, encoded], before.pixels if before else 0)
        looked = counts(folder)
        images = sum(looked.values()) if looked else _images(data, survey)
        grown = not encoded and data.side > survey.data.side
        packed = packed_bytes(data) if encoded else 0
        pace = last_pace(cache, "listing" if encoded else "decode")
        about = (packed, survey.bytes, pace)
        found[folder] = Store(data, folder, images, bool(looked), pixels, grown, encoded, *about)
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
    """Raises ValueError where a disk has less room than images will take."""
    needed, free = sum(store.bytes for store in wanted), room(cache)
    if needed > free:
        decodes = any(store.decodes for store in wanted)
        unstored = ["recipe.crop_from=original, which decodes while training"] if decodes else []
        ways = ["cache=FOLDER on a disk that has them", *unstored, *_smaller(wanted, free)]
        what = "encoded images" if all(store.encoded for store in wanted) else "decoded images"
        raise ValueError(
            f"cache={cache}: {what} take {in_words(needed)} ({needed:,} bytes), {in_words(free)} "
            f"({free:,}) are free there; set {', or '.join(ways)}"
        )


def _smaller(wanted: Sequence[Store], free: int) -> list[str]:
    """A side that holds every network and fits, where there is one."""
    side = max(store.pixels for store in wanted)
    decoded = [store for store in wanted if store.decodes]
    if not decoded or len(decoded) < sum(not store.there for store in wanted):
        return []
    fits = 3 * side**2 * sum(store.images or 0 for store in decoded) <= free
    less = all(side < store.data.side for store in decoded)
    return [f"data.stored={side}"] if fits and less else []


def room(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def in_words(count: float) -> str:
    """Bytes, as people say them: powers of a thousand."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {UNITS[unit]}" if count < 999.5 else f"{count:,.0f} {UNITS[unit]}"
