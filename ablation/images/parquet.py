"""Parquet files in a folder: which split and configuration each belongs to, and their columns, as Hugging
Face `datasets` writes them."""

import fnmatch
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from ablation.images.folders import is_split, split_names
from ablation.runs.checks import first_line, listed

NUMBERED = re.compile(
    r"[-_.]?\d+([-_]of[-_]\d+)?$"
)  # what follows the name of a split in that of a file
CARD = "README.md"  # of a data set of the hub; its head may name configurations
AT_ONCE = 64  # rows that are read in one piece

Encoded = tuple[str, Callable[[], bytes]]


@dataclass(frozen=True)
class Parquet:
    """Rows of one split. files: relative to the folder, in the order of their rows; image, label: its
    columns."""

    folder: Path
    name: str
    files: tuple[str, ...]
    image: str
    label: str

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        import pyarrow.parquet

        return sum(
            pyarrow.parquet.read_metadata(self.folder / file).num_rows for file in self.files
        )

    @cached_property
    def values(self) -> list[Any]:
        """The label column."""
        import pyarrow.parquet

        tables = [
            pyarrow.parquet.read_table(self.folder / file, columns=[self.label])
            for file in self.files
        ]
        return [value for table in tables for value in table.column(0).to_pylist()]

    @property
    def names(self) -> Sequence[str] | None:
        """Of the classes, where the column has them."""
        return _features(self.folder / self.files[0]).get(self.label, {}).get("names")

    def encoded(self, rows: np.ndarray) -> Iterator[Encoded]:
        """The name and the bytes of images in ascending rows."""
        wanted = frozenset(rows.tolist())
        each = (images_in(self.folder / file, self.image) for file in self.files)
        for row, (name, read) in enumerate(itertools.chain.from_iterable(each)):
            if row in wanted:
                yield f"{name} (row {row})".strip(), read


def images_in(path: Path, column: str) -> Iterator[Encoded]:
    """The name and the bytes of every image of a file; raises ValueError, naming it, where it is damaged."""
    for value in _values(path, column):
        yield _name(value), lambda value=value: _bytes(value, path.parent)


def _values(path: Path, column: str) -> Iterator[Any]:
    """A column of a file, value by value."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(AT_ONCE, columns=[column]):
                yield from batch.column(0).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise _not_whole(path, error) from error


def _name(value: Any) -> str:
    return str(value.get("path") or "") if isinstance(value, dict) else ""


def _bytes(value: Any, beside: Path) -> bytes:
    """Of an image as a column holds it: bytes, or a mapping with bytes or a path."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes"):
        return value["bytes"]
    if isinstance(value, dict) and value.get("path"):
        return (beside / value["path"]).read_bytes()
    raise ValueError("no image in this row")


def read_parquet(
    folder: Path,
    files: Sequence[str],
    train: str,
    evaluation: str | None,
    subset: str | None,
    image: str | None,
    label: str | None,
) -> tuple[Parquet, Parquet | None, dict[str, int]]:
    """The split that trains, the one that evaluates or None, and how many files others have.

    Raises ValueError, in one line with what to do, for a file cut short, several configurations of which none
    is chosen, a file that belongs to no split, and columns that cannot be told.
    """
    splits = _splits(folder, files, (train, evaluation), subset)
    first, second = split_names(list(splits), train, evaluation)
    for file in [*splits[first], *(splits[second] if second is not None else ())]:
        _check(folder / file)
    features = _features(folder / splits[first][0])
    kinds = {name: feature.get("_type") for name, feature in features.items()}
    chosen = columns(kinds, image, label)
    trains = Parquet(folder, first or "train", tuple(splits[first]), *chosen)
    evaluates = None if second is None else Parquet(folder, second, tuple(splits[second]), *chosen)
    unused = {name: len(found) for name, found in splits.items() if name not in (first, second)}
    return trains, evaluates, unused


def _check(path: Path) -> None:
    import pyarrow.parquet

    try:
        pyarrow.parquet.read_metadata(path)
    except Exception as error:
        raise _not_whole(path, error) from error


def _not_whole(path: Path, error: Exception) -> ValueError:
    why = first_line(error).rstrip(".")
    return ValueError(f"{path} is not a whole Parquet file ({why}); copy it again")


def _splits(
    folder: Path, files: Sequence[str], stated: Sequence[str | None], subset: str | None
) -> dict[str, list[str]]:
    """Files by split: as the card says, or by the names of files and folders."""
    told = _told_by_card(folder, files)
    named = told or _by_name(files, stated)
    names = sorted(named)
    chosen = subset if subset is not None else names[0] if len(names) == 1 else None
    if told and chosen is None and "default" in told:
        chosen = "default"
    if chosen is None:
        raise ValueError(
            f"it holds several configurations, {listed(names)}; choose one, data.subset={names[0]}"
        )
    if chosen not in named:
        if subset is not None and names == [""]:
            return named[""]  # a clone of that configuration alone
        raise ValueError(f"data.subset={chosen}: no such configuration; there are {listed(names)}")
    return named[chosen]


def _by_name(files: Sequence[str], stated: Sequence[str | None]) -> dict[str, dict[str, list[str]]]:
    """Files by configuration and split. A file's split is its name without numbers, else a folder above it;
    other folders above it are the configuration, `data` alone is none."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        path = PurePosixPath(file)
        own = NUMBERED.sub("", path.stem)
        above = [part for part in path.parts[:-1] if not is_split(part, stated)]
        split_folders = [part for part in path.parts[:-1] if is_split(part, stated)]
        splits = [*([own] if is_split(own, stated) else []), *reversed(split_folders)]
        configuration = "/".join(above)
        found["" if configuration == "data" else configuration][splits[0] if splits else ""].append(
            file
        )
    for splits_of in found.values():
        if "" in splits_of and len(splits_of) > 1:
            raise ValueError(
                f"{splits_of[''][0]} belongs to no split, beside {listed(sorted(set(splits_of) - {''}))}; "
                "rename it like them, or take it away"
            )
    return found


def _told_by_card(folder: Path, files: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Configurations as the head of a data set's card names them; none where it names none."""
    try:
        told = _card(folder).get("configs") or []
        found = {str(each.get("config_name", "default")): _of_card(each, files) for each in told}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / CARD}: its configs cannot be read ({error}); correct or remove them"
        ) from None
    return {name: splits for name, splits in found.items() if splits}


def _of_card(configuration: Mapping[str, Any], files: Sequence[str]) -> dict[str, list[str]]:
    """Files by split of one configuration."""
    folder = configuration.get("data_dir")
    patterns = configuration.get("data_files")
    if patterns is None:
        inside = [file for file in files if file.startswith(f"{folder}/")] if folder else files
        return next(iter(_by_name(inside, ()).values()), {})
    splits: dict[str, list[str]] = defaultdict(list)
    for row in [patterns] if isinstance(patterns, str | Mapping) else patterns:
        split, wanted = (row["split"], row["path"]) if isinstance(row, Mapping) else ("train", row)
        for path in [wanted] if isinstance(wanted, str) else wanted:
            splits[str(split)] += [file for file in files if _matches(file, path)]
    return {split: sorted(set(there)) for split, there in splits.items() if there}


def _matches(file: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(file, pattern.removeprefix("./").replace("**/", "*"))


def _card(folder: Path) -> dict[str, Any]:
    """The head of README.md, empty where there is none."""
    try:
        head = (folder / CARD).read_text(encoding="utf-8").split("---\n")
        content = yaml.safe_load(head[1]) if len(head) > 2 and not head[0].strip() else {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _features(path: Path) -> dict[str, Any]:
    """Columns as `datasets` describes them in a file's metadata; those it does not are empty."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    stored = (schema.metadata or {}).get(b"huggingface", b"{}")
    described = json.loads(stored).get("info", {}).get("features", {})
    return {name: described.get(name, {}) for name in schema.names}


def columns(
    kinds: Mapping[str, str | None], image: str | None, label: str | None
) -> tuple[str, str]:
    """Names of the image and the label column: as stated, or the only ones of their type. kinds: the type of
    each column, as `datasets` calls it."""
    found = []
    for role, stated, kind in (("image", image, "Image"), ("label", label, "ClassLabel")):
        names = [name for name, each in kinds.items() if each == kind]
        column = names[0] if stated is None and len(names) == 1 else stated
        if column not in kinds:
            raise ValueError(
                f"no single {role} column among {', '.join(kinds)}; set data.{role}=..."
            )
        found.append(column)
    return found[0], found[1]
