"""What a command is told about images before it trains: what lies in a folder, which files they are, and
whatever a run would refuse."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ablation.images.cache import Sizes, check_sizes, recorded
from ablation.images.decoding import WAY_OUT, Fault, check_labels, check_native, told
from ablation.images.index import Fact, facts
from ablation.images.parquet import Parquet
from ablation.images.sources import (
    HELD_OUT,
    SMALL,
    Images,
    Part,
    Source,
    Table,
    describe_hub,
    open_folder,
    parts_of,
)
from ablation.runs.checks import build, listed
from ablation.runs.config import EMBEDDED, Data, digest, names_and_sizes
from ablation.runs.files import write_json

VALIDATION = 0.1  # of the training images of a folder of one's own, held out for every choice
STORED = 256  # px that images of a folder of one's own are decoded to where nothing is stated
HUB_VALIDATION = 1000  # images of a hub set, where nothing is stated
# What custom.yaml leaves to the folder, as it was before it could be said.
BEFORE = {"draw": "plain", "background": None, "validation_size": HUB_VALIDATION}
NOW = {"draw": "by-class", "background": "white", "validation_size": None}


@dataclass(frozen=True)
class Survey:
    """The data of a command, complete. said: what was found, in lines; "" where nothing was opened. sizes: of
    the splits, None where the data set decides and was not opened. images: in all, which are decoded;
    bytes: of their files. own: whether crops are cut from what is stored, where the recipe leaves that
    open."""

    data: Data
    said: str = ""
    sizes: Sizes | None = None
    images: int | None = None
    bytes: int | None = None
    own: bool = False


def survey(values: Mapping[str, Any], runs: Path, cache: Path) -> Survey:
    """The fields of `Data`, some still open, completed by what lies at the path or in the hub set.

    Where digest, classes, native and sizes are all stated nothing is opened. Raises ValueError for whatever a
    run would refuse about the data.
    """
    defaults = {field.name: field.default for field in fields(Data)}
    missing = {name: None if default is MISSING else default for name, default in defaults.items()}
    return _surveyed(json.dumps(missing | dict(values), sort_keys=True), runs, cache)


@lru_cache(maxsize=16)
def _surveyed(stated: str, runs: Path, cache: Path) -> Survey:
    values = json.loads(stated)
    own = values["stored"] is not None
    found = _found(values, runs, cache)
    return replace(found, data=found.data.holding(1), own=own or found.own)


def _found(values: dict[str, Any], runs: Path, cache: Path) -> Survey:
    if values["name"] in EMBEDDED and not values["path"]:
        return Survey(build(Data, values, "data"))
    if not values["path"]:
        return Survey(_of_hub(values, runs))
    draft = _draft(values)
    if draft.files and draft.files == names_and_sizes(values["path"]) and _complete(values):
        return Survey(draft)
    return _of_folder(values, runs, cache)


def _complete(values: Mapping[str, Any]) -> bool:
    return all(values[key] is not None for key in ("classes", "native", "validation_size"))


def _draft(values: Mapping[str, Any]) -> Data:
    """Typed, with something where the folder or the hub set is still to say it."""
    standins = {"classes": 2, "native": 1, "validation_size": 1}
    still = {key: other for key, other in standins.items() if values[key] is None}
    return build(Data, {**values, **still}, "data")


def _of_hub(values: dict[str, Any], runs: Path) -> Data:
    draft = _draft(values)
    if values["classes"] is None or values["native"] is None:
        found = describe_hub(draft)
        values |= {key: found[key] for key in found if values[key] is None}
    older = _as_before(values)
    if older != values:
        stood = build(Data, older, "data")
        if recorded(stood, runs).exists():
            return stood
    if values["validation_size"] is None:
        values["validation_size"] = HUB_VALIDATION
    return build(Data, values, "data")


def _as_before(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the same words meant before draw, background and a share for validation could be said."""
    untouched = all(values[key] == now for key, now in NOW.items())
    return {**values, **(BEFORE if untouched else {})}


def _of_folder(values: dict[str, Any], runs: Path, cache: Path) -> Survey:
    draft = _draft(values)
    source = open_folder(
        *(values["path"], draft.train, draft.evaluation, draft.subset, draft.image, draft.label),
        values["classes"],
    )
    seen = [_Seen.of(table, draft, cache) for table in source.tables]
    _refuse_broken(draft, seen)
    pairs = zip(seen, source.labels, strict=True)
    content = digest([each.content(labels) for each, labels in pairs])
    values["classes"] = _classes(values, source)
    opened = values["native"] is None
    stood = _standing(values, seen, content, runs)
    data = stood or _completed(values, source, seen, content)
    sizes = _checked(data, source, seen)
    left = sum(_left(part, seen) for part in parts_of(data, source))
    said = "\n".join(_said(data, source, seen, sizes))
    read = sum(each.size for each in seen)
    return Survey(data, said, sizes, left, read, own=opened and stood is None)


def _completed(
    values: dict[str, Any], source: Source, seen: Sequence["_Seen"], content: str
) -> Data:
    """Data whose digest, native and stored side and hold-out the folder decides, where they are not stated.
    Who states native has images decoded to that."""
    values["files"] = _files(values, content)
    if values["native"] is None and values["stored"] is None:
        values["stored"] = STORED
    values["native"] = values["native"] or _native(seen)
    train = parts_of(_draft(values), source)[0]
    tenth = max(1, int(VALIDATION * _left(train, seen)))
    values["validation_size"] = values["validation_size"] or tenth
    return build(Data, values, "data").holding(1)


def _checked(data: Data, source: Source, seen: Sequence["_Seen"]) -> Sizes:
    """Images of each split; raises ValueError for whatever a run would refuse."""
    parts = parts_of(data, source)
    for part in parts:
        check_labels(data, part.name, part.labels, source.classes)
    sides = [min(side) for each in seen for side in each.sides if side]
    check_native(data, sides)
    return check_sizes(data, {part.name: _left(part, seen) for part in parts})


@dataclass(frozen=True)
class _Seen:
    """A table and what the index says of its files; sides, and faults with a name, by row."""

    table: Table
    facts: Mapping[str, Fact]
    files: Sequence[str]

    @classmethod
    def of(cls, table: Table, data: Data, cache: Path) -> "_Seen":
        files = table.files if isinstance(table, Parquet) else table.split.files
        column = table.image if isinstance(table, Parquet) else ""
        return cls(table, facts(table.folder, files, cache, data.pixel_limit, column), files)

    def content(self, labels: np.ndarray) -> str:
        """A digest of what the images of this split are, in the order of their rows, with their labels."""
        hashed = xxhash.xxh3_128(labels.astype("<i8").tobytes())
        for file in self.files:
            hashed.update(self.facts[file].digest.encode())
        return hashed.hexdigest()

    @cached_property
    def sides(self) -> list[tuple[int, int] | None]:
        """Width and height by row."""
        return [side for file in self.files for side in self.facts[file].sides]

    @cached_property
    def faults(self) -> dict[int, Fault]:
        """By row: which image cannot be read, and why."""
        found, start = {}, 0
        for file in self.files:
            fact = self.facts[file]
            for row, why in fact.faults.items():
                name = file if len(fact.sides) == 1 else f"{file} row {row}"
                found[start + int(row)] = (name, why)
            start += len(fact.sides)
        return found

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(self.facts[file].size for file in self.files)

    @property
    def deep(self) -> int:
        """Images of more than 8 bits."""
        return sum(self.facts[file].deep for file in self.files)


def _refuse_broken(data: Data, seen: Sequence[_Seen]) -> None:
    """Raises ValueError that names every image that cannot be read, unless they are to be left out."""
    faults = [fault for each in seen for fault in each.faults.values()]
    count = sum(len(each.table) for each in seen)
    if len(faults) == count or (faults and not data.skip_broken):
        share = f"{len(faults)} of {count} images"
        raise ValueError(
            f"data.path={data.path}: {share} cannot be read: {told(faults)}; {WAY_OUT}"
        )


def _classes(values: Mapping[str, Any], source: Source) -> int:
    """How many; raises ValueError where folders or tables say another number than is stated."""
    stated, found = values["classes"], len(source.classes)
    if stated not in (None, found) and isinstance(source.train, Images):
        names = listed([str(name) for name in source.classes])
        raise ValueError(
            f"data.classes={stated}: {values['path']} has {found}, {names}; leave it out"
        )
    return found if stated is None else stated


def _native(seen: Sequence[_Seen]) -> int:
    """The 10th percentile of shorter sides, of all images that are used."""
    return int(np.quantile([min(side) for each in seen for side in each.sides if side], SMALL))


def _left(part: Part, seen: Sequence[_Seen]) -> int:
    """Images of a part that can be read."""
    faults = next(each.faults for each in seen if each.table is part.table)
    return len(part.rows) - int(np.isin(list(faults), part.rows).sum())


def _files(values: Mapping[str, Any], content: str) -> str:
    """The digest by which the files are known; raises ValueError where another one is stated."""
    path, stated = values["path"], values["files"]
    if stated not in (None, content, names_and_sizes(path)):
        raise ValueError(
            f"data.path={path}: its files ({content}) are not {values['name']}'s ({stated}); to take them, "
            "data.files=null"
        )
    return stated or content


def _standing(
    values: Mapping[str, Any], seen: Sequence[_Seen], content: str, runs: Path
) -> Data | None:
    """The data as records in `runs` know them by names and sizes of files, as long as the content has not
    changed since it was first seen beside these records; None where there are none."""
    if values["files"] is not None:
        return None
    older = _as_before(values) | {"files": names_and_sizes(values["path"])}
    older["native"] = values["native"] or _native(seen[:1])
    if older["validation_size"] is None:
        return None
    data = build(Data, older, "data")
    path = recorded(data, runs)
    try:
        known = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if "content" not in known:
        with suppress(OSError):  # a folder that may only be read
            write_json(path, known | {"content": content})
    return data if known.get("content", content) == content else None


def _said(data: Data, source: Source, seen: Sequence[_Seen], sizes: Sizes) -> list[str]:
    """What was found, in lines for people."""
    each = Counter(int(label) for labels in source.labels for label in labels)
    (most, largest), (least, smallest) = each.most_common(1)[0], each.most_common()[-1]
    count = sum(len(table) for table in source.tables)
    native = f"native {data.native} px"
    lines = [
        f"{data.path}: {data.classes} classes by {source.labelled_by}, {count} images, {native}; largest "
        f"class {source.classes[most]} ({largest}), smallest {source.classes[least]} ({smallest})",
        _placed(data, source, sizes),
    ]
    broken = sum(len(one.faults) for one in seen)
    if broken:
        lines.append(f"  left out, since they cannot be read: {broken}")
    if source.left_out:
        told = [
            f"{why} ({len(paths)}: {listed(paths, 3)})" for why, paths in source.left_out.items()
        ]
        lines.append(f"  left out: {'; '.join(told)}")
    if source.unused:
        told = [f"{name} ({count})" for name, count in source.unused.items()]
        lines.append(f"  not used: {listed(told)}")
    deep = sum(one.deep for one in seen)
    if deep:
        lines.append(f"  brought to 8 bits from more: {deep}")
    twice = _twice(seen)
    if twice:
        lines.append(f"  evaluation images that are training images too: {twice}")
    return lines


def _placed(data: Data, source: Source, sizes: Sizes) -> str:
    """How the images are split."""
    by = " by class" if data.draw == "by-class" else ""
    held = f"{HELD_OUT:.0%} held out{by}, for want of a split of its own"
    evaluation = held if source.evaluation is None else f"split {source.evaluation.name}"
    return (
        f"  to train on {sizes.train} (split {source.train.name}), for validation {sizes.validation} "
        f"held out of it{by}, for evaluation {sizes.evaluation} ({evaluation})"
    )


def _twice(seen: Sequence[_Seen]) -> int:
    """Image files of the evaluation split whose bytes are those of one that trains."""
    if len(seen) < 2 or isinstance(seen[0].table, Parquet):
        return 0
    train, evaluation = ([one.facts[file].digest for file in one.files] for one in seen)
    return len(set(evaluation) & set(train))
