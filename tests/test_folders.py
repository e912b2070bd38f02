"""Folders as people have them: what is a class, a split, a label, an image, and which pixels are in it; and
that none of it is wrong without a word."""

import csv
import dataclasses
import errno
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablation.images import cache as caching
from ablation.images import decoding, sources
from ablation.images.cache import check_digest, choose, decoded, recorded, stamp
from ablation.images.folders import files_below, read_folder
from ablation.images.pixels import levels_of, square
from ablation.images.sources import drawn, open_folder
from ablation.images.survey import Survey, _surveyed, survey
from ablation.runs.config import Data, folder_of, names_and_sizes
from tests.conftest import ROOT

SIDE = 8
OPEN = {"classes": None, "native": None, "validation_size": None}
NOW = {"draw": "by-class", "background": "white"}


def put(path: Path, value: int = 0, side: int = SIDE, **how: Any) -> Path:
    """A grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value,) * 3).save(path, **how)
    return path


def put_all(folder: Path, *names: str, each: int = 5) -> Path:
    """So many images in each of the folders named."""
    for place, name in enumerate(names):
        for number in range(each):
            put(folder / name / f"{number}.png", 20 * place + number)
    return folder


def surveyed(folder: Path, **stated: Any) -> Survey:
    """What is found, whatever was found before."""
    for known in (files_below, open_folder, names_and_sizes, _surveyed):
        known.cache_clear()
    values = {"name": folder.name, "path": str(folder), **OPEN, **NOW, **stated}
    return survey(values, folder.parent / "runs", folder.parent / "cache")


def sizes(found: Survey) -> tuple[int, int, int]:
    assert found.sizes is not None
    return found.sizes.train, found.sizes.validation, found.sizes.evaluation


def classes(folder: Path) -> tuple[str | int, ...]:
    files_below.cache_clear()
    return read_folder(str(folder)).classes


@pytest.mark.parametrize(
    "names",
    [
        ("bus", "car", "freight-train", "passenger-train"),
        ("beaker", "flask", "test-tube"),
        ("bus", "test", "train"),
        ("café", "naïve (2)", "a=b", "ß"),
    ],
)
def test_classes_are_called_as_people_call_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = put_all(tmp_path / "set", *names)
    assert classes(folder) == tuple(sorted(names))
    count, held_out = 4 * len(names), 4 * len(names) // 10
    assert sizes(surveyed(folder)) == (count - held_out, held_out, len(names))


@pytest.mark.parametrize(
    ("train", "others", "evaluation"),
    [
        ("train", ["val", "test"], "test"),
        ("Train", ["Test"], "Test"),
        ("TRAINING", ["dev", "Validation"], "Validation"),
        ("training", ["holdout", "valid"], "holdout"),
        ("train", ["eval"], "eval"),
        ("train", [], None),
    ],
)
def test_splits_are_found_in_any_case_and_those_unused_are_named(
    tmp_path: Path, train: str, others: list[str], evaluation: str | None
) -> None:
    for split in (train, *others):
        put_all(tmp_path / "set" / split, "cat", "dog", each=10)
    found = surveyed(tmp_path / "set")
    listing = read_folder(str(tmp_path / "set"))
    assert listing.train.name == train
    assert (listing.evaluation and listing.evaluation.name) == evaluation
    for other in set(others) - {evaluation}:
        assert f"not used: {other} (20)" in found.said
    assert f"split {evaluation}" in found.said or "20% held out by class" in found.said


def test_splits_of_another_name_are_stated(tmp_path: Path) -> None:
    for split in ("y2020", "y2021"):
        put_all(tmp_path / "set" / split, "cat", "dog")
    assert classes(tmp_path / "set") == ("y2020", "y2021")
    listing = read_folder(str(tmp_path / "set"), "y2020", "y2021")
    assert listing.classes == ("cat", "dog")
    assert listing.evaluation and listing.evaluation.name == "y2021"


def test_images_without_labels_are_left_out_with_a_line(tmp_path: Path) -> None:
    put_all(tmp_path / "set" / "train", "cat", "dog")
    put(tmp_path / "set" / "test" / "1.png")
    put(tmp_path / "set" / "preview.png")
    put_all(tmp_path / "set" / "val", "cat", "dog")
    for name in (".DS_Store", "Thumbs.db", "train/cat/notes.txt", "__MACOSX/cat/._0.png", "a.zip"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = surveyed(tmp_path / "set")
    assert sizes(found) == (9, 1, 10)
    for line in (
        "of a split without labels (1: test/1.png)",
        "outside any class folder (1: preview.png)",
        "files .txt (1: train/cat/notes.txt)",
        "files .zip (1: a.zip)",
        "files of the system (3: .DS_Store, Thumbs.db, __MACOSX)",
        "for evaluation 10 (split val)",
    ):
        assert line in found.said


def test_a_stray_file_changes_no_identity_and_a_changed_image_does(tmp_path: Path) -> None:
    folder = put_all(tmp_path / "set", "cat", "dog")
    before = surveyed(folder).data
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    assert surveyed(folder).data == before
    image = folder / "cat" / "1.png"
    image.rename(folder / "cat" / "1b.png")  # in the same place of the order
    assert surveyed(folder).data == before
    (folder / "cat" / "1b.png").rename(image)
    old = image.stat()
    put(tmp_path / "other.bmp", 1).rename(image)
    blue = put(tmp_path / "another.bmp", 2)
    first = surveyed(folder).data
    assert held(first, tmp_path) == [0, 1, 2, 3, 4, *range(20, 25)]
    image.write_bytes(
        blue.read_bytes()
    )  # of the same name, size and, by a tool that keeps it, time
    os.utime(image, ns=(old.st_atime_ns, old.st_mtime_ns))
    second = surveyed(folder).data
    assert held(second, tmp_path) == [0, 2, 2, 3, 4, *range(20, 25)]
    assert len({before.files, first.files, second.files}) == 3


def held(data: Data, tmp_path: Path) -> list[int]:
    """Of every decoded image its grey, sorted."""
    where = decoded(data, tmp_path / "cache")
    images = [np.load(where / f"{split}.npy") for split in ("train", "evaluation")]
    return sorted(np.concatenate(images)[:, 0, 0, 0].tolist())


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    store = put_all(tmp_path / "store", "cat", "dog", "owl")
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("cat", "dog"):
        (folder / name).symlink_to(store / name)
    (folder / "owl").mkdir()
    (folder / "owl" / "1.png").symlink_to(store / "owl" / "1.png")
    (folder / "owl" / "again").symlink_to(folder)
    (store / "cat" / "round").symlink_to(store)
    listing = read_folder(str(folder))
    assert listing.classes == ("cat", "dog", "owl")
    assert (
        len(
            [
                file
                for file in listing.train.files
                if file.startswith("owl/") and "/again/" not in file
            ]
        )
        == 1
    )
    assert "a link to a folder above it" in listing.left_out


def test_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    put_all(tmp_path / "set", "cat/2023", "cat/2024/may", "dog")
    listing = read_folder(str(tmp_path / "set"))
    assert listing.classes == ("cat", "dog")
    assert listing.train.labels.count("cat") == 10


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _text_only(folder: Path) -> None:
    put_all(folder, "cat", "dog")
    (folder / "owl").mkdir()
    (folder / "owl" / "a.txt").write_text("owl")


def _no_owl_in_test(folder: Path) -> None:
    put_all(folder / "train", "cat", "owl")
    put_all(folder / "test", "cat")


def _other_owl_in_test(folder: Path) -> None:
    put_all(folder / "train", "cat", "dog")
    put_all(folder / "test", "cat", "dog", "Owl")


def _dangling(folder: Path) -> None:
    put_all(folder, "cat", "dog")
    (folder / "owl").symlink_to(folder.parent / "gone")


def _broken(folder: Path) -> None:
    put_all(folder, "cat", "dog")
    (folder / "cat" / "7.jpg").write_bytes(b"")
    (folder / "dog" / "8.jpg").write_bytes(b"<html>")
    (folder / "dog" / "9.jpg").symlink_to(folder.parent / "gone")


def _both(folder: Path) -> None:
    put_all(folder, "cat", "dog")
    (folder / "a.parquet").write_bytes(b"PAR1")


def _packed(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "n01440764.tar").write_bytes(b"")
    (folder / "ILSVRC2012_img_val.tar").write_bytes(b"")


def _few(folder: Path) -> None:
    put_all(folder, "cat", "dog", each=1)


BAD: list[tuple[Callable[[Path], Any], str]] = [
    (_nothing, "no image lies there; it should hold Parquet files, or one folder of images per class"),
    (_text_only, r"the class folder owl holds no image, only files .txt \(1\); put images there"),
    (lambda folder: put_all(folder, "cat"), "one class alone, cat: nothing to tell apart"),
    (lambda folder: put_all(folder, ".", each=3), "3 images in no class folder, and no labels.csv"),
    (lambda folder: put_all(folder, "train", "test"), "test, train hold images without class folders"),
    (_no_owl_in_test, "the class owl has no image in test; every split needs every class"),
    (_other_owl_in_test, "the class Owl has no image in train"),
    (_dangling, "owl is a link that leads nowhere; mend it"),
    (_broken, r"3 of 13 images cannot be read: an empty file: cat/7.jpg; no whole image of a known format: "
     r"dog/8.jpg; No such file or directory: dog/9.jpg; replace them, or leave them out by data.skip_broken"),
    (_packed, "ILSVRC2012_img_val.tar, train/n01440764.tar: archives are not read; unpack them into one "
     "folder of images per class .docs/data.md has"),
    (_both, "both images and Parquet files, cat/0.png and a.parquet"),
    (_few, "has no image of cat|has no image of dog"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_a_folder_that_leaves_something_open_is_refused_in_a_line(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path / "set")
    with pytest.raises(ValueError, match=message) as refused:
        surveyed(tmp_path / "set")
    assert str(tmp_path / "set") in str(refused.value)
    assert "\n" not in str(refused.value)


WNIDS = ("n01440764", "n01443537", "n02102040", "n10148035")
UNPACK = re.search(r"```bash\n(mkdir -p imagenet.*?)```", (ROOT / "docs/data.md").read_text(), re.S)


def archive(path: Path, *members: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.add(member, member.name)


def test_imagenets_archives_unpack_to_what_is_read(tmp_path: Path) -> None:
    """By the commands of the guide, whatever the order of images and archives; labels are wnids in order."""
    loose, drawn_from = tmp_path / "loose", [2, 0, 3, 1, 0, 2, 1, 3, 3, 0, 1, 2]
    inner = []
    for place, wnid in reversed(list(enumerate(WNIDS))):
        images = [put(loose / f"{wnid}_{number}.JPEG", 10 * place) for number in range(9)]
        archive(loose / f"{wnid}.tar", *images)
        inner.append(loose / f"{wnid}.tar")
    archive(tmp_path / "ILSVRC2012_img_train.tar", *inner)
    names = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 1 + len(drawn_from))]
    held = [put(loose / f"{name}.JPEG") for name in names]
    archive(tmp_path / "ILSVRC2012_img_val.tar", *held)
    rows = [
        f"{name},{WNIDS[label]} 85 1 499 272 {WNIDS[label]} 3 4 5 6 "
        for name, label in zip(names, drawn_from, strict=True)
    ]
    solution = "\n".join(["ImageId,PredictionString", *rows, ""])
    (tmp_path / "LOC_val_solution.csv").write_text(solution)
    assert UNPACK
    subprocess.run(["bash", "-euc", UNPACK[1]], cwd=tmp_path, check=True)
    found = read_folder(str(tmp_path / "imagenet"), evaluation="validation")
    assert found.classes == WNIDS
    assert found.evaluation and (found.train.name, found.evaluation.name) == ("train", "val")
    assert len(found.train.files) == 36
    wanted = {name: WNIDS[label] for name, label in zip(names, drawn_from, strict=True)}
    pairs = zip(found.evaluation.files, found.evaluation.labels, strict=True)
    assert {Path(file).stem: label for file, label in pairs} == wanted
    assert not any(tmp_path.glob("imagenet/*/*.*"))


def test_an_archive_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match=r"set.tar: a file; give the folder .*ImageNet's archives"
    ):
        folder_of(str(tmp_path / "set.tar"))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"native": 9}, "20 of 20 images are smaller than data.native=9 px"),
        ({"validation_size": 16}, "data.validation_size=16: set has 16 training images in all"),
        (
            {"train_size": 16},
            "data.train_size=16, data.validation_size=1: set has 16 training images",
        ),
        ({"evaluation_size": 5}, "data.evaluation_size=5: set has 4 evaluation images"),
        ({"classes": 3}, "data.classes=3: .*set has 2, cat, dog; leave it out"),
        ({"evaluation": "test"}, "data.evaluation=test: there are no split folders, only classes"),
        ({"label": "kind"}, None),
    ],
)
def test_what_a_run_would_refuse_is_refused_before(
    tmp_path: Path, stated: dict[str, Any], message: str | None
) -> None:
    folder = put_all(tmp_path / "set", "cat", "dog", each=10)
    if message is None:
        (folder / "labels.csv").write_text("file,label\n0.png,cat\n")
        message = "data.label=kind: labels.csv has no such column"
    with pytest.raises(ValueError, match=message):
        surveyed(folder, **stated)


TABLES = [
    ("labels.csv", "file,label\n{0},cat\n{1},dog\n{2},cat\n{3},dog\n", ("cat", "dog")),
    ("metadata.csv", "\ufefffile_name;class\n{0};7\n{1};-1\n{2};7\n{3};-1\n", (-1, 7)),
    ("labels.csv", "id,species,height\n{0},cat,3\n{1},dog,4\n{2},cat,5\n{3},dog,6\n", None),
    ("Labels.CSV", "label\timage\n1\t{0}\n0\t{1}\n1\t{2}\n0\t{3}\n", (0, 1)),
]


@pytest.mark.parametrize(("name", "text", "expected"), TABLES)
def test_a_table_of_labels_is_read(
    tmp_path: Path, name: str, text: str, expected: tuple[str | int, ...] | None
) -> None:
    folder = tmp_path / "set"
    for number in range(5):
        put(folder / "all" / f"{number}.png", number)
    (folder / name).write_text(text.format("0.png", "all/1.png", "2", ".\\all\\3.png"), "utf-8")
    if expected is None:
        files_below.cache_clear()
        listing = read_folder(str(folder), label="species")
        assert listing.classes == ("cat", "dog")
        return
    listing = read_folder(str(folder))
    assert listing.classes == expected
    assert listing.train.files == tuple(f"all/{number}.png" for number in range(4))
    assert listing.train.labels == (listing.train.labels[0], listing.train.labels[1]) * 2
    assert listing.left_out[f"not in {name}"] == ["all/4.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n0.png,cat\n9.png,dog\n", "1 of 2 files not there, 9.png"),
        ("file,label\n0.png,cat\n0.png,dog\n", "0.png comes twice"),
        ("file,label\n0.png,cat\n1.png,\n", "row 2 has no label"),
        ("file,label,split\n0.png,cat,train\n1.png,dog,later\n", "split later is none of train"),
    ],
)
def test_a_table_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    for number in range(2):
        put(tmp_path / "set" / f"{number}.png")
    (tmp_path / "set" / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        surveyed(tmp_path / "set")


def test_splits_of_a_table_are_a_column_or_folders(tmp_path: Path) -> None:
    rows = [
        (f"{split}/{n}.png", "ab"[n % 2], split) for split in ("train", "test") for n in range(4)
    ]
    for file, _, _ in rows:
        put(tmp_path / "set" / file)
    for columns in (2, 3):
        with (tmp_path / "set" / "labels.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerows(
                [("file", "label", "split")[:columns], *(row[:columns] for row in rows)]
            )
        files_below.cache_clear()
        listing = read_folder(str(tmp_path / "set"))
        assert listing.evaluation is not None
        assert (len(listing.train.files), len(listing.evaluation.files)) == (4, 4)


def parquet(path: Path, labels: list[Any], value: int = 0) -> None:
    import pyarrow
    import pyarrow.parquet

    encoded = put(path.parent / "x.png", value).read_bytes()
    (path.parent / "x.png").unlink()
    images = [{"bytes": encoded, "path": None} for _ in labels]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels}), path)


COLUMNS = {"image": "image", "label": "label"}


def test_words_and_numbers_in_a_column_are_labels(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train.parquet", ["owl", "cat", "dog"] * 4)
    parquet(tmp_path / "set" / "test.parquet", ["cat", "owl", "dog"] * 2)
    found = surveyed(tmp_path / "set", **COLUMNS)
    folder = decoded(found.data, tmp_path / "cache")
    assert list(np.load(folder / "train-labels.npy")[:3]) == [2, 0, 1]
    assert list(np.load(folder / "evaluation-labels.npy")[:3]) == [0, 2, 1]
    parquet(tmp_path / "other" / "0000.parquet", [1, 2, 3] * 4)
    other = surveyed(tmp_path / "other", **COLUMNS).data
    assert other.classes == 3
    assert set(np.load(decoded(other, tmp_path / "cache") / "train-labels.npy")) == {0, 1, 2}
    parquet(tmp_path / "other" / "0000.parquet", ["a", None, "b"] * 4)
    with pytest.raises(ValueError, match="outside the 2 classes, first none in row 1|first none"):
        surveyed(tmp_path / "other", **COLUMNS)


CARD = """---
configs:
- config_name: few
  data_files:
  - {split: train, path: few/a-*}
  - {split: validation, path: [few/b-*]}
- config_name: many
  data_files: many/*.parquet
---
"""


@pytest.mark.parametrize("card", [None, CARD])
def test_a_subset_of_a_local_clone(tmp_path: Path, card: str | None) -> None:
    folder = tmp_path / "set"
    first, second = ("a", "b") if card else ("train", "validation")
    parquet(folder / "few" / f"{first}-00000-of-00001.parquet", ["x", "y"] * 10)
    parquet(folder / "few" / f"{second}-00000-of-00001.parquet", ["x", "y"])
    parquet(folder / "many" / "0000.parquet", ["x", "y", "z"] * 10)
    if card:
        (folder / "README.md").write_text(card)
    assert sizes(surveyed(folder, subset="few", **COLUMNS)) == (18, 2, 2)
    assert surveyed(folder, subset="many", **COLUMNS).data.classes == 3
    with pytest.raises(
        ValueError, match="several configurations, few, many; choose one, data.subset=few"
    ):
        surveyed(folder, **COLUMNS)
    with pytest.raises(
        ValueError, match="data.subset=none: no such configuration; there are few, many"
    ):
        surveyed(folder, subset="none", **COLUMNS)


def test_a_parquet_file_of_no_split_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train-00000-of-00001.parquet", ["x", "y"])
    parquet(tmp_path / "set" / "extra.parquet", ["x", "y"])
    with pytest.raises(ValueError, match="extra.parquet belongs to no split, beside train"):
        surveyed(tmp_path / "set", **COLUMNS)


def test_records_by_names_and_sizes_keep_their_id_until_an_image_changes(tmp_path: Path) -> None:
    folder = put_all(tmp_path / "set", "cat", "dog", each=20)
    stated = {"validation_size": 5, "draw": "plain", "background": None}
    older = Data(*("set", 2, SIDE), files=names_and_sizes(str(folder)), validation_size=5)
    check_digest(older, "abc", tmp_path / "runs")
    assert surveyed(folder, **stated).data == dataclasses.replace(older, path=str(folder))
    bound = recorded(older, tmp_path / "runs").stat().st_mtime_ns
    assert surveyed(folder, **stated).data.files == older.files
    assert recorded(older, tmp_path / "runs").stat().st_mtime_ns == bound  # written once
    image = put(tmp_path / "other.png", 77)
    size = (folder / "cat" / "1.png").stat().st_size
    (folder / "cat" / "1.png").write_bytes(image.read_bytes().ljust(size, b"\0")[:size])
    changed = surveyed(folder, **stated, skip_broken=False).data
    assert changed.files not in (None, older.files)
    assert recorded(older, tmp_path / "runs").exists()


def test_a_folder_called_shapes_is_a_folder(tmp_path: Path) -> None:
    folder = put_all(tmp_path / "shapes", *(f"kind{number:02}" for number in range(12)))
    data = surveyed(folder).data
    assert (data.name, data.classes, data.native, data.embedded) == ("shapes", 12, SIDE, False)
    assert np.load(decoded(data, tmp_path / "cache") / "train.npy").shape == (48, SIDE, SIDE, 3)


def test_a_name_of_the_hub_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    put_all(tmp_path / "owner" / "photos", "cat", "dog")
    monkeypatch.chdir(tmp_path)
    seen = []

    def load(name: str, subset: str | None) -> None:
        seen.append((name, Path(name).exists()))
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("owner/photos", "./owner/photos"):
        with pytest.raises(ValueError, match="could not be opened|no name of the Hugging Face hub"):
            sources.open_source(Data(name, 2, 8), 2)
    assert seen == [("owner/photos", False)]
    assert Path.cwd() == tmp_path


def encoded(picture: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    from io import BytesIO

    out = BytesIO()
    picture.save(out, form, **how)
    return out.getvalue()


def _palette(alpha: bool) -> Image.Image:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    if alpha:
        picture.info["transparency"] = bytes([255, 0])
    return picture


RGBA = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
HALF = Image.new("LA", (4, 4), (0, 128))
MODES: list[tuple[str, bytes, str | None, tuple[int, int, int]]] = [
    ("RGB", encoded(Image.new("RGB", (4, 4), (1, 2, 3))), "white", (1, 2, 3)),
    ("L", encoded(Image.new("L", (4, 4), 77)), None, (77, 77, 77)),
    ("1", encoded(Image.new("1", (4, 4), 1)), None, (255, 255, 255)),
    ("P", encoded(_palette(False)), None, (10, 200, 30)),
    ("P transparent, dropped", encoded(_palette(True)), None, (10, 200, 30)),
    ("P transparent, on white", encoded(_palette(True)), "white", (255, 255, 255)),
    ("RGBA dropped", encoded(RGBA), None, (200, 0, 0)),
    ("RGBA on white", encoded(RGBA), "white", (255, 255, 255)),
    ("RGBA on a colour", encoded(RGBA), "#0000ff", (0, 0, 255)),
    ("LA on white", encoded(HALF), "white", (127, 127, 127)),
    ("CMYK", encoded(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"), None, (0, 255, 255)),
    ("WebP", encoded(Image.new("RGB", (4, 4), (9, 9, 9)), "WEBP", lossless=True), None, (9, 9, 9)),
]


@pytest.mark.parametrize(
    ("content", "background", "expected"),
    [case[1:] for case in MODES],
    ids=[case[0] for case in MODES],
)
def test_pixels_survive(
    content: bytes, background: str | None, expected: tuple[int, int, int]
) -> None:
    pixels, _ = square(content, 4, background)
    assert pixels.reshape(-1, 3).tolist() == [list(expected)] * 16


def test_a_photograph_stands_upright() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned, _ = square(encoded(Image.fromarray(pixels), exif=exif), 4)
    assert turned[:, 2:].min() == 255 and turned[:, :2].max() == 0


def test_avif_and_heic_decode() -> None:
    picture = Image.new("RGB", (64, 64), (200, 30, 40))
    forms = {"AVIF": encoded(picture, "AVIF", quality=100)}
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    forms["HEIF"] = encoded(picture, "HEIF", quality=100)
    for content in forms.values():
        pixels, _ = square(content, 64)
        assert np.abs(pixels.astype(int) - (200, 30, 40)).max() < 6


def test_heic_without_its_codec_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablation.images import pixels

    monkeypatch.setattr(pixels, "_formats", lambda: ("PNG",))
    with pytest.raises(ValueError, match="HEIC needs pillow-heif, pip install pillow-heif"):
        square(b"\0\0\0\x18ftypheic" + bytes(60), 4)


def test_only_raster_formats_are_opened() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"
    with pytest.raises(ValueError, match="no whole image of a known format"):
        square(script, 4)


DEEP = [
    ("16 bit", np.uint16, 65535, (0, 65535)),
    ("12 of 16 bit", np.uint16, 4095, None),
    ("float of 1", np.float32, 1.0, (0, 1)),
    ("float of 255", np.float32, 255.0, None),
]


@pytest.mark.parametrize(
    ("kind", "top", "levels"), [case[1:] for case in DEEP], ids=[c[0] for c in DEEP]
)
def test_more_than_8_bits_are_scaled(
    tmp_path: Path,
    kind: type,
    top: float,
    levels: tuple[float, float] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ramp = (np.linspace(0, 1, 64).reshape(8, 8) * top).astype(kind)
    form = "png" if kind is np.uint16 else "tif"
    for name in ("a", "b"):
        for number in range(10):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(ramp).save(tmp_path / "set" / name / f"{number}.{form}")
    found = surveyed(tmp_path / "set")
    assert "brought to 8 bits from more: 20" in found.said
    images = np.load(decoded(found.data, tmp_path / "cache") / "train.npy")
    expected = np.linspace(0, 255, 64).reshape(8, 8)
    assert np.abs(images[0, :, :, 0] - expected).max() < 3
    assert "images of more than 8 bits" in caplog.text
    if levels is not None:
        assert f"black is {levels[0]}, white is {levels[1]}" in caplog.text


def test_levels_know_what_lies_below_zero_and_what_is_constant() -> None:
    assert levels_of([("I", np.array([-1000.0, 0, 3000]))])["I"] == pytest.approx(
        (-998, 2994), abs=10
    )
    assert levels_of([("F", np.zeros(9))]) == {"F": (0.0, 1.0)}
    assert levels_of([("F", np.zeros(0))]) == {"F": (0.0, 1.0)}


def test_images_that_do_not_decode_are_left_out_where_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put_all(tmp_path / "set", "cat", "dog", each=20)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*.png"))}
    (folder / "cat" / "3.png").write_bytes(b"")
    cut = folder / "dog" / "4.png"
    cut.write_bytes(whole[cut][:-30])  # its header is whole
    with pytest.raises(ValueError, match="1 of 40 images cannot be read: an empty file: cat/3.png"):
        surveyed(folder)
    found = surveyed(folder, skip_broken=True)
    assert "left out, since they cannot be read: 1" in found.said
    where = decoded(found.data, tmp_path / "cache")
    told = (where / "broken.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in told] == ["cat/3.png", "dog/4.png"]
    assert f"2 images cannot be decoded: left out, see {where / 'broken.txt'}" in caplog.text
    labels = [np.load(where / f"{split}-labels.npy") for split in ("train", "evaluation")]
    images = [np.load(where / f"{split}.npy") for split in ("train", "evaluation")]
    assert sum(map(len, labels)) == sum(map(len, images)) == 38
    for each, label in zip(images, labels, strict=True):  # a cat is darker than 20
        assert ((each[:, 0, 0, 0] >= 20) == label).all()


def test_damaged_arrays_are_named_set_aside_and_decoded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = surveyed(put_all(tmp_path / "set", "cat", "dog", each=20)).data
    where = decoded(data, tmp_path / "cache")
    whole = (where / "train.npy").read_bytes()
    for damage in (whole[:-1], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        (where / "train.npy").write_bytes(damage)
        stamp(where).unlink(missing_ok=True)  # as after a start of the machine
        assert decoded(data, tmp_path / "cache") == where
        assert (where / "train.npy").read_bytes() == whole
        assert "train.npy does" in caplog.text and "are decoded again" in caplog.text
        assert (where.with_name(f"{where.name}.damaged") / "train.npy").read_bytes() == damage
        caplog.clear()
    (where / "about.json").write_text("[]")
    assert decoded(data, tmp_path / "cache") == where
    assert "about.json cannot be read" in caplog.text


def test_verified_arrays_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = surveyed(put_all(tmp_path / "set", "cat", "dog", each=20)).data
    where = decoded(data, tmp_path / "cache")
    monkeypatch.setattr(caching, "_written", lambda file: pytest.fail("read again"))
    assert decoded(data, tmp_path / "cache") == where


def test_a_full_disk_is_said_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = surveyed(put_all(tmp_path / "set", "cat", "dog", each=20)).data

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoding.os, "posix_fallocate", full)
    with pytest.raises(
        OSError,
        match=r"could not be written \(full disk, No space left on device\); free some space",
    ):
        decoded(data, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("set-*.part"))


def test_a_disk_that_fills_while_images_are_decoded_ends_in_a_line(tmp_path: Path) -> None:
    folder = put_all(tmp_path / "set", "cat", "dog", each=200)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
        "from ablation.run import main; main()"
    )
    words = [f"data.path={folder}", "data.native=8", "baseline=mini", "data.upsample=true"]
    where = [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "wandb.mode=disabled"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words, *where],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "could not be written (full disk, File too large); free some space or set cache=FOLDER"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_draw_by_class_holds_each_class_in_its_share() -> None:
    labels = np.repeat([0, 1, 2], [500, 50, 5])
    order = drawn(labels, 3, "by-class")
    assert sorted(order) == list(range(555))
    for count in (55, 111, 300):
        held = np.bincount(labels[order[:count]], minlength=3)
        assert np.abs(held - count * np.array([500, 50, 5]) / 555).max() < 1.5
    assert (drawn(labels, 3, "plain") == np.random.default_rng(3).permutation(555)).all()


def test_native_size_fits_any_draw_of_a_folder_of_mixed_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    sides = np.random.default_rng(0).integers(10, 60, 100)
    for number, side in enumerate(sides):
        put(folder / "ab"[number % 2] / f"{number}.png", number, int(side))
    for seed in range(40):
        for draw in ("plain", "by-class"):
            data = surveyed(folder, split_seed=seed, draw=draw).data
            assert data.native == int(np.quantile(sides, 0.1))
    chosen = choose(data, decoded(data, tmp_path / "cache"))
    assert {name: len(rows) for name, (_, rows) in chosen.items()} == {
        "train": 72,
        "validation": 8,
        "evaluation": 20,
    }


@pytest.mark.parametrize("seed", range(12))
def test_any_folder_is_read_as_it_lies(tmp_path: Path, seed: int) -> None:
    """Folders drawn at random, against an oracle that knows what it put there."""
    chance = random.Random(seed)
    names = ["cat", "Dog", "freight-train", "test-tube", "été", "a b", "x=1", "val id", "10", "9"]
    kinds = chance.sample(names, chance.randint(2, 5))
    splits = chance.choice(
        [[""], ["train", "test"], ["Training", "VAL"], ["train", "dev", "Eval"], ["TRAIN"]]
    )
    folder, store = tmp_path / "set", tmp_path / "store"
    oracle: dict[str, list[tuple[str, str, int]]] = {split: [] for split in splits}
    for split in splits:
        for kind in kinds:
            for number in range(chance.randint(10, 14)):
                deeper = chance.choice(["", "", "2023/", "train/"])
                file = f"{deeper}{number}.{chance.choice(['png', 'BMP', 'tif', 'webp', 'ppm'])}"
                place = "/".join(filter(None, [split, kind, file]))
                value = chance.randrange(256)
                how = {"lossless": True} if file.endswith("webp") else {}
                if chance.random() < 0.2:
                    put(store / place, value, **how)
                    (folder / place).parent.mkdir(parents=True, exist_ok=True)
                    (folder / place).symlink_to(store / place)
                else:
                    put(folder / place, value, **how)
                oracle[split].append((place, kind, value))
    for junk in chance.sample(["Thumbs.db", ".DS_Store", "readme.txt", "a.zip", "loose.png"], 3):
        (folder / junk).write_bytes(
            b"x" if junk != "loose.png" else put(tmp_path / "l.png").read_bytes()
        )
    found = surveyed(folder, draw=chance.choice(["plain", "by-class"]))
    where = decoded(found.data, tmp_path / "cache")
    classes = sorted(kinds)
    train = splits[0]
    evaluation = {2: splits[-1], 3: "Eval"}.get(len(splits))
    used = [train] + ([evaluation] if evaluation else [])
    arrays = {
        split: (np.load(where / f"{split}.npy"), np.load(where / f"{split}-labels.npy"))
        for split in ("train", "evaluation")
    }
    rows = {split: sorted(oracle[split]) for split in used}
    assert found.data.classes == len(classes) and found.data.native == SIDE
    if evaluation:
        for name, split in (("train", train), ("evaluation", evaluation)):
            images, labels = arrays[name]
            assert images[:, 3, 3, 1].tolist() == [value for _, _, value in rows[split]]
            assert labels.tolist() == [classes.index(kind) for _, kind, _ in rows[split]]
    else:
        images, labels = (np.concatenate(pair) for pair in zip(*arrays.values(), strict=True))
        seen = sorted(zip(labels.tolist(), images[:, 3, 3, 1].tolist(), strict=True))
        assert seen == sorted((classes.index(kind), value) for _, kind, value in rows[train])
        assert len(arrays["evaluation"][0]) == -(-len(rows[train]) // 5)


def test_the_readmes_words_work_on_a_folder_of_mixed_photographs(
    tmp_path: Path, door: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    chance = np.random.default_rng(0)
    for name in "abcdef":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(150):
            width, height = chance.integers(70, 120, 2)
            pixels = chance.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((int(width), int(height)))
            picture.save(tmp_path / "photos" / name / f"{number}.jpg")
    words = (f"data.path={tmp_path / 'photos'}", f"cache={tmp_path / 'cache'}")
    told = door("plan", "study=quick", *words).stdout
    assert "photos: 6 classes by folders, 900 images" in told
    assert "to train on 648 (split train), for validation 72" in told
    assert "for evaluation 180 (20% held out by class" in told
    rows = door("plan", "study=quick", *words, "format=json").stdout
    assert len(json.loads(rows)) == 36
    trained = door("run", *words, "recipe.epochs=1", "seed=0", "wandb.mode=disabled", check=False)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.splitlines()[0].startswith(f"{tmp_path / 'photos'}: 6 classes")
    refused = door("plan", *words, "recipe.batch_size=649", check=False)
    assert "recipe.batch_size=649: there are only 648 training images" in refused.stderr
