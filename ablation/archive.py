"""Many records in one Parquet file, to ship and to carry: the records.parquet of a folder counts as so many records in it."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

NESTED = ("config", "history", "versions")  # columns of JSON; all others are plain


def archive_path(runs: Path) -> Path:
    """Where the archive of a folder of records lies."""
    return runs / "records.parquet"


def write_archive(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Records as plain values, each with a run_id, as Parquet: one row each, sorted by run id, the same bytes for the same rows."""
    import pyarrow
    import pyarrow.parquet

    ordered = sorted(rows, key=lambda row: row["run_id"])
    flat = [dict(row) | {name: json.dumps(row[name], sort_keys=True) for name in NESTED} for row in ordered]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat), file, compression="zstd")


def read_archive(runs: Path) -> Mapping[str, Mapping[str, Any]]:
    """Rows of the archive of a folder by run id, none where there is no archive; raises ValueError for a file that is no archive of records."""
    path = archive_path(runs)
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _rows(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _rows(path: Path, *_changed: int) -> Mapping[str, Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return {row["run_id"]: row | {name: json.loads(row[name]) for name in NESTED} for row in rows}
    except (pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no archive of records ({str(error).splitlines()[0]}); copy it again, or remove it") from error
