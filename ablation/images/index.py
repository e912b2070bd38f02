"""What the files of a folder are, read once: a digest of each one's bytes and the sides of its images, kept
beside the cache until the file changes."""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ablation.images.parquet import Encoded, images_in
from ablation.images.pixels import is_deep, opened
from ablation.runs.checks import first_line
from ablation.runs.config import digest
from ablation.runs.files import slug, write_json

MANY = 2000  # files, from which on a progress bar tells how far it is


@dataclass(frozen=True)
class Fact:
    """About one file. digest: of its bytes; size: how many. sides: width and height of each image in it, None
    where its header cannot be read; faults: why, by row. deep: images of more than 8 bits."""

    digest: str
    sides: tuple[tuple[int, int] | None, ...]
    faults: Mapping[str, str]
    deep: int = 0
    size: int = 0


def facts(
    folder: Path, files: Sequence[str], cache: Path, limit: int, column: str = ""
) -> dict[str, Fact]:
    """Facts about files of a folder, read where the index has none, or older ones, of them. limit: pixels of
    one image; column: of images, in Parquet files."""
    path = (
        cache / "index" / f"{slug(folder.resolve().name)[:40]}-{_key(folder, limit, column)}.json"
    )
    known = _known(path)
    stamps = {file: _stamp(folder / file) for file in files}
    same = [file for file in files if known.get(file, {}).get("stamp") == stamps[file]]
    found = {file: _fact(known[file]) for file in same}
    fresh = [file for file in files if file not in found]
    if fresh:
        found |= dict(zip(fresh, _read(folder, fresh, limit, column), strict=True))
        kept = {file: {"stamp": stamps[file], **dataclasses.asdict(found[file])} for file in files}
        with suppress(OSError):  # a cache that cannot be written costs time, no more
            write_json(path, kept, indent=None)
    return found


def _key(folder: Path, limit: int, column: str) -> str:
    return digest([str(folder.resolve()), limit, column])


def _known(path: Path) -> dict[str, Any]:
    """The index as it was left; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {file: row for file, row in found.items() if row["digest"] and row["stamp"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _fact(row: Mapping[str, Any]) -> Fact:
    sides = tuple(None if side is None else (side[0], side[1]) for side in row["sides"])
    return Fact(row["digest"], sides, row["faults"], row["deep"], row["stamp"][0])


def _stamp(path: Path) -> list[int]:
    """Changes whenever a file is written; [] for one that is not there."""
    try:
        about = path.stat()
    except OSError:
        return []
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _read(folder: Path, files: Sequence[str], limit: int, column: str) -> list[Fact]:
    """In threads: reading, hashing and opening a header all release the interpreter lock."""

    def one(file: str) -> Fact:
        path = folder / file
        return _of_parquet(path, column, limit) if column else _of_image(path, limit)

    with ThreadPoolExecutor(os.cpu_count()) as pool, _progress(len(files)) as seen:
        return list(seen(pool.map(one, files)))


@contextmanager
def _progress(count: int) -> Iterator[Callable[[Iterable[Fact]], Iterable[Fact]]]:
    """A bar on a terminal, where there are many files."""
    if count < MANY or not sys.stderr.isatty():
        yield iter
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield lambda each: track(each, "reading images", count, console=console, transient=True)


def _of_image(path: Path, limit: int) -> Fact:
    try:
        encoded = path.read_bytes()
    except OSError as error:
        return Fact(f"none: {error.strerror}", (None,), {"0": str(error.strerror)})
    hashed = xxhash.xxh3_128_hexdigest(encoded)
    return _about(hashed, [("", lambda: encoded)], limit, len(encoded))


def _of_parquet(path: Path, column: str, limit: int) -> Fact:
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, xxhash.xxh3_128)
    return _about(hashed.hexdigest(), images_in(path, column), limit, path.stat().st_size)


def _about(hashed: str, images: Iterable[Encoded], limit: int, size: int) -> Fact:
    sides: list[tuple[int, int] | None] = []
    faults = {}
    deep = 0
    for row, (_, read) in enumerate(images):
        try:
            with opened(read(), limit) as picture:
                sides.append(picture.size)
                deep += is_deep(picture)
        except Exception as error:  # whatever a codec raises
            sides.append(None)
            faults[str(row)] = first_line(error)
    return Fact(hashed, tuple(sides), faults, deep, size)
