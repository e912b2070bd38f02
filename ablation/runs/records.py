"""One JSON record per run: written last and atomically, so that its presence says the run is over. An archive
may stand for many of them."""

import dataclasses
import json
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from ablation.runs.answers import unpacked
from ablation.runs.checks import build, first_line, one_of, within
from ablation.runs.config import RESULTS_VERSION, Run, digest
from ablation.runs.files import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What one run was and what came out.

    status: done, or diverged (the loss became NaN or infinite: a result, not a fault; its accuracies are
    those of the broken network). accuracy (evaluation split, None where it was not opened), val_accuracy,
    train_accuracy (unaugmented sample): fractions of 1, at the final epoch. *_loss: mean cross-entropy.
    seconds: training without loading; images_per_second: training throughput; peak_memory: bytes (of one
    device). devices: over which the run was split; threads: of each process on the CPU. depth, width,
    resolution: realised coefficients; cost: how they were asked for, nominal or matched. answers: which
    images of the validation and the evaluation split it got right (see ablation.runs.answers); records of
    earlier versions have none.
    """

    run_id: str
    status: str
    cost: str
    depth: float
    width: float
    resolution: float
    macs: int
    params: int
    activations: int
    seed: int
    epochs: int
    accuracy: float | None
    val_accuracy: float
    train_accuracy: float
    loss: float | None
    val_loss: float | None
    train_loss: float | None
    seconds: float
    total_seconds: float
    images_per_second: float
    peak_memory: int
    device: str
    threads: int
    config: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = ()
    data_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    finished: str = ""
    results_version: int = RESULTS_VERSION
    devices: int = 1
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("status", self.status, ("done", "diverged"))
        for name in ("accuracy", "val_accuracy", "train_accuracy"):
            if getattr(self, name) is not None:
                within(name, getattr(self, name), 0, 1)
        for name in ("macs", "params", "seconds", "total_seconds"):
            within(name, getattr(self, name), 0, sys.float_info.max)
        for split, name in SPLITS.items():
            if split in self.answers:
                _agrees(name, getattr(self, name), self.answers[split])

    @property
    def reported(self) -> float:
        """The accuracy to show: on the evaluation split, or on validation where that split stayed closed."""
        return self.val_accuracy if self.accuracy is None else self.accuracy


SPLITS = {"evaluation": "accuracy", "validation": "val_accuracy"}  # with answers, and the field


def _agrees(name: str, accuracy: float | None, answers: Mapping[str, Any]) -> None:
    """Raises ValueError where the answers are those of another accuracy."""
    found = unpacked(answers).mean()
    if accuracy is None or not math.isclose(found, accuracy, abs_tol=1e-6):
        raise ValueError(f"{name}={accuracy}: its answers give {found:.6g}")


def record_path(runs: Path, run_id: str) -> Path:
    """Where the record of a run lies."""
    return runs / run_id / "record.json"


def checkpoint_path(runs: Path, run_id: str) -> Path:
    """Where the checkpoint of an unfinished run lies."""
    return runs / run_id / "checkpoint.pt"


def weights_path(runs: Path, run_id: str) -> Path:
    """Where the weights that a finished run was evaluated with lie, if they are kept."""
    return runs / run_id / "weights.pt"


def kept_weights(runs: Path, run: Run) -> Path | None:
    """Where the weights of a run lie, or those of the same run with its evaluation split opened; None where
    there are neither."""
    paths = [weights_path(runs, each.id) for each in (run, dataclasses.replace(run, evaluate=True))]
    return next((path for path in paths if path.exists()), None)


def write_record(runs: Path, record: Record) -> Path:
    """Write a record in its place; raises OSError (a full disk, say) with every earlier record whole."""
    path = record_path(runs, record.run_id)
    values = dataclasses.asdict(record)
    # So that one that a disk has changed does not pass for a result.
    write_json(path, values | {"digest": digest(values)})
    return path


def read_record(runs: Path, run: Run) -> Record | None:
    """The record of `run`, None where it has none; a file that is cut short, or is no record of this run, is
    named in one line and is none.

    A run that leaves the evaluation split closed is served by the same run with that split opened, of which
    it is told only what it would have seen: neither training nor validation depend on it.
    """
    own = _own_record(runs, run)
    if own or run.evaluate:
        return own
    opened = _own_record(runs, replace(run, evaluate=True))
    return opened and _closed(opened, run.id)


def _closed(record: Record, run_id: str) -> Record:
    """A record as it would be had the evaluation split stayed closed."""
    validated = {name: each for name, each in record.answers.items() if name == "validation"}
    return replace(record, run_id=run_id, accuracy=None, loss=None, answers=validated)


def _own_record(runs: Path, run: Run) -> Record | None:
    path = record_path(runs, run.id)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return _record(archive_path(runs), _archived(runs).get(run.id), run)
    except (OSError, ValueError, RecursionError) as error:
        return _no_record(path, f"is not a whole record ({error})")
    record = _record(path, values, run)
    if record and not record.answers:
        archived = _record(archive_path(runs), _archived(runs).get(run.id), run)
        return archived if archived and archived.answers else record
    return record


def _record(path: Path, values: Mapping[str, Any] | None, run: Run) -> Record | None:
    """Plain values that were read from a file as the record of `run`; None, said once, where they are
    not."""
    if values is None:
        return None
    try:
        plain = dict(values)
        written = plain.pop("digest", None)  # older records have none
        record = build(Record, plain)
        if written not in (None, digest(plain)):
            raise ValueError("its digest is of other values")
    except (TypeError, ValueError) as error:
        return _no_record(path, f"is not a whole record of run {run.id} ({error})")
    if (record.run_id, record.results_version) != (run.id, RESULTS_VERSION):
        return _no_record(
            path,
            f"holds run {record.run_id} of results version {record.results_version}, not {run.id} of "
            f"{RESULTS_VERSION}",
        )
    return record


def _no_record(path: Path, reason: str) -> None:
    """Say once why a file does not count."""
    _said_once(f"{path} {reason}: it does not count, the run is trained again")


def read_records(runs: Path, wanted: Iterable[Run]) -> dict[str, Record]:
    """Records by run id, of those runs that have one."""
    found = {}
    for run in {run.id: run for run in wanted}.values():
        if record := read_record(runs, run):
            found[run.id] = record
    return found


NESTED = ("config", "history", "versions", "answers")  # columns of JSON; all others are plain


def archive_path(runs: Path) -> Path:
    """Where the archive of a folder of records lies."""
    return runs / "records.parquet"


def write_archive(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Records as plain values, each with a run_id, as Parquet: one row each, sorted by run id, the same bytes
    for the same rows."""
    import pyarrow
    import pyarrow.parquet

    ordered = sorted(rows, key=lambda row: row["run_id"])
    flat = pyarrow.Table.from_pylist([_flat(row) for row in ordered])
    pyarrow.parquet.write_table(flat, file, compression="zstd")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose nested values are JSON."""
    nested = {name: json.dumps(row.get(name, {}), sort_keys=True) for name in NESTED}
    return dict(row) | nested


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """The other way round."""
    return row | {name: json.loads(row[name]) for name in NESTED if name in row}


def read_archive(runs: Path) -> Mapping[str, Mapping[str, Any]]:
    """Rows of the archive of a folder by run id, none where there is no archive; raises ValueError for a file
    that is no archive of records, or holds a row that is none."""
    rows, faults = _archive(runs)
    if faults:
        raise ValueError(f"{faults[0]}; copy it again, or remove it")
    return rows


def _archived(runs: Path) -> Mapping[str, Mapping[str, Any]]:
    """The same, where whatever is wrong is said once and the rest stands."""
    rows, faults = _archive(runs)
    for fault in faults:
        _said_once(f"{fault}: it does not count; copy it again, or remove it")
    return rows


@lru_cache
def _said_once(line: str) -> None:
    log.warning("%s", line)


def _archive(runs: Path) -> tuple[Mapping[str, Mapping[str, Any]], Sequence[str]]:
    path = archive_path(runs)
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}, ()
    return _rows(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _rows(path: Path, *_changed: int) -> tuple[Mapping[str, Mapping[str, Any]], Sequence[str]]:
    """Rows by run id, and what is wrong with the file."""
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return {}, [f"{path} is no archive of records ({first_line(error)})"]
    found, faults = {}, []
    for number, row in enumerate(rows, 1):
        try:
            found[str(row["run_id"])] = _nested(row)
        except (KeyError, TypeError, ValueError) as error:
            faults.append(f"{path} is no archive of records in row {number} ({error!r})")
    return found, faults
