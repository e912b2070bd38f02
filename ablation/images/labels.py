"""Labels: words or numbers, from a table beside the images or a column, as numbers from 0."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ablation.runs.checks import counted, listed

Label = str | int
Labelled = tuple[str, Label]
# Columns of a table, the first that it has.
FILES = ("file_name", "filename", "file", "image_path", "filepath", "path", "image", "name", "id")
LABELS = ("label", "class", "category", "target", "labels", "class_name")
WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Table:
    """Files with their labels; split: of each, where a column says so, else ""."""

    name: str
    rows: Sequence[Labelled]
    splits: Sequence[str]


def read_table(folder: Path, name: str, images: Sequence[str], label: str | None) -> Table | None:
    """A table of labels, None where no column of it is one of files, or none of labels.

    name, images: relative to the folder. Raises ValueError, naming the row, for a file that is not there or
    comes twice, and for a row without a label.
    """
    rows = _read(folder / name)
    columns = {column.strip().casefold(): column for column in (rows[0] if rows else {}) if column}
    place = _Place(name, images)
    of_files = _column_of_files(rows, columns, place)
    of_labels = _column_of_labels(columns, of_files, label)
    if of_files is None or of_labels is None:
        return None
    found = [place.of(row[of_files]) for row in rows]
    _refuse_rows(name, [row[of_files] for row in rows], found)
    words = [(row[of_labels] or "").strip() for row in rows]
    if "" in words:
        raise ValueError(f"{name}: row {words.index('') + 1} has no {of_labels}; fill it in")
    labels: list[Label] = [int(word) for word in words] if _whole(words) else list(words)
    split = columns.get("split")
    splits = [(row[split] or "").strip() if split else "" for row in rows]
    ordered = sorted(zip(found, labels, splits, strict=True), key=lambda row: str(row[0]))
    return Table(
        name,
        [(str(path), each) for path, each, _ in ordered],
        [each for _, _, each in ordered],
    )


def _read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, whatever separates its columns."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path.name} cannot be read as UTF-8 text ({error}); save it as that"
        ) from error
    try:
        dialect: Any = csv.Sniffer().sniff(text.split("\n")[0], delimiters=",;\t|")
    except csv.Error:
        dialect = "excel"
    return list(csv.DictReader(text.splitlines(), dialect=dialect, restval=""))


class _Place:
    """Where an image lies that a table calls by its path, its name, or its name without suffix."""

    def __init__(self, table: str, images: Sequence[str]) -> None:
        self.beside = table.rpartition("/")[0]
        self.images = frozenset(images)
        self.names = _unique((PurePosixPath(image).name, image) for image in images)
        self.stems = _unique((PurePosixPath(image).stem, image) for image in images)

    def of(self, value: str | None) -> str | None:
        """Relative to the folder; None where no image is called so, or several are."""
        text = (value or "").strip().replace("\\", "/").removeprefix("./")
        for path in (f"{self.beside}/{text}", text):
            if path.removeprefix("/") in self.images:
                return path.removeprefix("/")
        return self.names.get(text) or self.stems.get(text)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those whose key comes once."""
    pairs = list(pairs)
    counts = Counter(key for key, _ in pairs)
    return {key: value for key, value in pairs if counts[key] == 1}


def _column_of_files(
    rows: Sequence[Mapping[str, str]], columns: Mapping[str, str], place: _Place
) -> str | None:
    """The first column, of those usually called so before others, one of whose values is an image."""
    usual = [columns[name] for name in FILES if name in columns]
    for column in [*usual, *(other for other in columns.values() if other not in usual)]:
        if any(place.of(row[column]) for row in rows):
            return column
    return None


def _column_of_labels(
    columns: Mapping[str, str], files: str | None, stated: str | None
) -> str | None:
    """The stated column, the one usually called so, or the only one beside the files."""
    if stated:
        return columns.get(stated.casefold())
    usual = [columns[name] for name in LABELS if name in columns]
    others = [column for name, column in columns.items() if column != files and name != "split"]
    return usual[0] if usual else others[0] if len(others) == 1 else None


def _refuse_rows(name: str, given: Sequence[str], found: Sequence[str | None]) -> None:
    absent = [value for value, path in zip(given, found, strict=True) if path is None]
    if absent:
        raise ValueError(
            f"{name}: {len(absent)} of {counted(len(given), 'file')} not there, {listed(absent)}; correct "
            "the table, or add what is missing"
        )
    twice = [str(path) for path, count in Counter(found).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: {listed(twice)} comes twice; leave one row of each")


def _whole(words: Iterable[str]) -> bool:
    """Whether every word is a whole number."""
    return all(WHOLE.fullmatch(word) for word in words)


def coded(
    columns: Sequence[Sequence[Any]], classes: int | None, names: Sequence[str] | None = None
) -> tuple[list[np.ndarray], tuple[Label, ...]]:
    """Labels of each split as int64 from 0, -1 where there is none, and the classes that they stand for.

    names: of the classes, where the column states them. Whole numbers below `classes` stand for themselves;
    other numbers, and words, for their place among all that occur.
    """
    plain = [[_plain(value) for value in column] for column in columns]
    held = sorted({value for column in plain for value in column if value is not None}, key=_order)
    if names is not None:
        places: dict[Label, int] = {number: number for number in range(len(names))}
        called: Sequence[Label] = names
    elif _own_numbers(held, classes):
        called = range(max([classes or 0, *(int(value) + 1 for value in held)]))
        places = {number: int(number) for number in called}
    else:
        called = held
        places = {value: place for place, value in enumerate(held)}
    return [_places(column, places) for column in plain], tuple(called)


def _own_numbers(held: Sequence[Label], classes: int | None) -> bool:
    """Whether labels are numbers that count from 0 up, or that leave no other reading."""
    if not all(isinstance(value, int) for value in held):
        return False
    dense = list(held) == list(range(len(held)))
    return dense or classes not in (None, len(held))


def _plain(value: Any) -> Label | None:
    """A label as a word or whole number; None for none."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str) else int(value) if isinstance(value, int) else str(value)


def _order(value: Label) -> tuple[int, str]:
    """Numbers before words."""
    return (value, "") if isinstance(value, int) else (0, value)


def _places(column: Sequence[Label | None], places: Mapping[Label, int]) -> np.ndarray:
    """Of a column, as int64: -1 for no label; a number that is no class stays, to be refused by name."""
    found = []
    for value in column:
        other = value if isinstance(value, int) else -1
        found.append(-1 if value is None else places.get(value, other))
    return np.array(found, dtype=np.int64)
