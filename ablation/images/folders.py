"""What lies in a folder of one's own: images by class and split, by rules of ours, and what is left out and
why.

A folder holds class folders, with or without split folders above them; or images that a table names
(labels.csv, metadata.csv: see tables). Links are followed. Parquet files: see parquet.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ablation.images.labels import Label, Labelled, Table, read_table
from ablation.images.pixels import SUFFIXES, looks_like_image
from ablation.runs.checks import counted, listed

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation", "dev")  # one split, by the names of several places
EVALUATION = ("test", "eval", "evaluation", "holdout", *VALIDATION)
SPLITS = (*TRAIN, *EVALUATION)
TABLES = ("labels.csv", "metadata.csv")  # the first that says which file is of which class
SYSTEM = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))
SYSTEM_FOLDERS = frozenset(("__macosx", "@eadir", "lost+found", "$recycle.bin", "__pycache__"))
OUTSIDE = "outside any class folder"
UNLABELLED = "of a split without labels"
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".zip")
WAY_OUT = "make one folder per class, or a labels.csv with the columns file and label"
# Why an entry of a folder is left out.
REASONS = {
    "system": "files of the system",
    "loop": "a link to a folder above it",
    "special": "no regular file",
}


@dataclass(frozen=True)
class Split:
    """Images of one split in the order of their rows: files relative to the folder, and the class of each."""

    name: str
    files: tuple[str, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Listing:
    """What a folder holds. evaluation: None where it is to be held out of train. labelled_by: folders, or the
    table that says. unused: images of splits that are not used. left_out: files by reason."""

    train: Split
    evaluation: Split | None
    classes: tuple[Label, ...]
    labelled_by: str = "folders"
    unused: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """Everything below a folder, by what it is: paths relative to it, sorted."""

    images: tuple[str, ...]
    tables: tuple[str, ...]
    parquet: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: Mapping[str, Sequence[str]]


@lru_cache(maxsize=16)
def files_below(folder: str) -> Files:
    """Everything below a folder; raises ValueError where a part of it cannot be read."""
    found: dict[str, list[str]] = defaultdict(list)
    left_out: dict[str, list[str]] = defaultdict(list)
    for path, kind in _walk(folder, "", frozenset()):
        if kind in REASONS:
            left_out[REASONS[kind]].append(path)
        elif kind == "other":
            suffix = PurePosixPath(path).suffix.lower()
            left_out[f"files {suffix or 'without suffix'}"].append(path)
        else:
            found[kind].append(path)
    kinds = ("image", "table", "parquet", "folder")
    return Files(*(tuple(sorted(found[kind])) for kind in kinds), left_out)


def _walk(root: str, inside: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """(relative path, kind) of everything below a folder, links followed and loops ended."""
    here = Path(root, inside).expanduser()
    try:
        about = here.stat()
        with os.scandir(here) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        why = f"{here} cannot be read ({error.strerror}); see to its permissions"
        raise ValueError(why) from None
    known = above | {(about.st_dev, about.st_ino)}
    for entry in entries:
        path = f"{inside}/{entry.name}" if inside else entry.name
        kind = _kind(entry, known)
        yield path, kind
        if kind == "folder":
            yield from _walk(root, path, known)


def _kind(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> str:
    """What an entry of a folder is; raises ValueError for a link that leads nowhere and may be a class."""
    name = entry.name.casefold()
    if name.startswith(".") or name in SYSTEM:
        return "system"
    if entry.is_dir():
        about = Path(entry.path).stat()
        seen = (about.st_dev, about.st_ino) in above
        return "system" if name in SYSTEM_FOLDERS else "loop" if seen else "folder"
    suffix = PurePosixPath(name).suffix
    if suffix in SUFFIXES and (entry.is_file() or entry.is_symlink()):
        return "image"  # and a broken one where its link leads nowhere
    if entry.is_symlink() and not entry.is_file():
        raise ValueError(f"{entry.path} is a link that leads nowhere; mend it, or take it away")
    if not entry.is_file():
        return "special"
    if not suffix and looks_like_image(Path(entry.path)):
        return "image"
    return "parquet" if suffix == ".parquet" else "table" if name in TABLES else "other"


def read_folder(
    path: str, train: str = "train", evaluation: str | None = None, label: str | None = None
) -> Listing:
    """Images of a folder by split and class.

    train, evaluation: names of the splits, as stated; label: the column of a table. Raises ValueError, in one
    line with what to do, where the folder leaves open what is a class, a split, or a label.
    """
    files = files_below(path)
    try:
        if not files.images:
            raise ValueError(_nothing(files))
        tables = _tables(path, files, label)
        stated = (train, evaluation)
        found = _by_tables(tables, files, stated) if tables else _by_folders(files, stated)
        return _chosen(found, files, train, evaluation)
    except ValueError as error:
        raise ValueError(f"data.path={path}: {error}") from None


def _nothing(files: Files) -> str:
    archives = [path for path in _entries(files) if PurePosixPath(path).suffix in ARCHIVES]
    if archives:
        return (
            f"{listed(archives, 2)}: archives are not read; unpack them into one folder of images per class "
            "(docs/data.md has the commands for ImageNet's, and for WebDataset shards)"
        )
    only = listed([f"{why} ({len(paths)})" for why, paths in files.left_out.items()])
    return (
        f"no image lies there{only and f', only {only}'}; it should hold Parquet files, or one folder of "
        "images per class"
    )


def _entries(files: Files) -> list[str]:
    """Paths of all that is left out."""
    return [path for paths in files.left_out.values() for path in paths]


@dataclass(frozen=True)
class Found:
    """Images by split, each with its class; "" names the one split of a folder without any. left_out: images
    by reason."""

    splits: Mapping[str, Sequence[Labelled]]
    left_out: Mapping[str, Sequence[str]]
    labelled_by: str = "folders"


def is_split(name: str, stated: Sequence[str | None] = ()) -> bool:
    """Whether a folder or file of this name may hold a split."""
    return name.casefold() in SPLITS or name in stated


def _tables(path: str, files: Files, label: str | None) -> list[Table]:
    """The table of labels of a folder, or one of each split folder; none where folders are to say. Raises
    ValueError where the stated column is in none."""
    folder = Path(path).expanduser()
    tops = _by_top(files.images)
    split = [top for top in tops if is_split(top)]
    called = {table.casefold(): table for table in files.tables}
    for places in ([""], [f"{top}/" for top in split]):
        names = [f"{place}{name}" for place in places for name in TABLES]
        there = [called[name.casefold()] for name in names if name.casefold() in called]
        read = [read_table(folder, name, _beside(name, files.images), label) for name in there]
        tables = {table.name.rpartition("/")[0]: table for table in reversed(read) if table}
        if tables:
            return [tables[place] for place in sorted(tables)]
    if label and files.tables:
        raise ValueError(
            f"data.label={label}: {files.tables[0]} has no such column beside one of files"
        )
    return []


def _beside(table: str, images: Sequence[str]) -> list[str]:
    """The images in the folder of a table."""
    above = table.rpartition("/")[0]
    return [image for image in images if not above or image.startswith(f"{above}/")]


def _by_tables(tables: Sequence[Table], files: Files, stated: Sequence[str | None]) -> Found:
    """Images that tables name; their split is what a column says, or their split folder."""
    rows = [row for table in tables for row in table.rows]
    said = [split for table in tables for split in table.splits]
    tops = [image.split("/")[0] if "/" in image else "" for image, _ in rows]
    names = said if any(said) else tops
    if not all(is_split(name, stated) for name in names):
        if any(said):
            other = next(name for name in said if not is_split(name, stated))
            raise ValueError(
                f"{tables[0].name}: split {other or 'left empty'} is none of {listed(SPLITS)}; correct it, "
                "or data.train=... and data.evaluation=... say which splits"
            )
        names = [""] * len(rows)
    splits: dict[str, list[Labelled]] = defaultdict(list)
    for name, row in zip(names, rows, strict=True):
        splits[name].append(row)
    named = {image for image, _ in rows}
    others = [image for image in files.images if image not in named]
    source = listed([table.name for table in tables])
    return Found(splits, _reasons(f"not in {source}", others), source)


def _by_folders(files: Files, stated: Sequence[str | None]) -> Found:
    """Class folders, with or without split folders above them.

    A folder is a split only where every folder beside it is one and class folders lie below it: among other
    classes, `train` is a class.
    """
    tops = _by_top(files.images)
    loose = tops.pop("", [])
    if not tops:
        raise ValueError(
            f"{counted(len(loose), 'image')} in no class folder, and no labels.csv says what they show; "
            f"{WAY_OUT}"
        )
    if not all(is_split(top, stated) for top in tops):
        return Found({"": _classed(files.images, 0)}, _reasons(OUTSIDE, loose))
    labelled = [top for top, images in tops.items() if any(_depth(image) > 1 for image in images)]
    if not labelled:
        raise ValueError(
            f"{listed(sorted(tops))} hold images without class folders, so without labels; {WAY_OUT}"
        )
    without = [image for top in tops if top not in labelled for image in tops[top]]
    stray = [image for top in labelled for image in tops[top] if _depth(image) == 1]
    splits = {top: _classed(tops[top], 1) for top in labelled}
    return Found(splits, _reasons(OUTSIDE, loose + stray) | _reasons(UNLABELLED, without))


def _by_top(paths: Sequence[str]) -> dict[str, list[str]]:
    """Paths by their first folder, "" for those in none."""
    tops: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        top, inside, _ = path.partition("/")
        tops[top if inside else ""].append(path)
    return tops


def _depth(path: str) -> int:
    """Folders that a path leads through."""
    return path.count("/")


def _classed(images: Sequence[str], level: int) -> list[Labelled]:
    """Images with the folder of that level as their class; é is é, however a system writes it."""
    return [
        (image, unicodedata.normalize("NFC", image.split("/")[level]))
        for image in images
        if _depth(image) > level
    ]


def _reasons(why: str, paths: Sequence[str]) -> dict[str, Sequence[str]]:
    return {why: paths} if paths else {}


def _chosen(found: Found, files: Files, train: str, evaluation: str | None) -> Listing:
    """The splits that are used, and the classes, which both must have."""
    first, second = split_names(list(found.splits), train, evaluation)
    splits = {
        name: _split(name, found.splits[name]) for name in (first, second) if name is not None
    }
    if found.labelled_by == "folders":
        for name in splits:
            _refuse_empty(name, splits[name], files)
    classes = _classes(list(splits.values()))
    unused = {name: len(rows) for name, rows in found.splits.items() if name not in splits}
    return Listing(
        splits[first],
        None if second is None else splits[second],
        classes,
        found.labelled_by,
        unused,
        {**found.left_out, **files.left_out},
    )


def split_names(
    present: Sequence[str], train: str, evaluation: str | None
) -> tuple[str, str | None]:
    """Which of the splits that are present train, and which evaluate, None where none does.

    Raises ValueError where the split that trains, or the one that is stated, is not among them.
    """
    if list(present) == [""]:
        _refuse_stated(train, evaluation)
        return "", None
    trains = _named(present, TRAIN if train == "train" else (train,))
    if trains is None:
        raise ValueError(
            f"no split {train} among {listed(sorted(present))}; say which trains, data.train=..."
        )
    rest = [name for name in present if name != trains]
    same = VALIDATION if evaluation in VALIDATION else ()
    evaluates = _named(rest, (evaluation, *same) if evaluation else EVALUATION)
    if evaluation and evaluates is None:
        raise ValueError(
            f"no split {evaluation} to evaluate on beside {trains}, only {listed(sorted(rest)) or 'it'}; "
            "set data.evaluation=..., or null"
        )
    return trains, evaluates


def _refuse_stated(train: str, evaluation: str | None) -> None:
    for key, stated in (("train", train), ("evaluation", evaluation)):
        if stated not in (None, "train"):
            raise ValueError(
                f"data.{key}={stated}: there are no split folders, only classes; leave it out"
            )


def _named(present: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of the names wanted that is present: exactly so, else in any case."""
    for name in wanted:
        same = sorted(other for other in present if other.casefold() == name.casefold())
        if same:
            return name if name in same else same[0]
    return None


def _split(name: str, rows: Sequence[Labelled]) -> Split:
    images, labels = zip(*rows, strict=True)
    return Split(name, images, labels)


def _refuse_empty(name: str, split: Split, files: Files) -> None:
    """Raises ValueError for a class folder without an image."""
    above = f"{name}/" if name else ""
    level = _depth(above)
    held = {image.split("/")[level] for image in split.files}
    for folder in files.folders:
        if (
            folder.startswith(above)
            and _depth(folder) == level
            and folder[len(above) :] not in held
        ):
            inside = f"{folder}/"
            instead = {
                why: sum(path.startswith(inside) for path in paths)
                for why, paths in files.left_out.items()
            }
            only = listed([f"{why} ({count})" for why, count in instead.items() if count])
            raise ValueError(
                f"the class folder {folder} holds no image{only and f', only {only}'}; put images there, "
                "or take it away"
            )


def _classes(splits: Sequence[Split]) -> tuple[Label, ...]:
    """Sorted classes; raises ValueError where there is one alone, or a split lacks one."""
    every = sorted({label for split in splits for label in split.labels})
    if len(every) < 2:
        raise ValueError(
            f"one class alone, {every[0]}: nothing to tell apart; give the folder that holds the class "
            "folders"
        )
    for split in splits:
        held = set(split.labels)
        lacking = [label for label in every if label not in held]
        if lacking:
            raise ValueError(
                f"the class {lacking[0]} has no image in {split.name}; every split needs every class, or "
                "data.train=... and data.evaluation=... say which splits"
            )
    return tuple(every)
