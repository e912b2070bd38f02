"""Photographs as phones and cameras leave them: what is stored of them, what a network sees, and that records
made before keep their names."""

import dataclasses
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ablation.command import storing
from ablation.command.compose import composed
from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan, single
from ablation.command.progress import Progress
from ablation.command.storing import in_words, refuse_full, stores
from ablation.door import hydra
from ablation.images.batches import Batches, crop, normalise, random_boxes, standard
from ablation.images.cache import decoded, place, underway
from ablation.images.decoding import PROGRESS
from ablation.images.pixels import square
from ablation.images.splits import Images, Splits, Streamed, centred, cut, load, resize
from ablation.images.survey import Survey
from ablation.runs.config import Data, Recipe
from ablation.train.card import told
from ablation.train.execute import execute
from ablation.train.written import prepare
from tests.conftest import TINY

WIDE, HIGH = 1600, 1200
BATCH = "recipe.batch_size=8"
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]], np.uint8)

# Run ids of the last version that stored everything at native size.
BEFORE = {
    "data=shapes": "77c3e9e7bb9b",
    "data=stripes": "63f5ff77d615",
    "data=imagenette-96": "79ccb190d8b3",
    "data=imagenette-96 recipe=reference": "d89af2e50bd1",
    "data=imagenette-96 data.detail=32 scaling=resolution phi=1": "9e6c2bb2921f",
    "data=imagenette": "9c245d03c870",
    "data=cifar10 baseline=mini": "5b176db93981",
    "data=cifar100 baseline=mini": "5568f5f98fc3",
    "data=imagenet": "ea3ac61497f7",
    "data=shapes recipe.crop=0.35": "47bfbb93a696",
    "data.name=owner/name data.classes=10 data.native=400 recipe.crop=0.5": "e09e5303142c",
}


@pytest.mark.parametrize("words", BEFORE)
def test_what_had_records_keeps_its_id(words: str) -> None:
    [entry] = planned(*words.split()).planned
    assert entry.run.id == BEFORE[words]


def planned(*words: str) -> Plan:
    with hydra():
        return plan(arguments(list(words)))


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Four quadrants of one colour each under smooth light, as in no two photographs alike."""
    quadrants = COLOURS[[[0, 1], [2, 3]]]
    light = np.random.default_rng(seed).integers(-30, 30, (6, 8, 3))
    patches = quadrants.repeat(3, 0).repeat(4, 1).astype(int) + light
    small = Image.fromarray(patches.clip(0, 255).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten: among them a portrait, one turned by EXIF, one in CMYK, a PNG with alpha."""
    folder = tmp_path_factory.mktemp("albums") / "photos"
    for place_, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            sides = (HIGH, WIDE) if number == 1 else (WIDE, HIGH)
            _save(photograph(*sides, seed=10 * place_ + number), folder / name, number)
    return folder


def _save(picture: Image.Image, folder: Path, number: int) -> None:
    if number == 2:
        turned = Image.Exif()
        turned[0x0112] = 6
        picture.save(folder / "2.jpg", exif=turned)
    elif number == 3:
        picture.convert("CMYK").save(folder / "3.jpg")
    elif number == 4:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(folder / "4.png", compress_level=1)
    else:
        picture.save(folder / f"{number}.jpg", quality=90)


def album(photos: Path, tmp_path: Path, *words: str) -> Plan:
    """A plan over the photographs, with a cache and records of its own."""
    return planned(
        f"data.path={photos}", f"cache={tmp_path}/cache", f"runs={tmp_path}/runs", BATCH, *words
    )


def test_photographs_are_stored_small_and_the_plan_says_how_small(
    photos: Path, tmp_path: Path
) -> None:
    wanted = album(photos, tmp_path)
    [store] = wanted.stores(())
    data = store.data
    assert (data.native, data.stored, data.side) == (HIGH, 256, 256)
    assert str(store).startswith("to store: 20 images at 256 px, 3.93 MB, in ")
    assert store.bytes == 20 * 3 * 256**2
    folder = decoded(data, tmp_path / "cache")
    arrays = [np.load(folder / f"{name}.npy") for name in ("train", "evaluation")]
    assert [array.shape for array in arrays] == [(16, 256, 256, 3), (4, 256, 256, 3)]
    assert not (folder / PROGRESS).exists()
    [unseen] = stores([(wanted.planned[0], Survey(data))], tmp_path / "cache")
    [stored] = album(photos, tmp_path).stores(())
    assert str(unseen) == str(stored)
    assert stored.bytes == 0
    assert str(stored).startswith("stored: 20 images at 256 px, 3.93 MB, in ")
    assert album(photos, tmp_path).stores({wanted.planned[0].run.id}) == []
    load(data, 16, tmp_path / "cache")
    assert ", and 15.7 kB resized from them, in " in str(stored)
    (folder / "train-labels.npy").write_bytes(b"")
    [damaged] = album(photos, tmp_path).stores(())
    assert damaged.bytes == store.bytes


def test_what_is_stored_is_part_of_what_a_run_is(photos: Path, tmp_path: Path) -> None:
    """A record of photographs stored whole is found by saying so, and is not taken for the new thing."""
    small, whole, stated = (
        album(photos, tmp_path, *words).planned[0].run
        for words in ((), ("data.stored=5000",), (f"data.native={HIGH}",))
    )
    assert "stored" in small.data.identity()
    assert "stored" not in whole.data.identity()
    assert whole.id == stated.id != small.id
    assert place(whole.data, tmp_path) != place(small.data, tmp_path)


def test_small_images_of_ones_own_are_stored_as_they_were(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "small" / name).mkdir(parents=True)
        for number in range(10):
            photograph(120, 100, number).save(tmp_path / "small" / name / f"{number}.png")
    [entry] = album(tmp_path / "small", tmp_path).planned
    assert (entry.run.data.native, entry.run.data.stored) == (100, None)


@pytest.mark.parametrize(
    ("stored", "native", "pixels", "side"),
    [
        (256, 3000, 32, 256),
        (256, 3000, 256, 256),
        (256, 3000, 257, 512),
        (256, 3000, 600, 1024),
        (256, 400, 300, 400),
        (256, 200, 32, 200),
        (200, 3000, 300, 400),
        (None, 3000, 32, 3000),
        (256, 400, 500, 400),
    ],
)
def test_the_stored_side_doubles_until_it_holds_the_network(
    stored: int | None, native: int, pixels: int, side: int
) -> None:
    data = Data("mine", 2, native, stored=stored).holding(pixels)
    assert data.side == side
    assert data.holding(pixels) == data
    assert (data.stored is None) == (side == native)


def test_a_network_is_never_fed_from_less_than_its_side() -> None:
    with pytest.raises(
        ValueError, match=r"300 px is above data.stored=256, .*data.stored=300 or more"
    ):
        Data("mine", 2, 3000, stored=256).check_pixels(300)


def test_a_plan_that_grows_stores_all_its_images_alike_and_its_jobs_know(
    photos: Path, tmp_path: Path
) -> None:
    words = ("baseline=b0", "scaling=published", "scaling.variant=b0,b3")
    wanted = album(photos, tmp_path, *words)
    assert {entry.run.network.pixels for entry in wanted.planned} == {224, 300}
    assert {entry.run.data.stored for entry in wanted.planned} == {512}
    [store] = wanted.stores(())
    assert "at 512 px, for the network of 300 px, 15.7 MB" in str(store)
    for job in wanted.jobs:
        with hydra():
            entry, _ = single(composed(list(job.overrides)))
        assert entry.run.id == job.planned.run.id
        assert any(word.startswith("expect=") and entry.run.id in word for word in job.overrides)
    assert wanted.stored == ("data.stored=512",)
    [part] = album(photos, tmp_path, *words[:-1], "scaling.variant=b0", *wanted.stored).planned
    assert part.run.id in {entry.run.id for entry in wanted.planned}
    [alone] = album(photos, tmp_path, "baseline=b0").planned
    assert alone.run.data.stored == 256


def test_a_plan_that_fits_no_disk_is_refused_with_a_way_out_that_works(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    needed = album(photos, tmp_path).stores(())
    with pytest.raises(ValueError) as refused:
        refuse_full(needed, tmp_path / "cache")
    said = str(refused.value)
    assert "take 3.93 MB (3,932,160 bytes), 100 kB (100,000) are free there; set cache=" in said
    assert said.endswith("or data.stored=32")
    refuse_full(album(photos, tmp_path, "data.stored=32").stores(()), tmp_path / "cache")


def test_plan_and_run_refuse_it_in_a_line(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ablation.command import sweep
    from ablation.plan import show

    monkeypatch.setattr(sweep, "on_signals", lambda _: None)

    monkeypatch.setattr(storing.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    words = [f"data.path={photos}", f"cache={tmp_path}/cache", f"runs={tmp_path}/runs", BATCH]
    with hydra():
        with pytest.raises(ValueError, match="are free there; set cache=FOLDER"):
            show(arguments(words), False)
        with pytest.raises(ValueError, match="are free there; set cache=FOLDER"):
            sweep.sweep(arguments(words), lambda jobs: pytest.fail("nothing may be launched"))
    assert not list((tmp_path / "cache").glob("photos-*"))


def test_made_images_are_not_stored_smaller() -> None:
    with pytest.raises(ValueError, match="data.stored=48: stripes is made, not decoded"):
        planned("data=stripes", "data.stored=48").stores(())


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (11_796_480, "11.8 MB"),
        (999_600, "1 MB"),
        (1.4e12, "1.4 TB"),
    ],
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert in_words(count) == words


def jpeg(picture: Image.Image, **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, **how)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["RGB", "L", "CMYK"])
def test_scaled_decoding_shows_what_whole_decoding_shows(form: str) -> None:
    """The scale of a JPEG leaves twice the side, so the resize after it decides: what is left is rounding."""
    encoded = jpeg(photograph(WIDE, HIGH).convert(form))
    (whole, side), (scaled, same) = (
        square(encoded, 256, scaled=scaled) for scaled in (False, True)
    )
    assert side == same == HIGH
    difference = np.abs(whole.astype(int) - scaled.astype(int))
    assert difference.max() <= 4
    assert difference.mean() < 0.5


def test_scaled_decoding_decodes_less_and_never_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL.JpegImagePlugin import JpegImageFile

    decoded_to: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def watched(picture: JpegImageFile, mode: str | None, size: tuple[int, int]) -> object:
        found = draft(picture, mode, size)
        decoded_to.append(picture.size)
        return found

    monkeypatch.setattr(JpegImageFile, "draft", watched)
    encoded = jpeg(photograph(WIDE, HIGH))
    for side in (32, 128, 256, 512, 1000):
        square(encoded, side, scaled=True)
    assert decoded_to == [(200, 150), (400, 300), (800, 600), (1600, 1200), (1600, 1200)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_upright_however_it_is_decoded(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = jpeg(photograph(WIDE, HIGH), exif=exif)
    whole, scaled = (square(encoded, 64, scaled=how)[0].astype(int) for how in (False, True))
    assert np.abs(whole - scaled).max() <= 4


def test_whoever_waits_sees_how_many_images_are_decoded(photos: Path, tmp_path: Path) -> None:
    wanted = album(photos, tmp_path, *TINY[:3])
    [store] = wanted.stores(())
    assert underway(store.folder) is None
    draft = store.folder.with_name(f"{store.folder.name}.part")
    draft.mkdir(parents=True)
    out = io.StringIO()
    watching = Progress(wanted.planned, wanted.execution, out)
    for written in ("0 20", "10 20", "10 20", "", "15 20"):
        (draft / PROGRESS).write_text(written)
        watching.look()
    assert out.getvalue().splitlines() == [
        "decoding images: 10 of 20",
        "decoding images: 15 of 20",
    ]
    assert watching._rows() == [("images", 0.75, "15 of 20 decoded")]


def test_decoding_counts_every_image_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablation.images import decoding

    counted: list[str] = []
    monkeypatch.setattr(decoding, "HELD", 3 * 5 * 256**2)
    monkeypatch.setattr(decoding, "EVERY", 0)
    add = decoding.Count.add

    def watched(self: decoding.Count, count: int) -> None:
        add(self, count)
        counted.append((self.file).read_text())

    monkeypatch.setattr(decoding.Count, "add", watched)
    decoded(album(photos, tmp_path).planned[0].run.data, tmp_path / "cache")
    assert counted == [f"{count} 20" for count in range(21)]


# --- What a network sees of them.

CROPS = Recipe(
    epochs=1,
    batch_size=8,
    learning_rate=0.1,
    crop=0.25,
    crop_from="stored",
    evaluation_crop=0.875,
)


@pytest.fixture(scope="module")
def stored(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Path]:
    """Data of the photographs, and the cache in which they are decoded."""
    place_ = tmp_path_factory.mktemp("stored")
    data = album(photos, place_).planned[0].run.data
    decoded(data, place_ / "cache")
    return data, place_ / "cache"


def splits(stored: tuple[Data, Path], pixels: int, room: float = math.inf, **how: Any) -> Splits:
    data, cache = stored
    data = dataclasses.replace(data, **how)
    return load(data, pixels, cache, room=room, view=CROPS.evaluation_crop)


def test_a_box_is_what_pillow_cuts_and_resizes_once() -> None:
    image = np.asarray(photograph(64, 64))
    boxes = torch.tensor([[1.0, 1.0, 0.5, 0.5], [0.5, 0.25, 0.25, 0.875], [0.4, 0.4, 0.2, 0.8]])
    found = cut(image[None], np.zeros(3, int), boxes, 16).numpy()
    for seen, edges in zip(
        found, [(0, 0, 64, 64), (48, 0, 64, 32), (38.4, 0, 64, 25.6)], strict=True
    ):
        wanted = Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC, edges)
        assert np.array_equal(seen, np.asarray(wanted))


def test_no_box_reaches_beyond_an_image() -> None:
    """Rounding in float32 does; Pillow would refuse it."""
    image = np.asarray(photograph(60, 60))[None]
    boxes = random_boxes(4000, 0.9, torch.Generator().manual_seed(0))
    assert cut(image, np.zeros(4000, int), boxes, 4).shape == (4000, 4, 4, 3)


def test_a_crop_keeps_the_detail_that_a_shrunk_image_has_lost() -> None:
    """Stripes of two pixels: in a quarter of 256 px at 64 px they are whole, shrunk to 64 px before they are
    grey."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, np.arange(256) % 4 < 2] = 255
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    rows = np.zeros(1, int)
    now = cut(stripes[None], rows, boxes, 64).float()
    shrunk = resize(stripes[None], rows, 64)
    before = crop(shrunk.permute(0, 3, 1, 2).float(), boxes)
    assert now.std() > 100
    assert before.std() < 1


def test_what_is_measured_is_the_centre_of_what_is_stored(stored: tuple[Data, Path]) -> None:
    data, cache = stored
    seen = splits(stored, 32).evaluation
    assert isinstance(seen, Images)
    arrays = np.load(place(data, cache) / "evaluation.npy")
    for pixels, array in zip(seen.pixels.numpy(), arrays, strict=True):
        centre = Image.fromarray(array).resize(
            (32, 32), Image.Resampling.BICUBIC, (16, 16, 240, 240)
        )
        assert np.array_equal(pixels, np.asarray(centre))


def epoch(images: Images | Streamed, recipe: Recipe, **place: int) -> list[tuple[Tensor, Tensor]]:
    return list(Batches(images, recipe, 3, lambda: 1, **place))


def test_pixels_are_the_same_wherever_images_lie_and_whatever_reads_them(
    stored: tuple[Data, Path],
) -> None:
    held, streamed = splits(stored, 40), splits(stored, 40, room=0)
    for name in ("validation", "evaluation"):
        one, other = getattr(held, name), getattr(streamed, name)
        assert isinstance(one, Images) and isinstance(other, Streamed)
        [(pixels, _)] = other.batches(torch.arange(len(other)), 99)
        assert torch.equal(pixels, one.pixels)
    several = dataclasses.replace(streamed.train, readers=2)  # type: ignore[type-var]
    alone = dataclasses.replace(streamed.train, readers=0)  # type: ignore[type-var]
    batches = [epoch(images, CROPS) for images in (held.train, alone, several)]
    for one, other, third in zip(*batches, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[0], third[0])
        assert torch.equal(one[1], other[1]) and torch.equal(one[1], third[1])


def test_processes_that_share_a_batch_see_its_parts(stored: tuple[Data, Path]) -> None:
    images = splits(stored, 24).train
    [(whole, labels)] = epoch(images, CROPS)
    parts = [epoch(images, CROPS, rank=rank, ranks=2)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([pixels for pixels, _ in parts]), whole)
    assert torch.equal(torch.cat([each for _, each in parts]), labels)


def test_the_same_epoch_shows_the_same_crops_at_any_resolution(stored: tuple[Data, Path]) -> None:
    """Up to what a resize does: brought to one side, they are alike."""
    small, large = (epoch(splits(stored, side).train, CROPS)[0] for side in (32, 96))
    again = F.interpolate(large[0], size=(32, 32), mode="bilinear", antialias=True)
    other = torch.roll(again, 1, 0)
    assert torch.equal(small[1], large[1])
    assert (small[0] - again).abs().mean() < 0.02 < 0.2 < (small[0] - other).abs().mean()


def test_what_is_not_cropped_is_seen_whole_and_once(stored: tuple[Data, Path]) -> None:
    """A recipe without random crops whose evaluation crops trains on whole images."""
    recipe = dataclasses.replace(CROPS, crop=1.0, flip=False)
    images = splits(stored, 32).train
    assert isinstance(images, Streamed)
    [(pixels, _)] = epoch(images, recipe)
    array = np.load(images.file)[images.rows]
    boxes = torch.tensor([[1.0, 1.0, 0.5, 0.5]]).expand(len(array), 4)
    whole = normalise(cut(array, np.arange(len(array)), boxes, 32))
    distances = (pixels[:, None] - whole[None]).abs().amax((2, 3, 4))
    assert (distances.amin(1) == 0).all()


def test_detail_is_taken_away_before_a_crop_is_cut(stored: tuple[Data, Path]) -> None:
    fine, coarse = (epoch(splits(stored, 64, detail=each).train, CROPS)[0][0] for each in (None, 8))
    steps = [(images.diff(dim=3).abs().amax()).item() for images in (fine, coarse)]
    assert steps[1] < steps[0]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), "shrunk"),
        (("recipe.crop_from=stored",), "shrunk"),
        (("recipe.crop=0.5",), "stored"),
        (("recipe.crop=0.5", "recipe.crop_from=shrunk"), "shrunk"),
        (("recipe.crop=0.5", "data.stored=5000"), "stored"),
        (("recipe.crop=0.5", f"data.native={HIGH}"), "shrunk"),
        (("recipe.crop=0.5", "recipe.crop_from=original"), "original"),
        (("recipe.crop_from=original",), "original"),
        (("recipe=paper", "recipe.batch_size=8"), "original"),
    ],
)
def test_crops_of_ones_own_images_are_cut_from_what_is_stored(
    words: tuple[str, ...], wanted: str, photos: Path, tmp_path: Path
) -> None:
    [entry] = album(photos, tmp_path, *words).planned
    assert entry.run.recipe.crop_from == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("data=shapes", "recipe.crop=0.5"), "shrunk"),
        (("data=shapes", "recipe=paper"), "stored"),
        (("data=imagenet", "recipe.crop=0.5"), "original"),
        (("data=imagenet", "recipe.crop=0.5", "recipe.crop_from=stored"), "stored"),
        (("data=cifar10", "recipe=paper"), "original"),
    ],
)
def test_crops_of_other_images_are_cut_as_they_were(words: tuple[str, ...], wanted: str) -> None:
    [entry] = planned(*words).planned
    assert entry.run.recipe.crop_from == wanted
    assert entry.run.recipe.evaluation_crop == (0.875 if "recipe=paper" in words else 1)


def test_where_nothing_is_cropped_the_id_says_nothing_of_crops(
    photos: Path, tmp_path: Path
) -> None:
    one, other = (
        album(photos, tmp_path, *words).planned[0].run
        for words in ((), ("recipe.crop_from=stored",))
    )
    assert one.id == other.id


def test_an_evaluation_crop_of_a_shrunk_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation_crop=0.875: .*recipe.crop_from=stored"):
        planned("data=shapes", "recipe.evaluation_crop=0.875")
    with pytest.raises(
        ValueError, match="recipe.crop_from=native: choose one of shrunk, stored, original"
    ):
        planned("data=shapes", "recipe.crop=0.5", "recipe.crop_from=native")


def test_a_run_on_photographs_ends_in_a_record_that_says_how_they_were_seen(
    photos: Path, tmp_path: Path
) -> None:
    crops = ("recipe.crop=0.25", "recipe.evaluation_crop=0.875", "recipe.epochs=1")
    wanted = album(photos, tmp_path, *crops)
    record = execute(wanted.planned[0], wanted.execution)
    assert record.status == "done"
    told = record.config["recipe"]
    assert (told["crop_from"], told["evaluation_crop"]) == ("stored", 0.875)
    assert record.config["data"]["stored"] == 256
    assert record.answers["evaluation"]["count"] == 4


@pytest.mark.parametrize("detail", [None, 40])
def test_an_exported_network_prepares_a_photograph_as_in_training(detail: int | None) -> None:
    encoded = jpeg(photograph(WIDE, HIGH))
    array, _ = square(encoded, 256, "white", scaled=True)
    wanted = normalise(cut(array[None], np.zeros(1, int), centred(1, 0.9), 23, detail))
    images = {
        **{"native": 256, "scaled": True, "crop_from": "stored", "evaluation_crop": 0.9},
        **{"detail": detail, "pixels": 23, "background": "white", "levels": {}},
        **standard(),
    }
    found = prepare(Image.open(io.BytesIO(encoded)), images)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    steps = told(images)
    assert "leaves 512 px or more" in steps[0]
    assert any("the centre, 0.9 of the side, to 23 x 23 px in one resize" in step for step in steps)
