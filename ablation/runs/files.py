"""Files that are whole or not there: written beside their place, flushed, renamed."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


drafts: set[Path] = set()  # being written by this process


@contextlib.contextmanager
def replacing(path: Path, setting: str = "runs", durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole: written beside it, flushed to the disk,
    renamed. setting: which one says where it lies. durable: false for what a crash of the machine may take,
    which is then not waited for.

    Raises OSError, naming the path and the way out, with the old file as it was and no litter.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    drafts.add(draft)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise unwritten(path, error, setting) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
        drafts.discard(draft)


def unwritten(path: Path, error: OSError, setting: str) -> OSError:
    """What is said of a file or folder that could not be written: why, and the way out."""
    obstacle = next(filter(_no_folder, path.parents), None)
    why = f"{obstacle} is no folder" if obstacle else error.strerror or str(error)
    full = "full disk, " if error.errno in FULL else ""
    first = "" if obstacle else "free some space or "
    way_out = f"{first}set {setting}=FOLDER and start the command again"
    return OSError(error.errno, f"{path} could not be written ({full}{why}); {way_out}")


def _no_folder(path: Path) -> bool:
    """Whether a file, or a link to nothing, lies where a folder should."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112, Path.is_dir may raise


def set_aside(path: Path) -> Path:
    """Move a file or folder that does not count out of the way; returns where it lies, the newest of its
    name."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    return path.replace(aside)


def write_text(path: Path, text: str, setting: str = "results") -> None:
    """Write UTF-8 atomically; raises OSError, see `replacing`."""
    with replacing(path, setting) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(
    path: Path,
    content: Any,
    indent: int | None = 1,
    setting: str = "runs",
    durable: bool = True,
) -> None:
    """Write atomically; durable, and the OSError that it raises: see `replacing`."""
    with replacing(path, setting, durable) as file:
        file.write(json.dumps(content, indent=indent).encode() + b"\n")


def slug(device: str) -> str:
    """A device's name as part of a file's."""
    return re.sub("[^a-z0-9]+", "-", device.lower()).strip("-")


def read_measured(path: Path, kind: type[T]) -> dict[str, T]:
    """Dataclasses of one kind by name, none where there is no file; raises ValueError for a file that holds
    something else."""
    try:
        return {
            name: kind(**values) for name, values in json.loads(path.read_text("utf-8")).items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} holds no {kind.__name__.lower()}s of this version ({error}); delete it and measure again"
        ) from error


def write_measured(path: Path, measured: Mapping[str, Any], setting: str = "runs") -> None:
    """Dataclasses by name, as read_measured reads them; raises OSError with the old file whole."""
    content = {name: dataclasses.asdict(value) for name, value in measured.items()}
    write_json(path, content, setting=setting)
