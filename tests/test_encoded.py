"""Images that stay as they came: what a network sees of them wherever they lie, and what becomes of those
that do not decode."""

import dataclasses
import errno
import io
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ablation.command.errors import one_line
from ablation.command.planning import Plan
from ablation.images import sources
from ablation.images.batches import Batches, normalise, random_boxes, random_draws, standard
from ablation.images.cache import decoded, listed, place
from ablation.images.encoded import Packed, Unreadable, centre_box, originals, random_box
from ablation.images.parquet import images_in
from ablation.images.pixels import edges_of, view
from ablation.images.splits import Images, Streamed, load, load_for, load_originals
from ablation.images.survey import _surveyed, survey
from ablation.measure.forecast import Forecast
from ablation.measure.outlook import table
from ablation.runs import pace
from ablation.runs.config import Data, Recipe
from ablation.runs.pace import note_pace
from ablation.runs.states import finished
from ablation.show.activation import examples
from ablation.train.card import told
from ablation.train.execute import execute
from ablation.train.watch import Watch
from ablation.train.written import prepare
from tests.test_data import write_parquet
from tests.test_photos import BATCH, jpeg, photograph, planned

SIDE = 48
CROPS = Recipe(
    epochs=1,
    batch_size=8,
    learning_rate=0.1,
    crop=0.25,
    crop_from="original",
    evaluation_crop=0.875,
)
ORIGINAL = ("recipe.crop=0.25", "recipe.evaluation_crop=0.875", "recipe.crop_from=original")


def album(folder: Path, tmp_path: Path, *words: str) -> Plan:
    """A plan over a folder, with a cache and records of its own; images stay as they came."""
    own = (f"cache={tmp_path}/cache", f"runs={tmp_path}/runs", BATCH, *ORIGINAL)
    return planned(f"data.path={folder}", *own, *words)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve square images, without loss: what is stored of them is what they are."""
    folder = tmp_path_factory.mktemp("squares") / "squares"
    for number in range(24):
        path = folder / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(SIDE, SIDE, number).save(path)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twelve photographs, of several shapes; one lies on its side."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(24):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = photograph(120 + 4 * number, 100, number)
        path.write_bytes(jpeg(picture, exif=turned) if number == 5 else jpeg(picture))
    return tmp_path / "photos"


def epochs(
    images: Images | Streamed, recipe: Recipe, count: int = 2
) -> list[tuple[Tensor, Tensor]]:
    return [
        batch
        for epoch in range(count)
        for batch in Batches(images, recipe, 3, lambda epoch=epoch: epoch)
    ]


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(ours, theirs)
        for batch, another in zip(one, other, strict=True)
        for ours, theirs in zip(batch, another, strict=True)
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("side", [SIDE, 20])
@pytest.mark.parametrize("detail", [None, 16])
def test_order_crops_and_pixels_are_the_same_in_memory_in_a_file_and_as_they_came(
    squares: Path, tmp_path: Path, side: int, detail: int | None
) -> None:
    """Of squares without loss the stored image is the original, so both laws show the same."""
    data = dataclasses.replace(album(squares, tmp_path).planned[0].run.data, detail=detail)
    cache = tmp_path / "cache"
    stored = dataclasses.replace(CROPS, crop_from="stored")
    held, mapped = (load(data, side, cache, room=room, view=0.875) for room in (math.inf, 0))
    kept, encoded = (
        load_originals(data, side, cache, CROPS, room=room, readers=readers)
        for room, readers in ((math.inf, 0), (0, 2))
    )
    assert len(epochs(mapped.train, stored)) == 2 * (len(mapped.train) // 8) > 0
    for each in (kept, encoded):
        assert same(epochs(mapped.train, stored), epochs(each.train, CROPS))
    order = torch.arange(len(held.evaluation or ()))
    for name in ("validation", "evaluation"):
        one, *others = (getattr(each, name) for each in (held, mapped, kept, encoded))
        assert [type(each) for each in (one, *others)] == [Images, Streamed, Images, Streamed]
        for other in others:
            assert same(
                [*one.batches(order[: len(one)], 5)], [*other.batches(order[: len(one)], 5)]
            )


def test_a_box_in_a_square_is_that_of_a_stored_image_and_fits_any_other() -> None:
    draws, boxes = (
        drawn(2000, 0.08, torch.Generator().manual_seed(1))
        for drawn in (random_draws, random_boxes)
    )
    found = [random_box(draw, 500, 500) for draw in draws.numpy()]
    assert found == [tuple(box) for box in boxes.tolist()]
    for width, height in ((500, 375), (360, 500)):
        areas = []
        for draw in draws.numpy():
            tall, wide, *_ = box = random_box(draw, width, height)
            left, upper, right, lower = edges_of(box, width, height)
            assert 0 <= left < right <= width and 0 <= upper < lower <= height
            areas.append(tall * wide)
            if max(tall, wide) < 1:
                assert wide * width / (tall * height) == pytest.approx(draw[1] / draw[0], rel=1e-4)
                assert tall * wide == pytest.approx(draw[0] * draw[1], rel=1e-4)
        assert min(areas) < 0.12 and max(areas) > 0.8


def test_the_centre_is_a_square_of_the_shorter_side() -> None:
    edges = edges_of(centre_box(0.875, 500, 400), 500, 400)
    assert edges == pytest.approx((75, 25, 425, 375))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640)])
def test_a_view_is_one_resize_of_the_upright_image(
    orientation: int, width: int, height: int
) -> None:
    """By Pillow's own words, of an image without loss; a JPEG at its own scale differs by rounding."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = photograph(width, height)
    png = io.BytesIO()
    picture.save(png, "PNG", exif=exif)
    draw = np.array([0.4, 0.5, 0.3, 0.9], np.float32)
    found, shorter = view(png.getvalue(), 24, lambda *size: random_box(draw, *size))
    upright = ImageOps.exif_transpose(Image.open(png))
    edges = edges_of(random_box(draw, *upright.size), *upright.size)
    wanted = upright.resize((24, 24), Image.Resampling.BICUBIC, edges)
    assert np.array_equal(found, np.asarray(wanted))
    assert shorter == 480
    scaled, _ = view(jpeg(picture, exif=exif), 24, lambda *size: random_box(draw, *size))
    assert np.abs(scaled.astype(int) - found).max() <= 8


def test_a_jpeg_is_decoded_at_the_scale_that_leaves_enough_of_what_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL.JpegImagePlugin import JpegImageFile

    sizes: list[tuple[int, int]] = []
    load_ = JpegImageFile.load

    def watched(picture: JpegImageFile) -> object:
        sizes.append(picture.size)
        return load_(picture)

    monkeypatch.setattr(JpegImageFile, "load", watched)
    encoded = jpeg(photograph(1600, 1200))
    decoded = []
    for share, side in ((1.0, 64), (0.5, 64), (0.1, 64), (1.0, 700)):
        sizes.clear()
        view(encoded, side, lambda width, height, share=share: centre_box(share, width, height))
        decoded.append(sizes[0])
    assert decoded == [(200, 150), (400, 300), (1600, 1200), (1600, 1200)]


def test_a_wide_photograph_is_seen_from_edge_to_edge(tmp_path: Path) -> None:
    """The stored square has lost the sides; the original has them."""
    wide = np.zeros((40, 160, 3), np.uint8)
    wide[:, :20] = wide[:, -20:] = 255
    png = io.BytesIO()
    Image.fromarray(wide).save(png, "PNG")
    draws = random_draws(200, 0.08, torch.Generator().manual_seed(0)).numpy()
    seen = [
        view(png.getvalue(), 8, lambda *size, d=draw: random_box(d, *size))[0] for draw in draws
    ]
    assert 20 < sum(each.max() == 255 for each in seen) < 180


def test_the_plan_stores_nothing_and_a_run_leaves_a_record(photos: Path, tmp_path: Path) -> None:
    wanted = album(photos, tmp_path, "recipe.epochs=2", "baseline=mini")
    [store] = wanted.stores(())
    said = "to read: 24 images as they came, decoded while training; nothing is stored"
    unknown = "; how long decoding takes is known once a set was decoded so here"
    assert (str(store), store.bytes) == (said + unknown, 0)
    run = wanted.planned[0].run
    assert run.data.stored is None
    record = execute(wanted.planned[0], wanted.execution)
    assert record.status == "done"
    assert record.config["recipe"]["crop_from"] == "original"
    held = sum(file.stat().st_size for file in place(run.data, tmp_path / "cache", True).iterdir())
    assert held < 3000
    assert not place(run.data, tmp_path / "cache").exists()
    [again] = album(photos, tmp_path, "recipe.epochs=2", "baseline=mini").stores(())
    assert str(again) == said


def test_what_is_not_cropped_at_random_is_decoded_once_and_held(
    photos: Path, tmp_path: Path
) -> None:
    [entry] = album(photos, tmp_path, "recipe.crop=1", "recipe.evaluation_crop=1").planned
    assert entry.run.recipe.from_original
    found = load_for(entry.run, tmp_path / "cache", readers=0)
    assert isinstance(found.train, Images)
    file = next(path for path in sorted(photos.rglob("*.jpg")))
    whole, _ = view(
        file.read_bytes(), found.train.side, lambda *size: centre_box(1.0, *size), "white"
    )
    every = torch.cat([each.pixels for each in (found.train, found.validation, found.evaluation)])
    assert sum(np.array_equal(whole, each) for each in every.numpy()) == 1


def test_a_set_of_the_hub_is_read_where_datasets_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of Parquet files and of a hub set that holds the same images are the same."""
    import datasets

    folder = parquet(tmp_path)
    data = known(folder, tmp_path)
    files = {"train": f"{folder}/train-0.parquet", "test": f"{folder}/test-0.parquet"}
    found = datasets.load_dataset("parquet", data_files=files, cache_dir=f"{tmp_path}/hf")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: found)
    monkeypatch.setattr(sources.tempfile, "TemporaryDirectory", lambda: monkeypatch.context())
    monkeypatch.setattr(sources.contextlib, "chdir", lambda _: monkeypatch.context())
    hub = dataclasses.replace(data, path=None, files=None, name="owner/name")
    ours, theirs = (load_originals(each, 16, tmp_path / "cache", CROPS) for each in (data, hub))
    assert ours.digest == theirs.digest
    assert same(epochs(ours.train, CROPS), epochs(theirs.train, CROPS))


def parquet(tmp_path: Path, broken: tuple[int, ...] = ()) -> Path:
    folder = tmp_path / "rows"
    write_parquet(folder / "train-0.parquet", 30, broken=broken)
    write_parquet(folder / "test-0.parquet", 10)
    return folder


def known(folder: Path, tmp_path: Path, **stated: object) -> Data:
    data = Data(folder.name, 2, 24, path=str(folder), label="label", validation_size=5)
    values = dataclasses.asdict(data) | stated
    return survey(values, tmp_path / "runs", tmp_path / "cache").data


def test_rows_of_parquet_files_are_packed_and_found_again(tmp_path: Path) -> None:
    data = known(parquet(tmp_path), tmp_path)
    folder = listed(data, tmp_path / "cache")
    found = originals(data, folder, ["train"])["train"]
    assert isinstance(found.table, Packed)
    table = sources.open_source(data, 2).train
    wanted = {row: read() for row, (_, read) in enumerate(table.encoded(np.arange(30)))}
    rows = np.array([29, 3, 3, 0])
    assert [read() for _, read in found.table.encoded(rows)] == [wanted[row] for row in rows]


@pytest.mark.parametrize("detail", [None, 40])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_exported_network_prepares_a_photograph_as_in_training(
    orientation: int, detail: int | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = jpeg(photograph(901, 600), exif=exif)
    pixels, _ = view(encoded, 23, lambda *size: centre_box(0.9, *size), "white", detail=detail)
    images = {
        **{"native": 256, "scaled": False, "crop_from": "original", "evaluation_crop": 0.9},
        **{"detail": detail, "pixels": 23, "background": "white", "levels": {}},
        **standard(),
    }
    found = prepare(Image.open(io.BytesIO(encoded)), images)
    wanted = normalise(torch.tensor(pixels[None]))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    steps = told(images)
    assert "leaves twice the pixels of what is cut out" in steps[0]
    assert any("the centre, 0.9 of a square whose side is that of the shorter" in s for s in steps)
    assert not any("256 px" in step for step in steps)


def test_examples_of_a_report_are_cut_as_evaluation_is(photos: Path, tmp_path: Path) -> None:
    [entry] = album(photos, tmp_path).planned
    run, cache = entry.run, tmp_path / "cache"
    shown = examples(run.data, cache, run.network.pixels, run.recipe)
    splits = load_for(run, cache, readers=0)
    assert isinstance(splits.evaluation, Images)
    assert shown.labels.tolist() == [0, 1]
    for one in shown.pixels:
        assert any(torch.equal(one, other) for other in splits.evaluation.pixels)


# --- What does not decode.


def halve(file: Path) -> bytes:
    """Cut a file in half, header whole; returns what it was."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return whole


def test_images_cut_short_are_all_named_before_the_first_epoch_or_left_out(
    photos: Path, tmp_path: Path
) -> None:
    """Their headers are whole, so that a plan sees nothing."""
    for name in ("cat/04.jpg", "dog/07.jpg"):
        halve(photos / name)
    [entry] = album(photos, tmp_path).planned
    with pytest.raises(ValueError, match=r"[12] of \d+ images in ") as refused:
        load_for(entry.run, tmp_path / "cache")
    said = str(refused.value)
    assert "cat/04.jpg" in said and "dog/07.jpg" in said and "image file is truncated" in said
    assert said.endswith("or leave them out by data.skip_broken=true") and "\n" not in said
    [skipping] = album(photos, tmp_path, "data.skip_broken=true").planned
    splits = load_for(skipping.run, tmp_path / "cache")
    assert len(splits.train) + len(splits.validation) + len(splits.evaluation or ()) == 22
    listed_ = place(skipping.run.data, tmp_path / "cache", encoded=True)
    told_ = (listed_ / "broken.txt").read_text()
    assert told_.count("image file is truncated") == 2 and "cat/04.jpg" in told_


def test_skipping_leaves_the_same_images_as_where_they_are_stored(
    squares: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "squares"
    shutil.copytree(squares, folder)
    halve(folder / "cat" / "06.png")
    data = album(folder, tmp_path, "data.skip_broken=true").planned[0].run.data
    stored = load(data, 20, tmp_path / "cache", view=0.875)
    encoded = load_originals(data, 20, tmp_path / "cache", CROPS)
    law = dataclasses.replace(CROPS, crop_from="stored")
    assert same(epochs(stored.train, law), epochs(encoded.train, CROPS))
    assert torch.equal(stored.validation.labels, encoded.validation.labels)


def test_a_file_damaged_in_the_third_epoch_stops_the_run_in_a_line_and_mended_it_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("recipe.epochs=4", "recipe.warmup_epochs=0.5", "baseline=micro", "baseline.pixels=16")
    wanted = album(photos, tmp_path, *words)
    [entry] = wanted.planned
    undisturbed = execute(entry, dataclasses.replace(wanted.execution, runs=tmp_path / "other"))
    whole: dict[Path, bytes] = {}
    over = Watch.on_train_epoch_end

    def disturbed(self: Watch, trainer: Any, module: Any) -> None:
        over(self, trainer, module)
        if trainer.current_epoch == 1:
            whole.update({file: halve(file) for file in photos.rglob("*.jpg")})

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_train_epoch_end", disturbed)
        with pytest.raises(Unreadable) as stopped:
            execute(entry, wanted.execution)
    said = one_line(stopped.value)
    assert any(f"photos: {file.relative_to(photos)} was whole before" in said for file in whole)
    assert "image file is truncated" in said and said.endswith("goes on from the last checkpoint")
    assert not finished(wanted.execution, entry.run)
    for file, content in whole.items():
        file.write_bytes(content)
    again = execute(entry, wanted.execution)
    assert [row["train/loss"] for row in again.history] == [
        row["train/loss"] for row in undisturbed.history
    ]
    assert again.accuracy == undisturbed.accuracy


def test_a_shard_cut_in_half_or_damaged_inside_is_named(tmp_path: Path) -> None:
    folder = parquet(tmp_path)
    data = known(folder, tmp_path)
    shard = folder / "train-0.parquet"
    whole = shard.read_bytes()
    middle = len(whole) // 2
    shard.write_bytes(whole[: middle - 2000] + bytes(4000) + whole[middle + 2000 :])
    with pytest.raises(ValueError, match="train-0.parquet|cannot be decoded") as damaged:
        listed(data, tmp_path / "cache")
    assert "\n" not in str(damaged.value)
    halve(shard)
    sources.forget()
    _surveyed.cache_clear()
    for look in (lambda: listed(data, tmp_path / "cache"), lambda: known(folder, tmp_path)):
        with pytest.raises(ValueError, match=r"train-0.parquet is not a whole Parquet file \("):
            look()
    assert not [path for path in (tmp_path / "cache").glob("rows-*") if path.is_dir()]


def test_a_shard_whose_pages_cannot_be_read_is_named(tmp_path: Path) -> None:
    import pyarrow.parquet

    file = tmp_path / "part.parquet"
    column = pyarrow.array([bytes([number]) * 5000 for number in range(200)])
    pyarrow.parquet.write_table(
        pyarrow.table({"image": column}), file, compression="snappy", use_dictionary=False
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    with pytest.raises(ValueError, match=r"part.parquet is not a whole Parquet file \(.*copy it"):
        list(images_in(file, "image"))


def test_a_disk_that_fills_while_images_are_packed_ends_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = known(parquet(tmp_path), tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not be written \(full disk, .*set cache=FOLDER"):
        listed(data, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").glob("rows-*") if path.is_dir()]


def test_a_plan_says_minutes_of_decoding_once_a_set_was_decoded_here(
    photos: Path, tmp_path: Path
) -> None:
    """As fast, by bytes of files, as the last one in the same way, however few images that had."""
    read = sum(file.stat().st_size for file in photos.rglob("*.jpg"))
    cache = tmp_path / "cache"
    note_pace(cache, "listing", "other", 2000, 0.9)  # too short to say anything
    [store] = album(photos, tmp_path).stores(())
    assert (store.read, store.pace) == (read, None)
    note_pace(cache, "listing", "other", read // 200, 1.5)
    note_pace(cache, "decode", "third", read // 10, 2.0)
    said = {
        law: str(album(photos, tmp_path, law).stores(())[0])
        for law in ("recipe.crop_from=original", "recipe.crop_from=stored")
    }
    assert re.search(
        r"nothing is stored; decoding: about 5 min \d+ s, at .* of files a second, as other was on 20",
        said["recipe.crop_from=original"],
    )
    assert re.search(
        r"are free; decoding: about 20 s, .* as third", said["recipe.crop_from=stored"]
    )


def test_decoding_leaves_what_was_measured(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LEAST", 0.0)
    read = sum(file.stat().st_size for file in photos.rglob("*.jpg"))
    cache = tmp_path / "cache"
    data = album(photos, tmp_path).planned[0].run.data
    for prepare_, way in ((listed, "listing"), (decoded, "decode")):
        prepare_(data, cache)
        found = pace.last_pace(cache, way)
        assert found and (found.name, found.bytes) == ("photos", read)
    for file in (cache / "decoding").iterdir():
        file.write_text("{")
    assert pace.last_pace(cache, "listing") is None


def test_what_decodes_while_training_is_predicted_from_such_runs_alone(
    photos: Path, tmp_path: Path
) -> None:
    words = ("recipe.epochs=1", "recipe.warmup_epochs=0.5", "baseline=micro", "baseline.pixels=16")
    wanted = album(photos, tmp_path, *words)
    said = "seconds and memory: known once one run is done, for images are decoded while it trains"
    assert said in table(wanted, {})
    record = execute(wanted.planned[0], wanted.execution)
    found = Forecast(wanted)
    assert found.seconds(wanted.planned[0].run) == pytest.approx(record.total_seconds, rel=0.5)
    other = album(photos, tmp_path, *words, "recipe.crop_from=stored")
    assert Forecast(other).seconds(other.planned[0].run) is None
