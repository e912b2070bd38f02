"""The positive control: the same on every processor, balanced, and what is in its images for an ideal reader,
kind by kind."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ablation.images import stripes
from ablation.images.cache import Sizes, choose, decoded, sizes
from ablation.images.embedded import embedded
from ablation.images.splits import load, resize
from ablation.runs.config import Data

STRIPES = Data("stripes", 6, 96, generator=stripes.VERSION)


def test_rounding_of_another_processor_does_not_reach_the_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sines off in their last bits, as another library of them may be, render the same images."""
    images, _ = stripes.render("train", 288, 0)
    sine = np.sin
    monkeypatch.setattr(stripes.np, "sin", lambda x: sine(x) * (1 + 2**-50))
    assert (stripes.render("train", 288, 0)[0] == images).all()


# Of the first images and labels of both splits, by generator. Images that a machine has decoded are kept by
# this number: whoever changes what is drawn raises it, or old images go on being trained on.
DRAWN = {3: "e0be85e44374686c82b02bfea8f17ba1bdd1440bb48812621e97bb44b7955af8"}


def test_other_images_have_another_generator() -> None:
    drawn = hashlib.sha256()
    for split in ("train", "evaluation"):
        for part in stripes.render(split, stripes.CHUNK, 0):
            drawn.update(part.tobytes())
    assert drawn.hexdigest() == DRAWN[stripes.VERSION]


def test_kinds_take_turns_and_each_has_every_class_as_often() -> None:
    _, labels = stripes.render("train", 2 * stripes.CHUNK, 0)
    for kind in range(len(stripes.KINDS)):
        assert (np.bincount(labels[kind :: len(stripes.KINDS)]) == 24).all()


@pytest.fixture(scope="module")
def rendered() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return stripes.render("evaluation", 4 * stripes.CHUNK, 0)


@pytest.mark.parametrize(
    ("pixels", "fine"), [(20, (0.58, 0.69)), (26, (0.95, 1.0)), (96, (0.99, 1.0))]
)
def test_only_fine_stripes_are_lost_with_the_pixels(
    pixels: int,
    fine: tuple[float, float],
    rendered: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    """The strongest wave of an image's spectrum has the class's angle, whatever the pixels but for fine
    stripes."""
    images, labels = rendered
    seen = resize(images, np.arange(len(images)), pixels, None).numpy()
    parts = np.array_split(seen, 4 * 9)  # the spectra of all would take gigabytes
    right = np.concatenate([read(part) for part in parts]) == labels
    assert fine[0] <= right[0::2].mean() <= fine[1]
    assert 0.7 < right[1::2].mean() < 0.86


def read(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N,): the class whose angle the strongest wave of all colours has."""
    side = images.shape[1]
    window = np.hanning(side)[:, None, None] * np.hanning(side)[None, :, None]
    centred = images / 255 - images.mean((1, 2), keepdims=True) / 255
    spectrum = np.fft.rfft2(centred * window, s=(192, 192), axes=(1, 2))
    power = (np.abs(spectrum) ** 2).sum(-1)
    both, half = np.fft.fftfreq(192) * side, np.fft.rfftfreq(192) * side
    down, across = np.meshgrid(both, half, indexing="ij")
    power[:, np.hypot(down, across) < 0.5] = 0
    strongest = power.reshape(len(images), -1).argmax(1)
    angle = np.arctan2(down.flat[strongest], across.flat[strongest])
    return np.round(angle / np.pi * stripes.CLASSES).astype(np.int64) % stripes.CLASSES


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "SIZES", {"train": 288, "evaluation": 144})


def test_another_generator_or_another_number_of_classes_is_refused() -> None:
    assert embedded(STRIPES) is stripes
    for field, value in (("generator", 1), ("classes", 7), ("native", 64)):
        with pytest.raises(ValueError, match=f"data.{field}={value}: stripes has"):
            embedded(Data(**{**vars(STRIPES), field: value}))


def test_one_kind_alone_is_the_images_of_that_kind(tmp_path: Path, few: None) -> None:
    faint = replace(STRIPES, kind="faint", train_size=70, validation_size=20)
    rows = choose(faint, decoded(faint, tmp_path))
    assert [len(each) for _, each in rows.values()] == [70, 20, 72]
    assert all((each % 2 == 1).all() for _, each in rows.values())
    assert not set(rows["train"][1]) & set(rows["validation"][1])
    assert sizes(faint, tmp_path) == Sizes(70, 20, 72)
    with pytest.raises(ValueError, match="data.train_size=200, .* has 144 training images in all"):
        choose(replace(faint, train_size=200), decoded(faint, tmp_path))
    with pytest.raises(ValueError, match="data.kind=fien: choose one of fine, faint"):
        embedded(replace(STRIPES, kind="fien"))
    with pytest.raises(
        ValueError, match="data.kind=fine: photos is not made of kinds; leave it out"
    ):
        embedded(Data("photos", 6, 96, kind="fine"))


def test_permuted_labels_are_the_same_ones_on_other_images(tmp_path: Path, few: None) -> None:
    plain = replace(STRIPES, train_size=200, validation_size=20)
    with_labels, shuffled, again = (
        load(data, 20, tmp_path).train for data in (plain, *2 * [replace(plain, permuted=True)])
    )
    assert (with_labels.pixels == shuffled.pixels).all()
    agreeing = (with_labels.labels == shuffled.labels).float().mean()
    assert abs(agreeing - 1 / stripes.CLASSES) < 0.1
    assert (shuffled.labels == again.labels).all()
    assert replace(plain, permuted=True).identity() != plain.identity()
    everything = load(replace(plain, permuted=True, train_size=288 - 20), 20, tmp_path)
    labels = torch.cat([everything.train.labels, everything.validation.labels])
    assert (torch.bincount(labels) == 48).all()
