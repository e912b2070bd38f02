"""Records in one Parquet file: they count as records, they travel, and the study they belong to needs no
images to be judged."""

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from ablation import pack
from ablation.command.overrides import arguments
from ablation.command.planning import plan
from ablation.door import hydra
from ablation.images.survey import survey
from ablation.runs.answers import images_key, packed, unpacked
from ablation.runs.config import Data, names_and_sizes
from ablation.runs.records import (
    Record,
    archive_path,
    read_archive,
    read_record,
    read_records,
    record_path,
    write_archive,
    write_record,
)
from tests.conftest import ROOT
from tests.test_run_identity import some_record, some_run

TWO = ["scaling=width", "phi=0,1"]


def archive(folder: Path, *records: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with archive_path(folder).open("wb") as file:
        write_archive(file, map(dataclasses.asdict, records))


def test_a_record_comes_back_equal(tmp_path: Path) -> None:
    run = some_run()
    record = some_record(
        run,
        history=({"epoch": 1, "train/loss": None}, {"epoch": 2, "val/accuracy": 0.5}),
        accuracy=None,
    )
    archive(tmp_path, record)
    again = read_record(tmp_path, run)
    assert again is not None
    assert dataclasses.replace(again, history=tuple(again.history)) == record
    assert read_record(tmp_path, dataclasses.replace(run, seed=run.seed + 1)) is None


def test_a_file_of_its_own_comes_before_the_archive(tmp_path: Path) -> None:
    run = some_run()
    archive(tmp_path, some_record(run, val_accuracy=0.5))
    write_record(tmp_path, some_record(run, val_accuracy=0.25))
    found = read_record(tmp_path, run)
    assert found is not None and found.val_accuracy == 0.25


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    one, two = some_record(some_run()), some_record(some_run(seed=7))
    archive(tmp_path / "a", one, two)
    archive(tmp_path / "b", two, one)
    assert archive_path(tmp_path / "a").read_bytes() == archive_path(tmp_path / "b").read_bytes()


def test_an_archive_that_is_none_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive_path(tmp_path).write_bytes(b"PAR1 cut short")
    with pytest.raises(
        ValueError, match=r"records.parquet is no archive of records .*copy it again"
    ):
        read_archive(tmp_path)
    write_record(tmp_path, some_record(some_run()))  # the rest stands
    assert read_records(tmp_path, [some_run(), some_run(seed=7)]).keys() == {some_run().id}
    [line] = caplog.messages
    assert "records.parquet is no archive of records" in line and "it does not count" in line


def test_one_bad_row_of_an_archive_does_not_cost_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = some_record(some_run()), some_record(some_run(seed=7), val_accuracy=0.75)
    rows = [dataclasses.asdict(record) for record in (good, bad)]
    with archive_path(tmp_path).open("wb") as file:
        write_archive(file, [rows[0], rows[1] | {"val_accuracy": 75.0}])
    assert read_records(tmp_path, [some_run(), some_run(seed=7)]).keys() == {good.run_id}
    [line] = caplog.messages
    assert f"run {bad.run_id} (val_accuracy=75.0: must be from 0 to 1)" in line


def test_packing_adds_to_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TWO, f"runs={tmp_path / 'runs'}", f"results={tmp_path}"]
    with hydra():
        first, second = (entry.run for entry in plan(words).planned)
        with pytest.raises(
            ValueError,
            match="sweep has no record below .*runs; python -m ablation.run -m scaling=width",
        ):
            pack.show(words, True)
        config = {"data": {"path": "/home/me/photographs", "files": "0123456789ab"}}
        write_record(tmp_path / "runs", some_record(first, config=config))
        pack.show(words, True)
        record_path(tmp_path / "runs", first.id).unlink()
        write_record(tmp_path / "runs", some_record(second, config=config))
        pack.show(words, True)
    packed = read_archive(tmp_path / "sweep")
    assert set(packed) == {first.id, second.id}
    # No folder travels.
    assert [row["config"]["data"] for row in packed.values()] == [
        {"path": None, "files": "0123456789ab"}
    ] * 2
    assert "1 of 2 runs of sweep, 2 in all" in capsys.readouterr().out


def test_records_module_reads_no_parquet_where_there_is_no_archive(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from ablation.runs import records; "
        "records.read_archive(pathlib.Path(sys.argv[1])); sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_stated_files_stand_for_the_folder(tmp_path: Path) -> None:
    """A plan without the images has the same runs as one with them, and none is opened; other images are
    refused."""
    for name in (
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/1.png",
        "test/cat/1.png",
        "test/dog/1.png",
    ):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red" if "cat" in name else "blue").save(path)
    stated = {"name": "mine", "classes": 2, "native": 8, "validation_size": 1}
    at_hand = stated | {"path": str(tmp_path / "set")}
    older = {"files": names_and_sizes(str(tmp_path / "set"))}

    def data(values: dict[str, Any]) -> Data:
        return survey(values, tmp_path / "runs", tmp_path / "cache").data

    assert data(stated | older).identity() == data(at_hand | older).identity()
    assert not (tmp_path / "cache").exists()
    found = data(at_hand)
    assert found.files not in (None, older["files"])
    assert data(at_hand | {"files": found.files}).identity() == found.identity()
    with pytest.raises(
        ValueError, match=r"its files \(.*\) are not mine's \(0123456789ab\); .*data.files=null"
    ):
        data(at_hand | {"files": "0123456789ab"})


SHIPPED = sorted(
    path.parent
    for images in ("reference", "stripes", "shapes")
    for path in (ROOT / "results" / images).glob("*/records.parquet")
)


@pytest.mark.parametrize(
    "folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_records_that_ship_are_those_of_their_study(folder: Path) -> None:
    images = folder.parent.name
    which = "size=reference" if images == "reference" else f"data={images}"
    words = arguments([f"study={folder.name}", which, f"runs={folder}", f"results={folder.parent}"])
    with hydra():
        wanted = plan(words)
        before = [plan(shlex.split(each)) for each in wanted.after]  # what it follows from
    planned = {entry.run.id for each in (wanted, *before) for entry in each.planned}
    found = read_archive(folder)
    assert set(found) <= planned
    assert {row["config"]["data"]["path"] for row in found.values()} == {None}
    assert archive_path(folder).stat().st_size < 2e6


def test_images_that_lie_nowhere_are_asked_for() -> None:
    from ablation.images.sources import open_source

    with pytest.raises(
        ValueError,
        match=r"mine: its images are files of your own; say where they lie, data.path=FOLDER",
    ):
        open_source(Data("mine", 3, 96, files="0123456789ab"), 3)


# ---------------------------------------------------------------- which images were right


def answers(*right: bool) -> dict[str, dict[str, Any]]:
    return {"validation": packed(np.array(right), "some images")}


def test_answers_come_back_bit_by_bit_and_broken_ones_are_refused() -> None:
    right = np.random.default_rng(0).random(3925) < 0.8
    kept = packed(right, "some images")
    assert len(kept["bits"]) < 700 and np.array_equal(unpacked(kept), right)
    with pytest.raises(ValueError, match="491 bytes for 5000 images"):
        unpacked(kept | {"count": 5000})
    with pytest.raises(ValueError):
        unpacked(kept | {"bits": "no base64!"})
    with pytest.raises(ValueError, match=r"val_accuracy=0.5: its answers give 0.75"):
        some_record(some_run(), val_accuracy=0.5, answers=answers(True, True, True, False))


def test_images_are_the_same_only_where_source_and_rows_are() -> None:
    keys = {
        images_key(digest, np.array(rows))
        for digest in ("one", "other")
        for rows in ([0, 1, 2], [0, 1, 3], [0, 1])
    }
    assert len(keys) == 6 and images_key("one", np.array([0, 1])) in keys


def test_a_record_with_answers_wins_wherever_it_lies(tmp_path: Path) -> None:
    run = some_run()
    without = some_record(run)
    kept = dataclasses.replace(without, answers=answers(True, False))
    archive(tmp_path, kept)
    write_record(tmp_path, without)
    assert read_record(tmp_path, run) == kept
    write_record(tmp_path, dataclasses.replace(kept, seconds=7.0))
    found = read_record(tmp_path, run)
    assert found and found.seconds == 7.0


def test_packing_keeps_answers_that_a_newer_record_lacks(tmp_path: Path) -> None:
    run = some_run()
    kept = dataclasses.asdict(some_record(run, answers=answers(True, False)))
    bare = dataclasses.asdict(some_record(run))
    assert pack.lost(kept, bare)
    assert not pack.lost(bare, kept) and not pack.lost(kept, kept) and not pack.lost(bare, bare)
    older = {name: value for name, value in bare.items() if name != "answers"}
    assert not pack.lost(older, bare)


def test_an_archive_from_before_answers_is_read(tmp_path: Path) -> None:
    run = some_run()
    archive(tmp_path, some_record(run))
    path = archive_path(tmp_path)
    parquet.write_table(parquet.read_table(path).drop_columns("answers"), path)
    found = read_record(tmp_path, run)
    assert found is not None and found.answers == {}


def test_a_run_that_leaves_evaluation_closed_is_served_by_the_one_that_opened_it(
    tmp_path: Path,
) -> None:
    opened, closed = some_run(), some_run(evaluate=False)
    both = answers(True, False) | {"evaluation": packed(np.array([True, False]), "others")}
    write_record(tmp_path, some_record(opened, loss=1.0, answers=both))
    found = read_record(tmp_path, closed)
    assert found is not None and found.run_id == closed.id
    assert (found.accuracy, found.loss, found.val_accuracy) == (None, None, 0.5)
    assert found.answers == answers(True, False)
    write_record(tmp_path, some_record(closed, accuracy=None, val_accuracy=0.25))
    own = read_record(tmp_path, closed)
    assert own is not None and own.val_accuracy == 0.25
    # Not the other way round: it has no accuracy to give.
    (tmp_path / opened.id / "record.json").unlink()
    assert read_record(tmp_path, opened) is None
