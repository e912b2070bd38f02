"""Checkpoints: one file a run, written atomically at epoch ends; one that is cut short is recognised and
never resumed from."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from ablation.runs.files import replacing

log = logging.getLogger(__name__)


def save(content: Any, path: Path) -> None:
    """torch.save in the place of `path`, atomically; raises OSError, see `replacing`."""
    # Torch's own writer reports a full disk as a RuntimeError without its reason.
    buffer = BytesIO()
    torch.save(content, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def resumable(path: Path) -> Path | None:
    """`path` where a whole checkpoint lies; None where there is none, or a damaged one, which is named in one
    line and removed."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (
        Exception
    ) as error:  # RuntimeError, EOFError, UnpicklingError and others, by where the file ends
        log.warning(
            "%s is cut short (%s): the run starts from its beginning",
            path,
            str(error).split("\n")[0],
        )
        path.unlink(missing_ok=True)
        return None
    return path


class Atomic(TorchCheckpointIO):
    """Lightning's checkpoints through `save`. One that cannot be written is said once and the run goes on:
    only a kill would miss it."""

    said = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        try:
            save(checkpoint, Path(path))
        except OSError as error:
            if not self.said:
                log.warning(
                    "this run goes on without a checkpoint: %s", str(error.strerror).split(";")[0]
                )
            self.said = True
