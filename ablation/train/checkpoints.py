"""Checkpoints: one file a run, written atomically at epoch ends, that says whose it is; what is not this
run's, or not as it was written, is set aside and never resumed from. And weights, ours and others', read from
files."""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import xxhash
from lightning_fabric.plugins import TorchCheckpointIO

from ablation.runs.checks import first_line
from ablation.runs.files import replacing, set_aside

log = logging.getLogger(__name__)


def packed(content: Any) -> memoryview:
    """torch.save in memory: its own writer reports a full disk as a RuntimeError without its reason."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def save(content: Any, path: Path) -> None:
    """torch.save in the place of `path`, atomically; raises OSError, see `replacing`."""
    with replacing(path) as file:
        file.write(packed(content))


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """Weights that `save` left; raises ValueError where the file is not as it was written."""
    try:
        _check_parts(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by where a file ends
        raise ValueError(
            f"{path} holds no weights ({_why(error)}); remove it and run the study again"
        ) from error


def _check_parts(file: Path | io.BytesIO) -> None:
    """Raises ValueError where a part of what torch.save left has another checksum: torch passes that over."""
    with zipfile.ZipFile(file) as parts:
        damaged = parts.testzip()
    if damaged:
        raise ValueError(f"{damaged} in it is damaged")


def read_state(path: Path, digest: str) -> dict[str, torch.Tensor]:
    """The state dict in a file, safetensors or torch.save's; raises ValueError for anything else, for numbers
    that are none, and for a file of another digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} has changed since the run was planned; start the command again")
    try:
        state = _state(content)
    except Exception as error:  # of many kinds, by where a file ends
        raise ValueError(
            f"{path} holds no weights ({first_line(error)}); give a state dict, as safetensors or "
            "torch.save(net.state_dict(), FILE) leave it"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(each, torch.Tensor) for each in state.values()
    ):
        raise ValueError(
            f"{path} holds {_described(state)}, no state dict; save that alone, "
            "torch.save(net.state_dict(), FILE)"
        )
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{path}: {broken[0]} holds numbers that are not finite; take other weights"
        )
    return dict(state)


def _state(content: bytes) -> object:
    """What a file holds; safetensors begin with the length of a mapping in JSON."""
    if content[8:9] == b"{":
        return safetensors.torch.load(content)
    if content.startswith(b"PK"):  # older pickles are no archives
        _check_parts(io.BytesIO(content))
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _described(found: object) -> str:
    """What was found in place of a state dict."""
    if isinstance(found, Mapping):
        return f"a mapping of {', '.join(map(str, [*found][:3]))}"
    return f"a {type(found).__name__}"


class Checkpoints(TorchCheckpointIO):
    """Lightning's checkpoints of one run: a line with run, devices, epoch and a digest of what follows, then
    that.

    One that cannot be written is said once and the run goes on: only a kill would miss it.
    """

    def __init__(self, run_id: str, devices: int = 1) -> None:
        super().__init__()
        self.run_id, self.devices = run_id, devices
        self.said = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        content = packed(checkpoint)
        about = {
            "run": self.run_id,
            "devices": self.devices,
            "epoch": checkpoint.get("epoch"),
            "digest": _digest(content),
        }
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
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

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
        self._refuse_others(path)
        return path

    def _refuse_others(self, path: Path) -> None:
        """Raises ValueError for a checkpoint of this run on another number of devices, whose dropout is drawn
        otherwise: what came of both would be neither's. Those of earlier versions do not say it."""
        head, _, _ = path.read_bytes().partition(b"\n")
        begun = json.loads(head).get("devices", self.devices)
        if begun != self.devices:
            raise ValueError(
                f"devices={self.devices}: this run has begun with devices={begun}; go on with that, or "
                f"remove {path} and it begins anew"
            )


def _digest(content: bytes | memoryview) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def _why(error: BaseException) -> str:
    told = error.strerror if isinstance(error, OSError) else None
    return told or first_line(error)
