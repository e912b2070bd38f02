"""Photographs as phones and cameras leave them: what is stored of them, and that records made before keep
their names."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ablation.command import storing
from ablation.command.compose import composed
from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan, single
from ablation.command.progress import Progress
from ablation.command.storing import in_words, refuse_full
from ablation.door import hydra
from ablation.images.cache import decoded, place, underway
from ablation.images.decoding import PROGRESS
from ablation.images.pixels import square
from ablation.runs.config import Data
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
    "data=cifar10": "5b176db93981",
    "data=cifar100": "5568f5f98fc3",
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
    [stored] = album(photos, tmp_path).stores(())
    assert stored.bytes == 0
    assert str(stored).startswith("stored: 20 images at 256 px, 3.93 MB, in ")
    assert album(photos, tmp_path).stores({wanted.planned[0].run.id}) == []


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
    words = ("-m", "baseline=b0", "scaling=published", "scaling.variant=b0,b3")
    wanted = album(photos, tmp_path, *words[1:])
    assert {entry.run.network.pixels for entry in wanted.planned} == {224, 300}
    assert {entry.run.data.stored for entry in wanted.planned} == {512}
    [store] = wanted.stores(())
    assert "at 512 px, for the network of 300 px, 15.7 MB" in str(store)
    for job in wanted.jobs:
        with hydra():
            entry, _ = single(composed(list(job.overrides)))
        assert entry.run.id == job.planned.run.id
        assert any(word.startswith("expect=") and entry.run.id in word for word in job.overrides)
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
    from ablation.command.sweep import sweep
    from ablation.plan import show

    monkeypatch.setattr(storing.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    words = [f"data.path={photos}", f"cache={tmp_path}/cache", f"runs={tmp_path}/runs", BATCH]
    with hydra():
        with pytest.raises(ValueError, match="are free there; set cache=FOLDER"):
            show(arguments(words), False)
        with pytest.raises(ValueError, match="are free there; set cache=FOLDER"):
            sweep(arguments(words), lambda jobs: pytest.fail("nothing may be launched"))
    assert not (tmp_path / "cache" / "photos").exists()


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
    add = decoding._Count.add

    def watched(self: decoding._Count, count: int) -> None:
        add(self, count)
        counted.append((self.file).read_text())

    monkeypatch.setattr(decoding._Count, "add", watched)
    decoded(album(photos, tmp_path).planned[0].run.data, tmp_path / "cache")
    assert counted == ["0 20", "5 20", "10 20", "15 20", "16 20", "20 20"]
