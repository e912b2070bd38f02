"""What this machine is, as far as that can be told without torch: its processor, its cores, a driver for
GPUs, and how much of it others keep busy."""

import contextlib
import os
import platform
import time
from pathlib import Path

# Of a container: microseconds of CPU in each period of so many, or `max`.
QUOTA = Path("/sys/fs/cgroup/cpu.max")
DRIVER = Path("/proc/driver/nvidia/version")
STAT = Path("/proc/stat")


def cores() -> int:
    """CPU cores that this process may use: its affinity and, in a container, its control group's quota."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with contextlib.suppress(OSError, ValueError):
        quota, period = QUOTA.read_text().split()
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def maybe_gpus() -> bool:
    """Whether torch has to be asked for GPUs: NVIDIA's driver is loaded."""
    return DRIVER.exists()


def taken(seconds: float = 0.5) -> float | None:
    """How many of the cores that this process may use others take, looked at for so long, in which it does
    nothing; cores that would be idle beside ours count as none. None where the kernel does not say."""
    try:
        before = _ticks()
        time.sleep(seconds)
        after = _ticks()
    except (OSError, ValueError, IndexError):
        return None
    idle, total = (end - start for start, end in zip(before[:2], after[:2], strict=True))
    free = after[2] * idle / total if total else after[2]
    return max(0.0, cores() - free)


def _ticks() -> tuple[int, int, int]:
    """Ticks of all cores in which they were idle, those in all, and how many cores there are."""
    lines = STAT.read_text().splitlines()
    spent = [int(each) for each in lines[0].split()[1:9]]  # guests are part of user
    count = sum(line.startswith("cpu") for line in lines) - 1
    return spent[3] + spent[4], sum(spent), count
