"""A trained run as a folder that needs PyTorch alone: its module as a file, its weights, what it is, a card,
and ONNX where asked for."""

import importlib.util
import json
import logging
import os
import runpy
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ablation import __version__
from ablation.images.batches import standard
from ablation.images.cache import about, images_of
from ablation.runs.arms import Planned
from ablation.runs.checks import first_line
from ablation.runs.files import unwritten
from ablation.runs.records import Record
from ablation.train.card import card, told
from ablation.train.checkpoints import read_weights
from ablation.train.model import ConvNet
from ablation.train.written import written

FILES = ("model.py", "model.safetensors", "config.json", "README.md", "model.onnx")
MAKER = "ablation"  # what config.json says made the folder
FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")
ALIKE = 1e-4  # most that logits of what is written may differ from the run's own, of their largest
LICENCE = "not known to ablation; say yourself under which terms they may be used"


@dataclass(frozen=True)
class Trained:
    """A run with its record and the module that was evaluated. images: what is known of them, of config.json;
    named: whether classes have names, not numbers alone."""

    entry: Planned
    record: Record
    net: ConvNet
    images: Mapping[str, Any]
    named: bool


def trained(entry: Planned, record: Record, weights: Path, cache: Path) -> Trained:
    """A run that is done, with the weights that lie at a path; raises ValueError where they are not its
    own."""
    net = ConvNet(entry.run.network, dropout=entry.run.recipe.dropout)
    try:
        net.load_state_dict(read_weights(weights))
    except RuntimeError as error:  # torch's, for those of another network
        raise ValueError(
            f"{weights} holds the weights of another network ({first_line(error)}); remove it and train the "
            "run again with keep_weights=true"
        ) from error
    data, network = entry.run.data, entry.run.network
    # Records of earlier versions do not have it.
    recorded = record.config.get("images") or images_of(data, about(data, cache)) | standard()
    names = recorded["classes"]
    numbers = [str(number) for number in range(network.classes)]
    images = {
        "classes": names or numbers,
        "pixels": network.pixels,
        "native": data.side,
        "scaled": data.stored is not None,
        "crop_from": entry.run.recipe.crop_from,
        "evaluation_crop": entry.run.recipe.evaluation_crop,
        "detail": data.detail,
        "background": data.background,
        "levels": recorded.get("levels", {}),
        "mean": recorded["mean"],
        "deviation": recorded["deviation"],
    }
    steps = {"steps": told(images)}
    return Trained(entry, record, net.eval(), images | steps, named=bool(names))


def config(run: Trained) -> dict[str, Any]:
    """What config.json holds."""
    record, entry = run.record, run.entry
    split = "validation" if record.accuracy is None else "evaluation"
    rule = entry.arm.rule
    return {
        "made_by": MAKER,
        "run": record.run_id,
        "label": entry.label,
        "images": dict(run.images),
        "network": {
            "baseline": entry.baseline,
            "rule": entry.arm.name,
            "triple": rule and [rule.alpha, rule.beta, rule.gamma],
            "phi": entry.arm.phi,
            "cost": entry.arm.cost,
            "depth": record.depth,
            "width": record.width,
            "resolution": record.resolution,
            "macs": record.macs,
            "params": record.params,
            **asdict(entry.run.network),
        },
        "accuracy": {
            "value": record.reported,
            "split": split,
            "images": record.answers.get(split, {}).get("count"),
            "precision": entry.run.recipe.precision,
        },
        "training": {"seed": record.seed, **asdict(entry.run.recipe)},
        "start": entry.run.init and entry.run.init.told,
        "data": {
            "name": entry.run.data.name,
            "digest": record.data_digest,
            "permuted": entry.run.data.permuted,
            "licence": LICENCE,
        },
        "finished": record.finished,
        "commit": record.commit,
        "versions": {**record.versions, "ablation": __version__},
    }


def export(run: Trained, to: Path, onnx: bool = False) -> None:
    """Write the folder, whole or not at all, and compare what it computes with the run's own module.

    Raises ValueError for a folder that holds anything else, OSError where it cannot be written.
    """
    to = to.expanduser().absolute()
    refuse_others(to)
    if onnx:
        refuse_without_onnx()
    draft = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        fill(run, draft, onnx)
        compare(run, draft)
        if onnx:
            write_onnx(run, draft / "model.onnx")
        replace(draft, to)
    except OSError as error:
        raise unwritten(to, error, "to") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_others(to: Path) -> None:
    """Raises ValueError where the place is not free, and holds no earlier export that a new one replaces."""
    if to == Path.cwd():
        raise ValueError(f"to={to}: this is the working folder; say one of its own, to=FOLDER")
    if not os.path.lexists(to):
        return
    if not to.is_dir():
        raise ValueError(f"to={to}: a file lies there; say a folder that is not there yet")
    names = {path.name for path in to.iterdir()}
    others = sorted(names - {*FILES, "__pycache__"} if made_here(to) else names)
    if others:
        raise ValueError(
            f"to={to}: the folder holds {others[0]}, which no export wrote; say one that is not there yet"
        )


def made_here(folder: Path) -> bool:
    """Whether an earlier export wrote the folder."""
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))["made_by"] == MAKER
    except (OSError, ValueError, KeyError, TypeError):
        return False


def refuse_without_onnx() -> None:
    """Raises ValueError where a package that ONNX needs is not installed."""
    if any(importlib.util.find_spec(name) is None for name in FOR_ONNX):
        raise ValueError(f"onnx=true: this needs three packages, pip install {' '.join(FOR_ONNX)}")


def fill(run: Trained, folder: Path, onnx: bool) -> None:
    """All files but ONNX's, of which the card tells."""
    about = config(run)
    state = {name: tensor.contiguous() for name, tensor in run.net.state_dict().items()}
    tensors = save(state, {"run": run.record.run_id, "format": "pt"})
    (folder / "model.safetensors").write_bytes(tensors)
    texts = {
        "config.json": json.dumps(about, indent=1, ensure_ascii=False) + "\n",
        "README.md": card(about, run.named, onnx),
        "model.py": written(run.entry.run, first_words(run)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", "backslashreplace")


def first_words(run: Trained) -> str:
    """The docstring of model.py; names that a user chose may hold what would end it."""
    name = f"{run.entry.label} of {run.entry.baseline}".replace("\\", "/").replace('"', "'")
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return f"{plain}: run {run.record.run_id} of ablation, Apache-2.0."


def example(run: Trained) -> torch.Tensor:
    """Two images of noise, as the network takes them."""
    side = run.entry.run.network.pixels
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def compare(run: Trained, folder: Path) -> None:
    """Raises RuntimeError where the module in the folder computes other logits than the run's own."""
    net, _ = runpy.run_path(str(folder / "model.py"))["load"](folder)
    images = example(run)
    check_alike(net(images), run.net(images), "model.py")


def check_alike(found: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    """Raises RuntimeError for other logits."""
    largest = (found - wanted).abs().max().item()
    if not largest <= ALIKE * max(1.0, wanted.abs().max().item()):
        raise RuntimeError(
            f"{name} computes logits that differ by {largest:.2g} from the run's own: nothing was written; "
            "please report it with the command"
        )


def write_onnx(run: Trained, path: Path) -> None:
    """The module as ONNX, images to logits, any number of images; raises RuntimeError where ONNX Runtime
    computes others."""
    import onnxruntime

    images = example(run)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it wants torchvision, and
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warns of itself
        torch.onnx.export(
            run.net,
            (images,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    several = torch.cat([images, images[:1]])
    [found] = session.run(None, {"images": several.numpy()})
    with torch.inference_mode():
        check_alike(torch.from_numpy(found), run.net(several), "model.onnx")


def replace(draft: Path, to: Path) -> None:
    """The whole folder in its place; an earlier export makes room for it."""
    if not to.exists():
        draft.rename(to)
        return
    aside = to.with_name(f"{draft.name}.old")
    to.rename(aside)
    draft.rename(to)
    shutil.rmtree(aside, ignore_errors=True)
