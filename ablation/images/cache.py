"""Decoded images on disk, or what is known of images that stay encoded: each data set once, found again by
what decides its content, and split in three."""

import hashlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from filelock import FileLock

from ablation.images.decoding import decode, progress_of, render
from ablation.images.embedded import embedded, of_kind
from ablation.images.encoded import listing
from ablation.images.sources import drawn
from ablation.runs.checks import counted
from ablation.runs.config import Data, digest
from ablation.runs.files import set_aside, slug, unwritten, write_json
from ablation.runs.pace import note_pace

log = logging.getLogger(__name__)
DECODER = 2  # raised when the same files decode to other pixels
LISTING = 1  # raised when something else is to be known of images that stay encoded
BOOT = Path("/proc/sys/kernel/random/boot_id")
# What decides how a data set is decoded, besides which images it is.
DECISIVE = (
    *("name", "subset", "files", "classes", "native", "image", "label", "train", "evaluation"),
    *("upsample", "draw", "background", "skip_broken", "pixel_limit", "stored"),
)

Fill = Callable[[Data, Path], Mapping[str, Any]]  # a folder from a data set; what there is to say


@dataclass(frozen=True)
class Sizes:
    """Images of each split of a data set."""

    train: int
    validation: int
    evaluation: int

    @property
    def total(self) -> int:
        """Of all splits."""
        return self.train + self.validation + self.evaluation


def sizes(data: Data, cache: Path) -> Sizes | None:
    """Images of each split, as far as they are known without decoding any: None where the data set decides
    and is not decoded yet."""
    made = embedded(data)
    known = counts(place(data, cache)) or counts(place(data, cache, encoded=True))
    known = known or (made.SIZES if made else {})
    own = {source: len(of_kind(data, count)) for source, count in known.items()}
    train = data.train_size or (own["train"] - data.validation_size if own else None)
    evaluation = data.evaluation_size or own.get("evaluation")
    return Sizes(train, data.validation_size, evaluation) if train and evaluation else None


def check_sizes(data: Data, counts: Mapping[str, int]) -> Sizes:
    """Images of each split of a data set of so many; raises ValueError where fewer are there than are asked
    for."""
    left = counts["train"] - data.validation_size
    wanted = data.train_size or left
    if not 0 < wanted <= left:
        raise ValueError(
            f"data.train_size={data.train_size}, data.validation_size={data.validation_size}: {data.name} "
            f"has {counts['train']} training images in all; ask for fewer"
        )
    if (data.evaluation_size or 0) > counts["evaluation"]:
        raise ValueError(
            f"data.evaluation_size={data.evaluation_size}: {data.name} has {counts['evaluation']} "
            "evaluation images; ask for fewer"
        )
    return Sizes(wanted, data.validation_size, data.evaluation_size or counts["evaluation"])


def counts(folder: Path) -> dict[str, int]:
    """Decoded images of each source, empty where there are none, or none that can be read."""
    if not (folder / "about.json").exists():
        return {}
    try:
        return {
            source: len(np.load(folder / f"{source}-labels.npy", mmap_mode="r"))
            for source in ("train", "evaluation")
        }
    except (OSError, ValueError, EOFError):  # damaged: decoded again when it is opened
        return {}


def _place(data: Data, cache: Path, encoded: bool = False) -> tuple[Path, dict[str, Any]]:
    """The folder of decoded images, or of what is known of encoded ones, and all that decides what is in
    it."""
    identity = data.identity()
    source = {key: value for key, value in identity.items() if key in DECISIVE}
    # The seed draws what is held out to evaluate on, where nothing else is.
    source |= {"decoder": DECODER, "seed": data.split_seed}
    if made := embedded(data):
        source["generator"] = made.VERSION
    if encoded:
        source["listing"] = LISTING
    return cache / f"{slug(Path(data.name).name)[:40]}-{digest(source)}", source


def about(data: Data, cache: Path) -> dict[str, Any]:
    """What was written down of images when they were decoded; empty where they are not decoded here."""
    path = _place(data, cache)[0] / "about.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def place(data: Data, cache: Path, encoded: bool = False) -> Path:
    """The folder that decoded images have, or will have; or that of what is known of encoded ones."""
    return _place(data, cache, encoded)[0]


def underway(folder: Path) -> tuple[int, int] | None:
    """Images that are decoded by now, and in all, where some process is filling that folder; else None."""
    return progress_of(_draft(folder))


def _draft(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.part")


def images_of(data: Data, about: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever uses a network has to know of its images, of which this is `about`: the names of classes
    in the order of labels, None where the data have none, and what is black and white in images of more than
    8 bits, where there are such."""
    made = embedded(data)
    names = list(made.NAMES) if made else about.get("classes", [])
    levels = {"levels": about["levels"]} if "levels" in about else {}
    return {"classes": names if len(names) == data.classes else None} | levels


def decoded(data: Data, cache: Path) -> Path:
    """The folder of decoded images, made once: train.npy, evaluation.npy (N, side, side, 3),
    *-labels.npy, about.json.

    Two processes that want it at the same time share the work of one. What does not fit what was written is
    named, set aside and decoded again. Raises OSError, with the folder and a way out, where it cannot be
    written.
    """
    return _filled(data, cache, *_place(data, cache), render if data.embedded else decode)


def listed(data: Data, cache: Path) -> Path:
    """The folder of what is known of images that stay encoded (see encoded.listing), made once, as the one
    of decoded images is."""
    return _filled(data, cache, *_place(data, cache, encoded=True), listing)


def _filled(data: Data, cache: Path, folder: Path, source: Mapping[str, Any], fill: Fill) -> Path:
    if _whole(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _whole(folder):
                _fill_anew(data, folder, source, fill)
    except OSError as error:
        raise unwritten(folder, error, "cache") from error
    return folder


def _fill_anew(data: Data, folder: Path, source: Mapping[str, Any], fill: Fill) -> None:
    draft = _draft(folder)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        started = time.monotonic()
        said = fill(data, draft)
        seconds = time.monotonic() - started
        files = sorted([*draft.glob("*.npy"), *draft.glob("*.bytes")])
        arrays = {file.name: _written(file) for file in files}
        digest = said.get("digest") or _content_digest(draft)
        about = {"source": source, "arrays": arrays} | said | {"digest": digest}
        write_json(draft / "about.json", about)
        stamp(draft).touch()
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if folder.exists():
        set_aside(folder)
    draft.replace(folder)
    note_pace(folder.parent, fill.__name__, data.name, said.get("read", 0), seconds)
    _tell(data, folder, said)


def _tell(data: Data, folder: Path, said: Mapping[str, Any]) -> None:
    """What there is to say about images that were decoded."""
    if said.get("broken"):
        log.warning(
            "%s: %s cannot be decoded: left out, see %s",
            *(data.name, counted(said["broken"], "image"), folder / "broken.txt"),
        )
    for kind, (black, white) in said.get("levels", {}).items():
        log.warning(
            "%s: images of more than 8 bits (%s): black is %g, white is %g",
            *(data.name, {"I": "integers", "F": "floats"}[kind], black, white),
        )


def _written(file: Path) -> tuple[int, str]:
    """Size and a fast digest of a file."""
    with file.open("rb") as content:
        hashed = hashlib.file_digest(content, xxhash.xxh3_128)
    return file.stat().st_size, hashed.hexdigest()


def _whole(folder: Path) -> bool:
    """Whether decoded images are as they were written: by size whenever they are opened, by digest once after
    each start of the machine."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        arrays = {folder / name: tuple(written) for name, written in about["arrays"].items()}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _damaged(folder / "about.json", f"cannot be read ({error})")
    for file, (size, _) in arrays.items():
        if not file.is_file() or file.stat().st_size != size:
            return _damaged(file, f"does not have the {size:,} bytes that were written")
    if stamp(folder).exists():
        return True
    for file, written in arrays.items():
        if _written(file) != written:
            return _damaged(file, "does not hold what was written")
    with suppress(OSError):  # a cache that may only be read is verified every time
        stamp(folder).touch()
    return True


def _damaged(file: Path, why: str) -> bool:
    log.warning("%s %s: the images are decoded again", file, why)
    return False


def stamp(folder: Path) -> Path:
    """The file that says that a folder was verified since this machine was started."""
    return folder / f".verified-{_boot()}"


@lru_cache(maxsize=1)
def _boot() -> str:
    """Of this start of this machine, or where it does not tell of this process."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return secrets.token_hex(8)


def choose(data: Data, folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Rows of each split, ascending: validation is drawn from the training images by split_seed, train from
    the rest."""
    labels = {
        source: np.load(folder / f"{source}-labels.npy") for source in ("train", "evaluation")
    }
    own = {source: of_kind(data, len(each)) for source, each in labels.items()}
    sizes = check_sizes(data, {source: len(rows) for source, rows in own.items()})
    order, other = (
        rows[drawn(labels[source][rows], data.split_seed, data.draw)]
        for source, rows in own.items()
    )
    held_out, rest = np.split(order, [sizes.validation])
    return {
        "train": ("train", np.sort(rest[: sizes.train])),
        "validation": ("train", np.sort(held_out)),
        "evaluation": ("evaluation", np.sort(other[: sizes.evaluation])),
    }


def _content_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.glob("*.npy")):
        array = np.load(file, mmap_mode="r")
        for start in range(0, len(array), 1024):
            total.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return total.hexdigest()[:16]


def recorded(data: Data, runs: Path, encoded: bool = False) -> Path:
    """Where the runs of a folder of records write down what these images were, as pixels or as bytes."""
    return runs / "data" / f"{digest(data.identity())}{'-encoded' if encoded else ''}.json"


def check_digest(data: Data, found: str, runs: Path, encoded: bool = False) -> None:
    """The first run in a folder of records writes down what its images were; raises ValueError where a later
    run finds others.

    The embedded set is exempt: its identity is its generator's version, and another processor may round a
    pixel otherwise.
    """
    if data.embedded:
        return
    path = recorded(data, runs, encoded)
    if not path.exists():
        write_json(path, {"name": data.name, "digest": found})
    elif (known := json.loads(path.read_text(encoding="utf-8"))["digest"]) != found:
        raise ValueError(
            f"{data.name} has changed since the records in {runs} were made (digest {found}, was {known}); "
            "set runs=... to start anew"
        )
