"""What this machine is, as far as that can be told without torch: its processor, its cores, a driver for
GPUs, and how much of it others keep busy."""

import contextlib
import os
import platform
from pathlib import Path

# Of a container: microseconds of CPU in each period of so many, or `max`.
QUOTA = Path("/sys/fs/cgroup/cpu.max")
DRIVER = Path("/proc/driver/nvidia/version")


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
