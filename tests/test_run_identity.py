"""Run ids, records, study expansion."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.runs import config
from ablation.runs.arms import Arm, Planned, expand, grows, pending, twins
from ablation.runs.checks import build
from ablation.runs.config import Data, Recipe, Run, digest
from ablation.runs.files import write_json
from ablation.runs.records import Record, read_record, record_path, write_record
from ablation.theory.baselines import BASELINES, MINI
from ablation.theory.scaling import PUBLISHED, RULES, Coefficients

RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=0.1)
DATA = Data("shapes", 12, 96)


def some_run(**changes: object) -> Run:
    return dataclasses.replace(Run(MINI.network, RECIPE, DATA, seed=0), **changes)  # type: ignore[arg-type]


def some_record(run: Run, **changes: object) -> Record:
    values = {
        field.name: 0
        for field in dataclasses.fields(Record)
        if dataclasses.MISSING is field.default is field.default_factory
    }
    values |= {
        "run_id": run.id,
        "status": "done",
        "cost": "matched",
        "device": "cpu",
        "config": {},
        "accuracy": 0.5,
        "val_accuracy": 0.5,
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"evaluate": False},
        {"recipe": dataclasses.replace(RECIPE, learning_rate=0.2)},
        {"data": dataclasses.replace(DATA, train_size=100)},
        {"data": dataclasses.replace(DATA, upsample=True)},
        {"network": dataclasses.replace(MINI.network, pixels=34)},
        {"network": dataclasses.replace(MINI.network, classes=21)},
    ],
)
def test_all_that_changes_a_result_changes_the_id(changes: dict[str, object]) -> None:
    assert some_run(**changes).id != some_run().id


def test_the_results_version_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = some_run().id
    monkeypatch.setattr(config, "RESULTS_VERSION", config.RESULTS_VERSION + 1)
    assert some_run().id != before


def test_the_id_is_stable_and_ignores_where_files_lie(tmp_path: Path) -> None:
    assert some_run().id == some_run().id
    first, second = (
        dataclasses.replace(DATA, name="mine", files="0123456789ab", path=str(tmp_path / name))
        for name in ("a", "b")
    )
    assert some_run(data=first).id == some_run(data=second).id
    other = dataclasses.replace(second, files="ba9876543210")
    assert some_run(data=first).id != some_run(data=other).id


def test_dropout_that_grows_is_stated_by_each_arm() -> None:
    """From B0 to B7 the paper's 0.2 to 0.5; the baseline keeps the run that it had without."""
    b0, data = BASELINES["b0"], Data("imagenet", 1000, 600, upsample=True)
    plain = dataclasses.replace(RECIPE, dropout=0.2)
    growing = dataclasses.replace(plain, dropout_growth=0.0454)
    b7 = Arm("published b7", "nominal", coefficients=PUBLISHED["b7"].coefficients)
    first, last = expand(
        b0, [Arm("compound", "nominal", RULES["compound"], 0.0), b7], growing, data, [0]
    )
    same = expand(b0, [first.arm], plain, data, [0])
    assert first.run.id == same[0].run.id
    assert last.run.recipe == dataclasses.replace(plain, dropout=0.5002)
    assert grows([first, last]) and not grows([first]) and not grows(same)
    smaller = expand(MINI, [Arm("width", "matched", RULES["width"], -1.0)], growing, DATA, [0])
    assert smaller[0].run.recipe.dropout == pytest.approx(0.2 - 0.0454, abs=0.003)
    with pytest.raises(
        ValueError, match="dropout_growth=0.5: makes a dropout of 3.5061 at 97.8 times"
    ):
        expand(b0, [b7], dataclasses.replace(plain, dropout_growth=0.5), data, [0])


def test_upsampling_is_refused_with_the_number() -> None:
    with pytest.raises(ValueError, match="128 px is above the 96 px"):
        some_run(network=dataclasses.replace(MINI.network, pixels=128))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 2.5}, "recipe.epochs=2.5: expected a whole number"),
        ({"epochs": 0}, "recipe.epochs=0: must be from 1 to"),
        ({"optimizer": "lion"}, "recipe.optimizer=lion: choose one of sgd"),
        ({"learning_rate": "fast"}, "recipe.learning_rate=fast: expected a number"),
        ({"flip": 1}, "recipe.flip=1: expected true or false"),
        ({"ema": float("nan")}, "recipe.ema=nan"),
        ({"warmup_epochs": 7}, "shorter than recipe.epochs=3"),
        (
            {"accumulate": 3},
            "recipe.accumulate=3: recipe.batch_size=8 does not split into equal parts",
        ),
        ({"colour": 1}, "recipe.colour: no such setting"),
    ],
)
def test_bad_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Recipe, {"epochs": 3, "batch_size": 8, "learning_rate": 0.1, **values}, "recipe")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ValueError, match="data.native is not set"):
        build(Data, {"name": "x", "classes": 3}, "data")


def test_record_comes_back_equal(tmp_path: Path) -> None:
    run = some_run()
    assert read_record(tmp_path, run) is None
    record = some_record(run, history=({"epoch": 1, "train/loss": None},))
    write_record(tmp_path, record)
    again = read_record(tmp_path, run)
    assert again is not None
    assert dataclasses.replace(again, history=tuple(again.history)) == record


@pytest.mark.parametrize("content", ["", '{"run_id": "abc', "[]", '{"run_id": "abc"}', b"\xff"])
def test_a_record_that_is_not_whole_does_not_count_and_is_named_once(
    tmp_path: Path, content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = record_path(tmp_path, some_run().id)
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [read_record(tmp_path, some_run()) for _ in range(2)] == [None, None]
    [line] = caplog.messages
    assert f"{some_run().id}/record.json is not a whole record" in line and "\n" not in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_accuracy": "0.9"}, "val_accuracy=0.9: expected a number"),
        ({"val_accuracy": float("nan")}, "val_accuracy=nan: expected a number"),
        ({"val_accuracy": 1.5}, "val_accuracy=1.5: must be from 0 to 1"),
        ({"val_accuracy": None}, "val_accuracy is not set"),
        ({"val_accuracy": [0.9]}, r"val_accuracy=[0.9]: expected a number"),
        ({"status": "finished"}, "status=finished: choose one of done, diverged"),
        ({"history": 3}, "history=3: expected a list"),
        ({"history": [1]}, "history=1: expected settings by name"),
        ({"config": []}, "config=[]: expected settings by name"),
        ({"colour": 1}, "colour: no such setting"),
        ({"macs": True}, "macs=True: expected a whole number"),
        ({"seconds": float("inf")}, "seconds=inf: expected a number"),
    ],
)
def test_a_record_with_a_wrong_value_does_not_count_and_says_which(
    tmp_path: Path, changes: dict[str, object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = some_run()
    path = write_record(tmp_path, some_record(run))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert read_record(tmp_path, run) is None
    [line] = caplog.messages
    assert f"record.json is not a whole record of run {run.id} ({message}" in line


def test_a_digit_that_a_disk_has_changed_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = some_run()
    path = write_record(tmp_path, some_record(run, val_accuracy=0.5))
    assert read_record(tmp_path, run) == some_record(run, val_accuracy=0.5)
    path.write_text(path.read_text().replace('"val_accuracy": 0.5', '"val_accuracy": 0.7'))
    assert read_record(tmp_path, run) is None
    assert "its digest is of other values" in caplog.text


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b'"\\ud800"', b"[" * 100_000, b"7"])
def test_what_is_no_record_at_all_does_not_count(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run = some_run()
    write_record(tmp_path, some_record(run)).write_bytes(content)
    assert read_record(tmp_path, run) is None
    [line] = caplog.messages
    assert "record.json is not a whole record" in line and len(line) < 500


@pytest.mark.parametrize(
    "changes", [{"results_version": config.RESULTS_VERSION - 1}, {"run_id": "0123456789ab"}]
)
def test_a_record_of_another_results_version_or_run_does_not_count(
    tmp_path: Path, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    run = some_run()
    write_record(tmp_path, some_record(run)).write_text(
        json.dumps(dataclasses.asdict(some_record(run, **changes)))
    )
    assert read_record(tmp_path, run) is None
    assert "holds run" in caplog.text and "it does not count" in caplog.text


def test_a_record_of_another_recipe_does_not_count(tmp_path: Path) -> None:
    write_record(tmp_path, some_record(some_run()))
    assert read_record(tmp_path, some_run(recipe=dataclasses.replace(RECIPE, momentum=0.8))) is None


def test_a_failed_write_leaves_the_old_record_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError,
        match=r"record.json could not be written \(full disk, No space left on device\); free some space",
    ):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_limit_on_file_size_keeps_earlier_records_whole(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from ablation.runs.files import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); here = Path(sys.argv[1])\n"
        "write_json(here / 'a.json', {'whole': 1}); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_json(here / 'a.json', {'long': 'x' * 1000})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode != 0
    assert "a.json could not be written" in done.stderr.splitlines()[-1]
    assert json.loads((tmp_path / "a.json").read_text()) == {"whole": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert hasattr(resource, "RLIMIT_FSIZE") and hasattr(signal, "SIGXFSZ")


def four_rules(**changes: object) -> list[Planned]:
    arms = [
        Arm(name, "matched", RULES[name], phi)
        for name in ("depth", "width", "resolution", "compound")
        for phi in (0.0, 1.0)
    ]
    return expand(MINI, arms, RECIPE, DATA, seeds=[0, 1], **changes)  # type: ignore[arg-type]


def test_phi_zero_is_trained_once_and_serves_every_rule() -> None:
    planned = four_rules()
    assert len(planned) == 16
    assert len({entry.run.id for entry in planned}) == 10
    assert {entry.label for entry in planned if entry.arm.phi == 0} == {
        "baseline seed=0",
        "baseline seed=1",
    }


def test_pending_leaves_out_what_is_done_and_puts_the_costliest_first() -> None:
    planned = four_rules()
    done = {planned[0].run.id: some_record(planned[0].run)}
    left = pending(planned, done)
    assert len(left) == 9
    assert planned[0].run.id not in {entry.run.id for entry in left}
    assert [entry.work for entry in left] == sorted((entry.work for entry in left), reverse=True)


def test_twins_are_named_and_phi_zero_is_not() -> None:
    assert twins(four_rules()) == []
    arms = [
        Arm("depth", "matched", RULES["depth"], 1.0),
        Arm("coefficients", "nominal", coefficients=Coefficients(depth=2)),
    ]
    assert twins(expand(MINI, arms, RECIPE, DATA, [0])) == [
        ("depth phi=1", "coefficients d=2 w=1 r=1")
    ]


def test_the_classes_of_the_data_are_counted_in_the_budget() -> None:
    [entry] = expand(
        MINI, [Arm("width", "matched", RULES["width"], 1.0)], RECIPE, Data("other", 500, 96), [0]
    )
    assert entry.run.network.classes == 500
    assert abs(entry.point.budget_error or 1) <= 0.05


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
