"""Ours against something else: turns, ratios and goals, the file they lie in; and that what ours is held
against does the same work."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from ablation import bench
from ablation.command.planning import plan
from ablation.door import hydra
from ablation.images.batches import normalise
from ablation.images.splits import Images
from ablation.measure import contests, reading
from ablation.measure.benchmarks import (
    Benchmark,
    benchmarks_path,
    disturbed,
    in_turn,
    read_benchmarks,
    write_benchmarks,
)
from ablation.measure.rivals import Pictures, bare_rate, usual_rate, write_jpegs
from ablation.runs import machine
from ablation.runs.config import Execution
from tests.test_run_identity import some_run

RATES = Benchmark(
    "training",
    "images/s",
    ours=(90.0, 220.0, 100.0),
    against="a loop",
    theirs=(100.0, 200.0, 50.0),
    goal=1.1,
)
SECONDS = Benchmark("a start", "s", ours=(2.0, 1.0, 4.0), goal=2.0)


def test_calls_take_turns() -> None:
    turns = []
    found = in_turn(2, lambda: turns.append("a") or 1.0, lambda: turns.append("b") or 2.0)
    assert (turns, found) == (["a", "b", "a", "b"], [(1.0, 1.0), (2.0, 2.0)])


def test_a_ratio_is_of_one_round_and_more_is_better_but_of_seconds_less() -> None:
    assert RATES.values == (0.9, 1.1, 2.0)
    assert (RATES.median, RATES.met, dataclasses.replace(RATES, goal=1.2).met) == (1.1, True, False)
    assert (SECONDS.median, SECONDS.met, dataclasses.replace(SECONDS, goal=1.9).met) == (
        2.0,
        True,
        False,
    )
    assert dataclasses.replace(RATES, goal=None).met is None


def test_a_file_keeps_what_is_not_measured_again(tmp_path: Path) -> None:
    write_benchmarks(tmp_path, "Some CPU @ 2 GHz", {"a": RATES, "b": SECONDS})
    write_benchmarks(
        tmp_path, "Some CPU @ 2 GHz", {"b": dataclasses.replace(SECONDS, ours=[1.23456])}
    )
    path = tmp_path / "bench" / "some-cpu-2-ghz.json"
    assert path == benchmarks_path(tmp_path, "Some CPU @ 2 GHz")
    found = read_benchmarks(tmp_path, "Some CPU @ 2 GHz")
    assert (found["a"].median, found["b"].ours) == (1.1, [1.235])
    assert read_benchmarks(tmp_path, "another") == {}
    path.write_text(json.dumps({"a": {"what": "training"}}))
    with pytest.raises(
        ValueError, match="some-cpu-2-ghz.json holds no benchmarks of this version.*delete it"
    ):
        read_benchmarks(tmp_path, "Some CPU @ 2 GHz")


def test_the_table_says_goal_and_whether_it_is_met() -> None:
    lines = bench.table({"step": RATES, "start": SECONDS}).splitlines()
    assert lines[2].split() == [
        "step",
        "100",
        "images/s",
        "100",
        "images/s",
        "1.10",
        "0.9",
        "to",
        "2",
        "in",
        "3",
        "at",
        "least",
        "1.1",
        "yes",
    ]
    assert lines[3].split() == [
        "start",
        "2",
        "s",
        "1",
        "to",
        "4",
        "in",
        "3",
        "at",
        "most",
        "2",
        "yes",
    ]
    assert lines[4:] == ["step: training; theirs: a loop", "start: a start"]


def test_a_benchmark_that_was_not_alone_says_so(tmp_path: Path) -> None:
    quiet, loud = ([0.0, 0.19], [0.04, 1.5])
    assert disturbed([]) == disturbed(quiet) == ""
    said = "not alone: other work took 0.0 and 1.5 cores before and after; measure again without it"
    assert disturbed(loud) == said
    beside = dataclasses.replace(SECONDS, taken=loud)
    write_benchmarks(tmp_path, "cpu", {"a": beside, "b": dataclasses.replace(beside, taken=quiet)})
    found = read_benchmarks(tmp_path, "cpu")
    assert bench.table(found).splitlines()[-2:] == [f"a: a start; {said}", "b: a start"]


# Ticks: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.
BEFORE = "cpu  100 0 50 800 50 0 0 0 9 9\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n"
AFTER = "cpu  200 0 50 950 100 0 0 100 99 99\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n"


@pytest.mark.parametrize(("ours", "expected"), [(4, 2.0), (2, 0.0), (3, 1.0)])
def test_others_take_what_is_neither_idle_nor_beside_our_cores(
    ours: int, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of four cores is busy, half of that with other machines (steal)."""
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine, "cores", lambda: ours)
    monkeypatch.setattr(machine.time, "sleep", lambda _: machine.STAT.write_text(AFTER))
    machine.STAT.write_text(BEFORE)
    assert machine.taken() == pytest.approx(expected)
    machine.STAT.write_text("no ticks")
    assert machine.taken() is None


def test_the_usual_pipeline_sees_the_same_images(tmp_path: Path) -> None:
    # One colour each, which JPEG keeps to a few of 255.
    shade = torch.arange(6, dtype=torch.uint8).mul(40)
    images = Images(
        shade[:, None, None, None].repeat(1, 16, 16, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    )
    files = write_jpegs(images, tmp_path)
    with Image.open(files[0]) as picture:
        assert picture.size == (16, 16)
    pictures = Pictures(files, 8)
    for index in range(6):
        pixels, label = pictures[index]
        assert label == images.labels[index]
        torch.testing.assert_close(
            pixels, normalise(images.pixels[index : index + 1, :8, :8])[0], atol=0.05, rtol=0
        )


def test_rivals_train(tmp_path: Path) -> None:
    run = some_run()
    where = Execution(tmp_path, tmp_path, accelerator="cpu")
    size = run.recipe.batch_size
    images = Images(torch.zeros(3 * size, 8, 8, 3, dtype=torch.uint8), torch.arange(3 * size) % 12)
    assert bare_rate(run, 2, where) > 0
    assert usual_rate(run, write_jpegs(images, tmp_path / "jpeg"), 0, where, tmp_path / "log") > 0
    [log] = (tmp_path / "log").glob("**/metrics.csv")
    assert len(log.read_text().splitlines()) >= 1 + 3  # logged at every step


@pytest.mark.parametrize("words", [contests.TINY, *contests.STEPS.values()], ids=str)
def test_what_is_timed_has_a_batch_of_its_recipe(words: Sequence[str]) -> None:
    with hydra():
        [entry] = plan([*words]).planned
    assert entry.run.data.train_size >= entry.run.recipe.batch_size


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_reading_is_measured_from_each_place_and_against_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"baseline=b0": "baseline=mini", "recipe.batch_size=64": "recipe.batch_size=8"}
    own = [small.get(word, word) for word in contests.READ]
    monkeypatch.setattr(contests, "READ", own)
    monkeypatch.setattr(contests, "PHOTOS", 34)
    monkeypatch.setattr(contests, "alone", lambda task, *given: task(*given))
    here = contests.Machine("cpu", 1, False, 1, "")
    with hydra():
        found = contests.CONTESTS["input"]([], 1, tmp_path, here)
    places = [
        "input, pillow",
        "input, datasets",
        "input, encoded",
        "input, mapped",
        "input, memory",
    ]
    assert [name for name in found if name != "input, turbo"] == places
    assert all(rate > 0 for each in found.values() for rate in (*each.ours, *each.theirs))
    assert "34 JPEGs of 500 x 375 px" in found["input, pillow"].what
    assert (found["input, pillow"].goal, found["input, encoded"].goal) == (0.85, 1.5)
    assert found["input, mapped"].theirs == found["input, encoded"].theirs
    files = sorted((tmp_path / "photos").rglob("*.jpg"))
    with Image.open(files[0]) as picture:
        assert picture.size == (500, 375)


def test_the_usual_crops_are_those_of_torchvision() -> None:
    torch.manual_seed(0)
    boxes = [reading._torchvisions_box(500, 375) for _ in range(500)]
    areas, aspects = [], []
    for left, upper, right, lower in boxes:
        assert 0 <= left < right <= 500 and 0 <= upper < lower <= 375
        areas.append((right - left) * (lower - upper) / (500 * 375))
        aspects.append((right - left) / (lower - upper))
    assert 0.079 < min(areas) < 0.12 and max(areas) > 0.8
    assert min(aspects) > 0.74 and max(aspects) < 1.35
    crops = reading.Crops([], 32)
    assert crops.shaped(Image.new("RGB", (500, 375))).size == (32, 32)
