"""Which GPU each job of a sweep was given, and when."""

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class DeviceLog(Callback):
    """Hydra calls it in the process of each job; leaves one file a job in `folder`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.start = time.time()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        content = {
            "device": os.environ["CUDA_VISIBLE_DEVICES"],
            "start": self.start,
            "end": time.time(),
        }
        (self.folder / f"{config.hydra.job.num}.json").write_text(json.dumps(content))


def assert_each_its_own(folder: Path, jobs: int, devices: set[str]) -> None:
    """All devices were used, jobs ran side by side, and no two of those had the same one."""
    seen = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert len(seen) == jobs
    assert {job["device"] for job in seen} == devices
    together = [
        (one, two)
        for one, two in itertools.combinations(seen, 2)
        if one["start"] < two["end"] and two["start"] < one["end"]
    ]
    assert together
    assert all(one["device"] != two["device"] for one, two in together)
