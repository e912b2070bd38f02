"""Checkpoints: one file a run, written atomically at epoch ends, that says whose it is; what is not this
run's, or not as it was written, is set aside and never resumed from."""

import json
import logging
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import xxhash
from lightning_fabric.plugins import TorchCheckpointIO

from ablation.runs.checks import first_line
from ablation.runs.files import replacing, set_aside

log = logging.getLogger(__name__)


def packed(content: Any) -> memoryview:
    """torch.save in memory: its own writer reports a full disk as a RuntimeError without its reason."""
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def save(content: Any, path: Path) -> None:
    """torch.save in the place of `path`, atomically; raises OSError, see `replacing`."""
    with replacing(path) as file:
        file.write(packed(content))


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """Weights that `save` left; raises ValueError where the file is not as it was written."""
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        if damaged:
            raise ValueError(f"{damaged} in it is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by where a file ends
        raise ValueError(
            f"{path} holds no weights ({_why(error)}); remove it and run the study again"
        ) from error


class Checkpoints(TorchCheckpointIO):
    """Lightning's checkpoints of one run: a line with run, epoch and a digest of what follows, then that.

    One that cannot be written is said once and the run goes on: only a kill would miss it.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.said = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        content = packed(checkpoint)
        about = {"run": self.run_id, "epoch": checkpoint.get("epoch"), "digest": _digest(content)}
        try:
            with replacing(Path(path)) as file:
                file.write(json.dumps(about).encode() + b"\n")
                file.write(content)
        except OSError as error:
            if not self.said:
                log.warning(
                    "this run goes on without a checkpoint: %s", str(error.strerror).split(";")[0]
                )
            self.said = True

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """What save_checkpoint was given; raises ValueError for anything else."""
        head, _, content = Path(path).read_bytes().partition(b"\n")
        try:
            about = json.loads(head)
            run_id, digest = about["run"], about["digest"]
        except (ValueError, TypeError, KeyError):
            raise ValueError("it is no checkpoint of this version, or cut short") from None
        if run_id != self.run_id:
            raise ValueError(f"it is of run {run_id}")
        if digest != _digest(content):
            raise ValueError("it is cut short or damaged")
        return torch.load(BytesIO(content), map_location="cpu", weights_only=True)

    def resumable(self, path: Path) -> Path | None:
        """`path` where a checkpoint of this run lies, whole; None where there is none, or something else,
        which is named in one line and set aside."""
        try:
            self.load_checkpoint(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # a directory, no permission, or what torch raises
            log.warning(
                "%s is set aside as %s.damaged (%s): the run starts from its beginning",
                *(path, path.name, _why(error)),
            )
            with suppress(OSError):  # gone by now, or in a folder that may only be read
                set_aside(path)
            return None
        return path


def _digest(content: bytes | memoryview) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def _why(error: BaseException) -> str:
    told = error.strerror if isinstance(error, OSError) else None
    return told or first_line(error)
