"""Images: the embedded set, decoding, splits, resizing, augmentation, and each way in which a source can be
broken."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ablation.images import shapes
from ablation.images import splits as images_splits
from ablation.images.batches import MEAN, STD, Batches, crop, normalise, random_boxes
from ablation.images.cache import check_digest, choose, decoded
from ablation.images.embedded import EMBEDDED, Embedded
from ablation.images.pixels import square
from ablation.images.splits import Images, Splits, Streamed, load, resize
from ablation.images.survey import survey
from ablation.runs import config
from ablation.runs import resized as kept_files
from ablation.runs.config import Data, Recipe
from ablation.runs.resized import resized
from ablation.train.processes import together
from tests.conftest import TINY
from tests.test_faults import command

SHAPES = Data("shapes", 12, 96, train_size=100, validation_size=50)
RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=0.1, shift=0.1)


def picture(seed: int, width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_parquet(
    path: Path,
    count: int = 20,
    labels: list[int] | None = None,
    broken: tuple[int, ...] = (),
    width: int = 40,
) -> None:
    import datasets

    rows = [
        {"bytes": b"not an image" if i in broken else picture(i, width), "path": f"img{i}.png"}
        for i in range(count)
    ]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict(
        {"image": rows, "label": labels or [i % 2 for i in range(count)]}, features=features
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A local Parquet data set of 20 + 10 noise pictures of 40 x 30 px in two classes; its label column is
    stated."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    folder = tmp_path / "set"
    write_parquet(folder / "train-00000-of-00001.parquet")
    write_parquet(folder / "test-00000-of-00001.parquet", 10)
    return Data("mine", 2, 24, path=str(folder), label="label", validation_size=5)


def known(data: Data, tmp_path: Path) -> Data:
    """The same, once the files at its path are known."""
    return survey(dataclasses.asdict(data), tmp_path / "runs", tmp_path / "cache").data


@pytest.mark.parametrize("made", EMBEDDED.values(), ids=EMBEDDED)
def test_embedded_images_are_the_same_bits_for_the_same_seed(made: Embedded) -> None:
    first, again, other = (made.render("train", 150, seed) for seed in (0, 0, 1))
    assert first[0].shape == (150, 96, 96, 3)
    assert first[0].dtype == np.uint8
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()
    assert (made.render("train", 40, 0)[0] == first[0][:40]).all()
    assert (made.render("evaluation", 40, 0)[0] != first[0][:40]).any()


def test_data_names_the_embedded_sets_that_there_are() -> None:
    assert tuple(EMBEDDED) == config.EMBEDDED


def test_shapes_are_balanced_and_their_images_differ() -> None:
    images, labels = shapes.render("train", 240, 0)
    assert (np.bincount(labels, minlength=12) == 20).all()
    assert images.std(axis=(1, 2, 3)).min() > 10
    assert len({image.tobytes() for image in images}) == 240


def test_every_class_differs_in_outline_or_texture_only() -> None:
    assert len(shapes.HARMONICS) * len(shapes.TEXTURES) == shapes.CLASSES == 12


def test_load_splits_without_overlap_and_holds_validation_out_of_train(cache: Path) -> None:
    splits = load(SHAPES, 32, cache)
    assert [len(part) for part in (splits.train, splits.validation, splits.evaluation)] == [
        100,
        50,
        100,
    ]
    seen = [
        image.numpy().tobytes()
        for part in (splits.train, splits.validation, splits.evaluation)
        for image in part.pixels
    ]
    assert len(set(seen)) == 250
    bigger = load(dataclasses.replace(SHAPES, train_size=200), 32, cache)
    # Whatever the training set, the same validation images.
    assert torch.equal(bigger.validation.pixels, splits.validation.pixels)


def test_the_evaluation_split_stays_closed(cache: Path) -> None:
    assert load(SHAPES, 32, cache, evaluate=False).evaluation is None


def test_a_second_load_reads_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(SHAPES, 32, cache)
    monkeypatch.setattr(shapes, "render", lambda *args: pytest.fail("rendered again"))
    load(SHAPES, 40, cache)


def pixels_of(splits: Splits) -> list[Tensor]:
    parts = (splits.train, splits.validation, splits.evaluation)
    return [part.pixels for part in parts if isinstance(part, Images)]


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path) -> Path:
    """A cache that nobody else reads, with the decoded sets of the shared one."""
    for folder in cache.iterdir():
        if folder.is_dir() and not folder.name.startswith("index"):
            shutil.copytree(
                folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("resized")
            )
    return tmp_path


def resized_files(cache: Path, data: Data = SHAPES) -> list[Path]:
    return sorted(resized(decoded(data, cache)).glob("*.npy"))


def test_images_are_resized_once_and_then_mapped(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(SHAPES, 32, own_cache)
    assert [file.name.split("-")[:2] for file in resized_files(own_cache)] == [
        ["evaluation", "32px"],
        ["train", "32px"],
        ["train", "32px"],
    ]
    folder = decoded(SHAPES, own_cache)
    native, rows = np.load(folder / "train.npy"), choose(SHAPES, folder)["train"][1]
    assert torch.equal(first.train.pixels, resize(native, rows, 32))
    monkeypatch.setattr(images_splits, "seen", lambda *args: pytest.fail("resized again"))
    for ours, theirs in zip(pixels_of(load(SHAPES, 32, own_cache)), pixels_of(first), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(pytest.fail.Exception):
        load(dataclasses.replace(SHAPES, train_size=90), 32, own_cache)  # other images
    with pytest.raises(pytest.fail.Exception):
        load(dataclasses.replace(SHAPES, detail=16), 32, own_cache)  # seen in another way


def test_images_at_the_stored_side_are_not_written_twice(own_cache: Path) -> None:
    load(SHAPES, 96, own_cache)
    assert resized_files(own_cache) == []


@pytest.mark.parametrize("cut", [True, False])
def test_resized_images_that_are_damaged_are_made_again(own_cache: Path, cut: bool) -> None:
    before = [part.clone() for part in pixels_of(load(SHAPES, 32, own_cache))]
    names = resized_files(own_cache)
    for file in names:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content[:-7] if cut else content)
    after = pixels_of(load(SHAPES, 32, own_cache))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(after, before, strict=True))
    assert resized_files(own_cache) == names


def refused(path: Path, fallback_to_soft: bool) -> None:
    raise PermissionError(path)


def test_without_room_for_resized_images_each_run_resizes_its_own(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = pixels_of(load(SHAPES, 32, own_cache))
    monkeypatch.setattr(kept_files, "SHARE", 2**60)
    for ours, theirs in zip(pixels_of(load(SHAPES, 40, own_cache)), there, strict=True):
        assert ours.shape == (len(theirs), 40, 40, 3)
    monkeypatch.setattr(kept_files, "FileLock", refused)
    assert pixels_of(load(SHAPES, 28, own_cache))[0].shape[1] == 28
    assert {file.name.split("-")[1] for file in resized_files(own_cache)} == {"32px"}


def test_processes_that_want_the_same_side_at_once_resize_it_once(own_cache: Path) -> None:
    found = together(_load_in_a_process, [(own_cache,)] * 3)
    assert len(set(found)) == 1
    assert len(resized_files(own_cache)) == 3
    assert not list(resized(decoded(SHAPES, own_cache)).glob(".*"))


def _load_in_a_process(cache: Path) -> bytes:
    return b"".join(part.numpy().tobytes() for part in pixels_of(load(SHAPES, 36, cache)))


def test_sizes_that_the_source_lacks_are_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"data.train_size=5000.*shapes has 300 training images"):
        load(dataclasses.replace(SHAPES, train_size=5000), 32, cache)
    with pytest.raises(ValueError, match="data.evaluation_size=101"):
        load(dataclasses.replace(SHAPES, evaluation_size=101), 32, cache)
    with pytest.raises(ValueError, match="100 px is above the 96 px"):
        load(SHAPES, 100, cache)
    assert load(dataclasses.replace(SHAPES, upsample=True), 100, cache).train.pixels.shape[1] == 100


def test_resizing_is_antialiased_and_rounds_in_float32() -> None:
    native = np.zeros((3, 96, 96, 3), dtype=np.uint8)
    native[:, ::2] = 255  # stripes of one pixel: any point sampling would keep them
    small = resize(native, np.array([0, 2]), 24)
    assert small.shape == (2, 24, 24, 3)
    assert small.float().std() < 25 and small.float().mean().item() == pytest.approx(127.5, abs=2)
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(native[:1]).permute(0, 3, 1, 2).float(),
        size=(24, 24),
        mode="bilinear",
        antialias=True,
    )
    assert torch.equal(small[:1].permute(0, 3, 1, 2), exact.round().to(torch.uint8))
    assert torch.equal(resize(native, np.array([1]), 96)[0], torch.from_numpy(native[1]))


def test_a_folder_of_parquet_files_is_decoded_square_at_native_size(
    source: Data, tmp_path: Path
) -> None:
    source = known(source, tmp_path)
    splits = load(source, 24, tmp_path / "cache")
    assert [len(part) for part in (splits.train, splits.validation, splits.evaluation)] == [
        15,
        5,
        10,
    ]
    folder = decoded(source, tmp_path / "cache")
    expected, shorter = square(picture(3), 24)
    assert shorter == 30
    assert (np.load(folder / "train.npy")[3] == expected).all()
    assert list(np.load(folder / "train-labels.npy")) == [i % 2 for i in range(20)]


def test_a_study_on_cifar_trains_at_once_on_native_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files as those of the hub (img, label): resolution grows to 20 px of 32, and nothing is enlarged."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    folder = tmp_path / "cifar" / "plain_text"
    folder.mkdir(parents=True)
    for split, count in {"train": 120, "test": 60}.items():
        pictures = [{"bytes": picture(i, 32, 32), "path": None} for i in range(count)]
        labels = datasets.ClassLabel(names=[f"class {i}" for i in range(10)])
        features = datasets.Features({"img": datasets.Image(), "label": labels})
        rows = {"img": pictures, "label": [i % 10 for i in range(count)]}
        made = datasets.Dataset.from_dict(rows, features=features)
        made.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    study = ["study=quick", "study.rules=[resolution]", "study.phis=[0,2]", "study.seeds=[0]"]
    where = [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "wandb.mode=disabled"]
    images = ["data=cifar10", f"data.path={tmp_path / 'cifar'}"]
    ended = command(*study, *images, *TINY, *where)
    assert ended.status == 0, ended.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert sorted(record["config"]["network"]["pixels"] for record in records) == [10, 20]
    for record in records:
        data = record["config"]["data"]
        assert (data["name"], data["native"], data["classes"]) == ("uoft-cs/cifar10", 32, 10)
        assert not data["upsample"]


def test_a_folder_of_class_folders_needs_no_official_split(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            path = tmp_path / "set" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(i))
    stated = Data("set", 2, 24, path=str(tmp_path / "set"), validation_size=4)
    data = known(stated, tmp_path)
    splits = load(data, 24, tmp_path / "cache")
    assert [len(part) for part in (splits.train, splits.validation, splits.evaluation)] == [
        12,
        4,
        4,
    ]
    assert set(splits.train.labels.tolist()) == {0, 1}
    values = dataclasses.asdict(stated) | {"classes": None, "native": None}
    found = survey(values, tmp_path / "runs", tmp_path / "cache").data
    assert (found.classes, found.native) == (2, 30)


def test_half_a_parquet_file_is_named(source: Data, tmp_path: Path) -> None:
    file = Path(source.path or "") / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        ValueError, match="train-00000-of-00001.parquet is not a whole Parquet file"
    ):
        known(source, tmp_path)


def test_images_that_cannot_be_read_are_all_named(source: Data, tmp_path: Path) -> None:
    write_parquet(Path(source.path or "") / "train-00000-of-00001.parquet", broken=(4, 7, 8))
    names = ", ".join(f"train-00000-of-00001.parquet row {row}" for row in (4, 7, 8))
    with pytest.raises(ValueError, match=f"3 of 30 images cannot be read: no whole image.*{names}"):
        known(source, tmp_path)
    pinned = dataclasses.replace(source, files="0123456789ab")  # read when it was whole
    with pytest.raises(
        ValueError,
        match=r"3 of 20 images in train cannot be decoded: .*: img4.png \(row 4\), img7.png \(row 7\), "
        r"img8.png \(row 8\); replace them, or leave them out by data.skip_broken=true",
    ):
        load(pinned, 24, tmp_path / "cache")
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {"", ".lock"}  # index, lock


def test_a_label_outside_the_classes_is_named(source: Data, tmp_path: Path) -> None:
    write_parquet(
        Path(source.path or "") / "train-00000-of-00001.parquet", labels=[0, 1, 2, *[0] * 17]
    )
    with pytest.raises(
        ValueError, match="1 of 20 labels in train outside the 2 classes, first 2 in row 2"
    ):
        known(source, tmp_path)


def test_images_smaller_than_native_are_refused(source: Data, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30 of 30 images are smaller than data.native=48 px"):
        known(dataclasses.replace(source, native=48), tmp_path)


def test_columns_that_cannot_be_found_are_named(source: Data, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no single label column among image, label"):
        known(dataclasses.replace(source, label=None), tmp_path)
    with pytest.raises(ValueError, match="no split dev to evaluate on beside train, only test"):
        known(dataclasses.replace(source, evaluation="dev"), tmp_path)


def test_a_name_that_cannot_be_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def away(*args: object) -> None:
        raise ConnectionError("no network\nand a long story")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(
        ValueError,
        match="data.name=owner/none could not be opened: no network; check name and network",
    ):
        load(Data("owner/none", 2, 24), 24, tmp_path)


def test_a_changed_data_set_is_refused(source: Data, tmp_path: Path) -> None:
    source = dataclasses.replace(source, files="0123456789ab")
    check_digest(source, "abc", tmp_path)
    check_digest(source, "abc", tmp_path)
    with pytest.raises(ValueError, match=r"mine has changed since .* \(digest def, was abc\)"):
        check_digest(source, "def", tmp_path)
    check_digest(SHAPES, "abc", tmp_path)
    check_digest(SHAPES, "def", tmp_path)


def test_the_real_photographs_load(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "shared" / "data" / "imagenette"
    if not folder.is_dir():
        pytest.skip("Imagenette-96 does not lie beside the checkout")
    data = Data(
        "frgfm/imagenette",
        10,
        96,
        path=str(folder),
        train_size=200,
        validation_size=100,
        evaluation_size=100,
    )
    data = known(data, tmp_path)
    splits = load(data, 32, tmp_path)
    assert splits.evaluation is not None
    assert splits.train.pixels.shape == (200, 32, 32, 3)
    assert set(splits.validation.labels.tolist()) == set(range(10))
    assert 90 < splits.train.pixels.float().mean() < 140
    about = json.loads((decoded(data, tmp_path) / "about.json").read_text())
    assert about["digest"] == splits.digest


def batches(
    epoch: int = 0, seed: int = 0, recipe: Recipe = RECIPE, count: int = 40
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    pixels = (
        torch.arange(count * 20 * 20 * 3, dtype=torch.int64)
        .remainder(251)
        .to(torch.uint8)
        .reshape(count, 20, 20, 3)
    )
    return list(Batches(Images(pixels, torch.arange(count)), recipe, seed, lambda: epoch))


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    same, again, later, other = batches(), batches(), batches(epoch=1), batches(seed=1)
    assert all(
        torch.equal(a, b)
        for one, two in zip(same, again, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert not torch.equal(same[0][1], later[0][1])
    assert not torch.equal(same[0][1], other[0][1])


def test_an_epoch_shows_each_image_at_most_once_and_drops_the_partial_batch() -> None:
    labels = torch.cat([labels for _, labels in batches()])
    assert len(labels) == 32 == len(set(labels.tolist()))


def test_without_augmentation_a_batch_holds_the_images_themselves() -> None:
    plain = dataclasses.replace(RECIPE, shift=0.0, flip=False)
    images, labels = batches(recipe=plain)[0]
    pixels = torch.arange(40 * 1200).remainder(251).to(torch.uint8).reshape(40, 20, 20, 3)
    assert torch.equal(images, normalise(pixels[labels]))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_every_augmented_image_is_a_shift_or_a_mirror_of_its_own() -> None:
    pixels = torch.randint(
        0, 255, (32, 20, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    flipped = set()
    for images, labels in Batches(Images(pixels, torch.arange(32)), RECIPE, 0, lambda: 0):
        for image, label in zip(images, labels, strict=True):
            padded = torch.nn.functional.pad(
                normalise(pixels[label][None]), (2, 2, 2, 2), mode="reflect"
            )[0]
            found = [
                mirror
                for mirror in (False, True)
                for y in range(5)
                for x in range(5)
                if torch.equal(
                    image,
                    (
                        padded[:, y : y + 20, x : x + 20].flip(2)
                        if mirror
                        else padded[:, y : y + 20, x : x + 20]
                    ),
                )
            ]
            assert len(found) == 1
            flipped |= set(found)
    assert flipped == {False, True}


def test_crops_cover_the_stated_area_and_the_whole_image_is_itself() -> None:
    boxes = random_boxes(2000, 0.08, torch.Generator().manual_seed(0))
    height, width, y, x = boxes.T
    assert (height * width).min() > 0.05 and (height * width).mean().item() == pytest.approx(
        0.54, abs=0.05
    )
    assert ((y - height / 2) > -1e-6).all() and ((x + width / 2) < 1 + 1e-6).all()
    images = torch.randn(4, 3, 16, 16)
    assert torch.allclose(
        crop(images, torch.tensor([[1.0, 1.0, 0.5, 0.5]]).repeat(4, 1)), images, atol=1e-5
    )
    corner = crop(images, torch.tensor([[0.5, 0.5, 0.25, 0.75]]).repeat(4, 1))
    assert torch.allclose(corner.mean((2, 3)), images[:, :, :8, 8:].mean((2, 3)), atol=0.15)


def test_normalisation_is_imagenets() -> None:
    grey = normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))
    assert grey[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], rel=1e-5
    )


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded:DeprecationWarning"
)  # of Python 3.12 where readers start
@pytest.mark.parametrize("detail", [None, 16])
def test_streamed_batches_are_those_of_memory_bit_for_bit(cache: Path, detail: int | None) -> None:
    recipe, data = dataclasses.replace(RECIPE, crop=0.3), dataclasses.replace(SHAPES, detail=detail)
    size = 3 * 32**2 * 250
    held, streamed = (
        load(data, 32, cache, room=size),
        load(data, 32, cache, room=size - 1, readers=2),
    )
    assert (type(held.train), type(streamed.train), type(streamed.evaluation)) == (
        Images,
        Streamed,
        Streamed,
    )
    for epoch in range(2):
        both = (
            list(Batches(split.train, recipe, 0, lambda epoch=epoch: epoch))
            for split in (held, streamed)
        )
        for ours, theirs in zip(*both, strict=True):
            assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    order = torch.arange(len(held.evaluation))
    for ours, theirs in zip(
        held.evaluation.batches(order, 32), streamed.evaluation.batches(order, 32), strict=True
    ):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert torch.equal(held.train.head(7).labels, streamed.train.head(7).labels)


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ValueError, match="recipe.batch_size=16: there are only 10 training images"):
        batches(count=10)
