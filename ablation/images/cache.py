"""Decoded images on disk: each data set once, found again by what decides its content, and split in three."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ablation.images import shapes
from ablation.images.sources import decode, render
from ablation.runs.config import Data, digest
from ablation.runs.files import write_json


@dataclass(frozen=True)
class Sizes:
    """Images of each split of a data set."""

    train: int
    validation: int
    evaluation: int

    @property
    def total(self) -> int:
        """Of all splits."""
        return self.train + self.validation + self.evaluation


def sizes(data: Data, cache: Path) -> Sizes | None:
    """Images of each split, as far as they are known without decoding any: None where the data set decides
    and is not decoded yet."""
    counts = _counts(_place(data, cache)[0]) or (shapes.SIZES if data.name == "shapes" else {})
    train = data.train_size or (counts["train"] - data.validation_size if counts else None)
    evaluation = data.evaluation_size or counts.get("evaluation")
    return Sizes(train, data.validation_size, evaluation) if train and evaluation else None


def _counts(folder: Path) -> dict[str, int]:
    """Decoded images of each source, empty where there are none."""
    if not (folder / "about.json").exists():
        return {}
    return {
        source: len(np.load(folder / f"{source}-labels.npy", mmap_mode="r"))
        for source in ("train", "evaluation")
    }


def _place(data: Data, cache: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of decoded images, and all that decides what is in it."""
    relevant = (
        "name",
        "subset",
        "files",
        "classes",
        "native",
        "image",
        "label",
        "train",
        "evaluation",
        "upsample",
    )
    source = {key: value for key, value in data.identity().items() if key in relevant} | {
        "decoder": 1
    }
    if data.name == "shapes":
        source |= {"generator": shapes.GENERATOR_VERSION, "seed": data.split_seed}
    return cache / f"{Path(data.name).name}-{digest(source)}", source


def decoded(data: Data, cache: Path) -> Path:
    """The folder of decoded images, made once: train.npy, evaluation.npy (N, native, native, 3),
    *-labels.npy, about.json.

    Two processes that want it at the same time share the work of one.
    """
    folder, source = _place(data, cache)
    if (folder / "about.json").exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "about.json").exists():
            draft = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            (render if data.name == "shapes" else decode)(data, draft)
            write_json(draft / "about.json", {"source": source, "digest": _content_digest(draft)})
            shutil.rmtree(folder, ignore_errors=True)
            draft.replace(folder)
    return folder


def choose(data: Data, folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Rows of each split, ascending: validation is drawn from the training images by split_seed, train from
    the rest."""
    counts = _counts(folder)
    left = counts["train"] - data.validation_size
    wanted = data.train_size or left
    if not 0 < wanted <= left:
        raise ValueError(
            f"data.train_size={data.train_size}, data.validation_size={data.validation_size}: {data.name} "
            f"has {counts['train']} training "
            f"images in all; ask for fewer"
        )
    if (data.evaluation_size or 0) > counts["evaluation"]:
        raise ValueError(
            f"data.evaluation_size={data.evaluation_size}: {data.name} has {counts['evaluation']} "
            "evaluation images; ask for fewer"
        )
    order = np.random.default_rng(data.split_seed).permutation(counts["train"])
    held_out, rest = np.split(order, [data.validation_size])
    evaluation = np.random.default_rng(data.split_seed).permutation(counts["evaluation"])[
        : data.evaluation_size
    ]
    return {
        "train": ("train", np.sort(rest[:wanted])),
        "validation": ("train", np.sort(held_out)),
        "evaluation": ("evaluation", np.sort(evaluation)),
    }


def _content_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.glob("*.npy")):
        array = np.load(file, mmap_mode="r")
        for start in range(0, len(array), 1024):
            total.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return total.hexdigest()[:16]


def check_digest(data: Data, found: str, runs: Path) -> None:
    """The first run in a folder of records writes down what its images were; raises ValueError where a later
    run finds others.

    `shapes` is exempt: its identity is its generator's version, and another processor may round a pixel
    otherwise.
    """
    if data.name == "shapes":
        return
    path = runs / "data" / f"{digest(data.identity())}.json"
    if not path.exists():
        write_json(path, {"name": data.name, "digest": found})
    elif (known := json.loads(path.read_text())["digest"]) != found:
        raise ValueError(
            f"{data.name} has changed since the records in {runs} were made (digest {found}, was {known}); "
            "set runs=... to start anew"
        )
