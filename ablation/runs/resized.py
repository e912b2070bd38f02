"""Images at the side of a network, kept beside the decoded ones: resized once, then mapped into the memory of
every run that sees them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash
from filelock import FileLock

from ablation.runs.files import replacing

SHARE = 10  # images of a split take at most this part of what is free on the disk


def resized(folder: Path) -> Path:
    """Where images lie that were resized from those decoded into a folder; whatever removes that, removes
    them."""
    return folder / "resized"


def kept(decoded: Path, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` returns, mapped from the file that the first to ask for it left. name: follows from all
    that decides it.

    A file's name ends with the digest of what it holds, by which it is checked whenever it is opened; one
    that holds something else is made again. Where none can be written, images are resized for every run.
    """
    folder, made = resized(decoded), None
    try:
        if (found := _found(folder, name)) is not None:
            return found
        folder.mkdir(exist_ok=True)
        with FileLock(folder / f"{name}.lock", fallback_to_soft=False):
            if (found := _found(folder, name)) is not None:  # of whoever had the lock
                return found
            made = make()
            return _keep(folder, name, made)
    except OSError:  # a cache that may only be read, a disk that is full, one without locks
        return make() if made is None else made


def _found(folder: Path, name: str) -> np.ndarray | None:
    """The content of the whole file of that name; None where there is none."""
    for path in folder.glob(f"{name}-*.npy"):
        try:
            mapped = np.load(path, mmap_mode="c")
        except (ValueError, EOFError, OSError):  # cut short, or its head is damaged
            continue
        if path == _named(folder, name, mapped):
            return mapped
    return None


def _keep(folder: Path, name: str, made: np.ndarray) -> np.ndarray:
    """The same from a file, where the disk has room for it; called by one process at a time."""
    for litter in folder.glob(f"*{name}-*"):  # damaged, or of a process that was killed as it wrote
        litter.unlink()
    if SHARE * made.nbytes > shutil.disk_usage(folder).free:
        return made
    path = _named(folder, name, made)
    with replacing(path, "cache", durable=False) as file:
        np.save(file, made)
    return np.load(path, mmap_mode="c")


def _named(folder: Path, name: str, array: np.ndarray) -> Path:
    content = xxhash.xxh3_128(f"{array.dtype} {array.shape}".encode())
    content.update(np.ascontiguousarray(array))
    return folder / f"{name}-{content.hexdigest()}.npy"
