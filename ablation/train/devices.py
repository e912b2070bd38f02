"""Where a run computes: on the CPU, or on a GPU that it locks, so that no two runs meet on one whichever
commands started them."""

import contextlib
import ctypes
import itertools
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ablation.runs.config import Execution
from ablation.runs.machine import cores, processor

GIB = 2**30
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container: bytes, or `max`


@dataclass(frozen=True)
class Place:
    """Where one process of a run computes: the devices of the run, and which of its processes this is. The
    first one does the writing."""

    devices: tuple[torch.device, ...]
    rank: int = 0

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.devices[self.rank]

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0


def settle(threads: int) -> None:
    """This process' CPU threads, and its memory: what a step has freed stays for the next one, where the C
    library lets us say so (glibc).

    Large blocks would else go back to the kernel, which clears each page again: a tenth of a step of B0.
    """
    torch.set_num_threads(threads)
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None).mallopt
        allocator(M_MMAP_MAX, 0)
        allocator(M_TRIM_THRESHOLD, -1)


@contextlib.contextmanager
def devices_of(execution: Execution) -> Iterator[tuple[torch.device, ...]]:
    """The devices of one run, its own while this is open: GPUs, or as many shares of them, as they become
    free, else the CPU.

    A share is gpu_memory, held to by torch's allocator, or the whole GPU; sweeps that run on one machine
    together should agree on it. Raises ValueError where there are fewer GPUs than `devices`.
    """
    if not on_gpu(execution.accelerator):
        yield (torch.device("cpu"),) * execution.devices
        return
    with _taken(execution) as indices:
        if execution.gpu_memory is not None:
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, execution.gpu_memory / memory(indices[0])), indices[0]
            )
        yield tuple(torch.device("cuda", index) for index in indices)


def on_gpu(accelerator: str) -> bool:
    """Whether runs compute on GPUs; raises ValueError for gpu where there is none."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError(
            "accelerator=gpu: torch sees no CUDA device here; take accelerator=cpu or auto"
        )
    return accelerator != "cpu" and torch.cuda.is_available()


def capacity(execution: Execution) -> int:
    """How many runs this machine carries at once: one for `threads` cores for each of its devices, on GPUs
    no more than they have shares. Raises ValueError where there are fewer GPUs than `devices`."""
    by_cores = max(1, cores() // (execution.threads * execution.devices))
    if not on_gpu(execution.accelerator):
        return by_cores
    count = _gpus(execution)
    on_all = sum(shares(execution, index) for index in range(count))
    return min(by_cores, on_all // execution.devices)


def _gpus(execution: Execution) -> int:
    """How many there are; raises ValueError where they are fewer than one run takes."""
    count = torch.cuda.device_count()
    if execution.devices > count:
        raise ValueError(f"devices={execution.devices}: torch sees {count} GPUs here; take fewer")
    return count


def shares(execution: Execution, index: int) -> int:
    """How many runs may share a GPU."""
    return 1 if execution.gpu_memory is None else max(1, int(memory(index) // execution.gpu_memory))


def memory(index: int) -> float:
    """GiB of a GPU."""
    return torch.cuda.get_device_properties(index).total_memory / GIB


@contextlib.contextmanager
def _taken(execution: Execution) -> Iterator[list[int]]:
    """Lock shares for one run, all or none, spread over the GPUs; waits for them. Yields the GPUs'
    indices."""
    folder = execution.cache / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    places = _places(execution, folder, _gpus(execution))
    while True:
        with contextlib.ExitStack() as locks:
            free = (index for index, path in places if _lock(locks, path))
            taken = list(itertools.islice(free, execution.devices))
            if len(taken) == execution.devices:
                yield taken
                return
        time.sleep(1)


def _places(execution: Execution, folder: Path, count: int) -> list[tuple[int, Path]]:
    """(GPU, its lock) of every share: the first share of each GPU, then the second."""
    found = []
    for index in range(count):
        uuid = torch.cuda.get_device_properties(index).uuid
        found += [
            (share, index, folder / f"{uuid}.{share}") for share in range(shares(execution, index))
        ]
    return [(index, path) for _, index, path in sorted(found)]


def _lock(locks: contextlib.ExitStack, path: Path) -> bool:
    try:
        locks.enter_context(FileLock(path, timeout=0, fallback_to_soft=False))
    except Timeout:
        return False
    return True


def image_room(execution: Execution, device: torch.device) -> float:
    """Bytes that the images of a run may take of its device: a quarter of what a run has of it, or all or
    nothing where `resident` says so."""
    if execution.resident is not None:
        return math.inf if execution.resident else 0.0
    if device.type == "cuda":
        return (execution.gpu_memory or memory(device.index)) * GIB / 4
    return main_memory() / _processes(execution) / 4


def main_memory() -> int:
    """Bytes of this machine or, in a container, of its control group."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        there = min(there, int(LIMIT.read_text()))
    return there


def readers(execution: Execution) -> int:
    """Processes that read images for one process of a run: its part of the cores, one at least."""
    return max(1, cores() // _processes(execution))


def _processes(execution: Execution) -> int:
    """That train at once, one for each device of each run."""
    return capacity(execution) * execution.devices


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor()


def peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's allocator at its peak, or the process' resident set at its peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
