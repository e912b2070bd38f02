"""What runs start from, from a setting to a file: found here or fetched from a hub, named by its content, and
held against each network.

Only where something is set does this load torch.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.runs.arms import Planned
from ablation.runs.checks import first_line
from ablation.runs.config import Init
from ablation.theory.network import Network
from ablation.theory.own import Own

if TYPE_CHECKING:
    from torch import Tensor

    from ablation.train.start import Start

# In the folder of an export, and in repositories of the hub; in that of a run.
FILES = ("model.safetensors", "weights.pt")
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Weights:
    """A file of weights; source: what it is called wherever it lies. partial: whether networks may start
    there that it holds in part."""

    source: str
    path: Path
    digest: str
    partial: bool

    def starting(self, entry: Planned) -> Planned:
        """A run that starts from them, its norms with the epsilon that they were trained with.

        Raises ValueError where they hold another network, or only a part of this one and that is not allowed.
        """
        assert entry.origin is not None
        found = _start(entry.run.network, entry.origin.network, self.source, self.path, self.digest)
        if found.lacks and not self.partial:
            raise ValueError(
                f"init={self.source}: {entry.arm.label} cannot start there, {found.lacks}; scale by "
                "resolution alone, which keeps every shape, or say init_partial=true, by which the rest is "
                "drawn and the page says that arms do not start alike"
            )
        whole = not found.lacks
        init = Init(self.digest, self.source, str(self.path), found.share, whole, found.classifier)
        return _with_epsilon(replace(entry, run=replace(entry.run, init=init)), found.norm_epsilon)


def _with_epsilon(entry: Planned, epsilon: float | None) -> Planned:
    """The same run with norms of this epsilon, its baseline, too."""
    run, origin = entry.run, entry.origin
    if epsilon is None or isinstance(run.network, Own) or origin is None:
        return entry
    network = replace(run.network, norm_epsilon=epsilon)
    baseline: Any = replace(origin.network, norm_epsilon=epsilon)
    return replace(
        entry,
        run=replace(run, network=network),
        point=replace(entry.point, network=network),
        origin=replace(origin, network=baseline),  # type: ignore[call-arg]
    )


@lru_cache(maxsize=1024)
def _start(
    network: Network | Own, baseline: Network | Own, source: str, path: Path, digest: str
) -> "Start":
    from ablation.train.start import start

    return start(network, baseline, _shapes(path, digest), source, path)


@lru_cache(maxsize=8)
def _shapes(path: Path, digest: str) -> dict[str, "Tensor"]:
    """What a file holds, without its numbers."""
    from ablation.train.checkpoints import read_state

    return {name: tensor.to("meta") for name, tensor in read_state(path, digest).items()}


def weights(name: str | None, partial: bool) -> Weights | None:
    """The weights that a setting names, None for none; raises ValueError where there are no such."""
    if name is None:
        return None
    source, path = name, _fetched(name)
    if path is None:
        path = _found(name).absolute()
        source = f".../{path.parent.name}/{path.name}"
    digest = _digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    _check_blob(name, path, digest)
    return Weights(source, path, digest, partial)


@lru_cache(maxsize=64)
def _digest(path: Path, *_changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _found(name: str) -> Path:
    """A file on disk, or that in a folder of ours."""
    path = Path(name).expanduser()
    if path.is_dir():
        inside = [path / each for each in FILES if (path / each).is_file()]
        if not inside:
            raise ValueError(
                f"init={name}: the folder has neither {FILES[0]}, which ablation.export writes, nor "
                f"{FILES[1]}, which a run with keep_weights=true leaves"
            )
        return inside[0]
    if not path.is_file():
        raise FileNotFoundError(
            f"init={name}: no such file; give a state dict, a folder that ablation.export wrote, or "
            "timm/NAME or hf:OWNER/NAME of the Hugging Face hub"
        )
    return path


def _fetched(name: str) -> Path | None:
    """A file of a hub, fetched once; None for a name that is none of a hub's."""
    if name.startswith("hf:"):
        owner, repository, *inside = (*name.removeprefix("hf:").split("/"), "")
        file = "/".join(inside).strip("/") or FILES[0]
        path = _of_hub(name, f"{owner}/{repository}", file)
        if file == FILES[0]:  # an export says beside it which network it is
            with suppress(ValueError):
                _of_hub(name, f"{owner}/{repository}", "config.json")
        return path
    library, _, architecture = name.partition("/")
    if library not in OF_LIBRARIES:
        return None
    _check_known(name)
    return OF_LIBRARIES[library](name, architecture)


def _check_known(name: str) -> None:
    """Raises ValueError for an architecture that is not known."""
    from ablation.train.released import network_of

    try:
        network_of(name)
    except ValueError as error:
        raise ValueError(f"init={error}") from error


def _of_timm(name: str, architecture: str) -> Path:
    """timm keeps its weights on the hub, each in a repository of its own."""
    if "." not in architecture:
        raise ValueError(
            f"init={name}: timm's weights have a tag, such as timm/efficientnet_b0.ra_in1k; "
            "https://huggingface.co/timm lists them"
        )
    return _of_hub(name, name, FILES[0])


def _of_hub(name: str, repository: str, file: str) -> Path:
    """A file of the Hugging Face hub, in its own cache; the hub is asked only for what is not there."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    huggingface_hub.logging.set_verbosity_error()  # else it tells each of six attempts
    try:
        with suppress(EntryNotFoundError):
            cached = huggingface_hub.hf_hub_download(repository, file, local_files_only=True)
            return Path(cached)
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except Exception as error:  # of many kinds, by what is wrong with name, network or disk
        raise ValueError(
            f"init={name}: {file} of https://huggingface.co/{repository} could not be fetched "
            f"({first_line(error).rstrip('.')}); check name and network, or fetch it elsewhere and give the "
            "file, init=FILE"
        ) from error


def _of_torchvision(name: str, architecture: str) -> Path:
    """A file of torchvision's own place, which torchvision knows: the newest, or those of a tag."""
    try:
        from torchvision.models import get_model_weights
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"init={name}: only torchvision knows where its weights lie; pip install torchvision, or give "
            "them as a file, init=FILE"
        ) from error
    import torch

    plain, _, tag = architecture.partition(".")
    known = get_model_weights(plain)
    if tag and tag not in known.__members__:
        raise ValueError(f"init={name}: there are {', '.join(known.__members__)}")
    url = (known[tag] if tag else known.DEFAULT).url
    try:
        torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:
        raise ValueError(
            f"init={name}: {url} could not be fetched ({first_line(error)}); fetch it elsewhere and give "
            "the file, init=FILE"
        ) from error
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


OF_LIBRARIES = {"timm": _of_timm, "torchvision": _of_torchvision}


def _check_blob(name: str, path: Path, digest: str) -> None:
    """Raises ValueError where a file that the hub calls by its digest has another: cut short, or damaged."""
    blob = path.resolve()
    if SHA256.fullmatch(blob.name) and blob.name != digest:
        raise ValueError(f"init={name}: {blob} is damaged; delete it and start the command again")
