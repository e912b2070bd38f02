"""A run that was stopped, however and wherever, ends as if it had not been."""

import dataclasses
import errno
import fcntl
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation.images.splits import load
from ablation.runs import states
from ablation.runs.answers import unpacked
from ablation.runs.arms import Planned
from ablation.runs.config import Execution
from ablation.runs.records import checkpoint_path, read_record, weights_path, write_record
from ablation.runs.states import Busy, State, finished, forgive, held, hold, leave_reason, state
from ablation.train.checkpoints import Checkpoints, read_weights, save
from ablation.train.classifier import measure
from ablation.train.execute import execute
from ablation.train.model import ConvNet
from ablation.train.processes import PRELOAD
from tests.test_training import RECIPE, planned, untimed

EPOCHS = 5
HARD = dataclasses.replace(
    RECIPE,
    epochs=EPOCHS,
    dropout=0.3,
    drop_path=0.3,
    crop=0.5,
    clip=1.0,
    momentum=0.9,
    validate_every=2,
)
# What else a run may do.
BESIDE: dict[str, dict[str, Any]] = {
    "rmsprop": {"accumulate": 2},
    "adamw": {"crop": 1.0, "randaugment": 2, "magnitude": 9, "mixup": 0.8, "cutmix": 1.0},
}
Start = Callable[[Planned, Execution], BaseProcess]


@pytest.fixture
def execution(tmp_path: Path, cache: Path) -> Execution:
    return Execution(
        tmp_path / "runs", cache, accelerator="cpu", wandb="disabled", keep_weights=True
    )


@pytest.fixture
def start() -> Start:
    """A run in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)

    def begin(entry: Planned, execution: Execution) -> BaseProcess:
        process = context.Process(target=execute, args=(entry, execution))
        process.start()
        return process

    return begin


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def epoch_of(execution: Execution, entry: Planned) -> int:
    return state(execution, entry.run).progress.get("epoch", -1)


def weights(execution: Execution, entry: Planned) -> dict[str, torch.Tensor]:
    return torch.load(weights_path(execution.runs, entry.run.id), weights_only=True)


def assert_same_run(one: Execution, two: Execution, entry: Planned) -> None:
    first, second = (read_record(execution.runs, entry.run) for execution in (one, two))
    assert first and second
    assert untimed(first) == untimed(second)
    theirs = weights(two, entry)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one, entry).items())


@pytest.mark.parametrize(
    ("optimizer", "kills"), [("sgd", (1, 2, 4)), ("rmsprop", (3,)), ("adamw", (2,))]
)
def test_a_run_killed_at_random_points_ends_as_if_it_had_not_been(
    optimizer: str, kills: tuple[int, ...], execution: Execution, tmp_path: Path, start: Start
) -> None:
    """SIGKILL after so many epochs, at a random moment of the next: record and averaged weights are the same
    to the last bit."""
    recipe = dataclasses.replace(
        HARD, optimizer=optimizer, learning_rate=0.01, **BESIDE.get(optimizer, {})
    )
    entry = planned(recipe)
    undisturbed = dataclasses.replace(execution, runs=tmp_path / "undisturbed")
    execute(entry, undisturbed)
    chance = random.Random(optimizer)
    for epoch in kills:
        process = start(entry, execution)
        wait_for(lambda epoch=epoch: epoch_of(execution, entry) >= epoch)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not held(execution.runs, entry.run.id)
        assert checkpoint_path(execution.runs, entry.run.id).exists()
    execute(entry, execution)
    assert_same_run(undisturbed, execution, entry)
    assert {path.name for path in (execution.runs / entry.run.id).iterdir()} == {
        "record.json",
        "weights.pt",
        "progress.json",
        "lock",
    }


def _cut(left: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(left * len(content))])

    return cut


def _flip(place: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1
        path.write_bytes(content)

    return flip


def _other_run(path: Path) -> None:
    Checkpoints("ba9876543210").save_checkpoint({"weights": torch.rand(1000)}, path)


def _directory(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGE = {
    **{f"cut at {left}": _cut(left) for left in (0, 0.001, 0.5, 0.9, 0.999)},
    **{f"flipped at {place}": _flip(place) for place in (0.0, 0.002, 0.01, 0.3, 0.999)},
    "of another run": _other_run,
    "a directory": _directory,
    "a list": lambda path: path.write_text("[1, 2]"),
    "of an older version": lambda path: save({"weights": torch.rand(10)}, path),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_checkpoint_of_this_run_is_named_in_one_line_and_set_aside(
    damage: Callable[[Path], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, last = tmp_path / "checkpoint.pt", Checkpoints("0123456789ab")
    for _ in range(2):  # the newest is kept
        caplog.clear()
        last.save_checkpoint({"weights": torch.rand(1000), "epoch": 3}, path)
        assert last.resumable(path) == path
        damage(path)
        assert last.resumable(path) is None
        assert [left.name for left in tmp_path.iterdir()] == ["checkpoint.pt.damaged"]
        [line] = caplog.messages
        assert line.startswith(f"{path} is set aside as checkpoint.pt.damaged (")
        assert line.endswith(": the run starts from its beginning") and "\n" not in line


def test_a_run_goes_on_with_as_many_devices_as_it_began_with(tmp_path: Path) -> None:
    """Dropout is drawn for each process: another number would end as no run that anybody can repeat."""
    path, two = tmp_path / "checkpoint.pt", Checkpoints("0123456789ab", 2)
    two.save_checkpoint({"epoch": 3}, path)
    assert two.resumable(path) == path
    with pytest.raises(
        ValueError, match="devices=1: this run has begun with devices=2; go on with"
    ):
        Checkpoints("0123456789ab").resumable(path)
    head, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(
        head.replace(b'"devices": 2, ', b"") + b"\n" + content
    )  # of an earlier version
    assert Checkpoints("0123456789ab").resumable(path) == path


@pytest.mark.parametrize("damage", ["flipped at 0.3", "of another run", "a directory"])
def test_a_run_with_such_a_checkpoint_starts_from_its_beginning(
    damage: str, execution: Execution, caplog: pytest.LogCaptureFixture
) -> None:
    entry = planned(dataclasses.replace(HARD, epochs=2))
    path = checkpoint_path(execution.runs, entry.run.id)
    path.parent.mkdir(parents=True)
    Checkpoints(entry.run.id).save_checkpoint({"epoch": 1}, path)
    DAMAGE[damage](path)
    assert [row["epoch"] for row in execute(entry, execution).history] == [1, 2]
    assert "is set aside" in caplog.text


def test_weights_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save({"weight": torch.rand(1000)}, path)
    assert set(read_weights(path)) == {"weight"}
    for damage in ("flipped at 0.3", "cut at 0.5", "a list"):
        save({"weight": torch.rand(1000)}, path)
        DAMAGE[damage](path)
        with pytest.raises(ValueError, match="weights.pt holds no weights .*; remove it and run"):
            read_weights(path)


def test_who_looks_whether_a_run_is_held_opens_nothing_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not held(tmp_path, "abc") and not (tmp_path / "abc").exists()
    with hold(tmp_path, "abc"):
        modes = []
        opened = Path.open
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode="r", **how: modes.append(mode) or opened(path, mode, **how),
        )
        assert held(tmp_path, "abc")
        assert modes == ["rb"]
    assert not held(tmp_path, "abc")


def test_a_checkpoint_that_cannot_be_written_never_stops_a_run(
    execution: Execution, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ablation.train import checkpoints

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "checkpoint.pt could not be written (No space left on device)")

    monkeypatch.setattr(checkpoints, "replacing", full)
    assert execute(planned(), dataclasses.replace(execution, keep_weights=False)).status == "done"
    assert caplog.messages == [
        "this run goes on without a checkpoint: checkpoint.pt could not be written (No space left on device)"
    ]


def test_weights_stay_only_where_asked_and_a_run_without_them_is_trained_once_more_for_them(
    execution: Execution,
) -> None:
    entry, without = planned(), dataclasses.replace(execution, keep_weights=False)
    first = execute(entry, without)
    path = weights_path(execution.runs, entry.run.id)
    assert not path.exists() and not checkpoint_path(execution.runs, entry.run.id).exists()
    assert finished(without, entry.run) and not finished(execution, entry.run)
    again = execute(entry, execution)
    assert untimed(again) == untimed(first)
    net = ConvNet(entry.run.network)
    net.load_state_dict(torch.load(path, weights_only=True))
    splits = load(entry.run.data, entry.run.network.pixels, execution.cache)
    assert measure(net, splits.evaluation) == (first.accuracy, first.loss)
    stamp = path.stat().st_mtime_ns
    execute(entry, execution)
    assert path.stat().st_mtime_ns == stamp


def test_a_record_without_answers_is_trained_once_more_where_they_are_wanted(
    execution: Execution,
) -> None:
    entry = planned()
    without = dataclasses.replace(execution, keep_weights=False)
    first = execute(entry, without)
    splits = load(entry.run.data, entry.run.network.pixels, execution.cache)
    for name, accuracy in (("evaluation", first.accuracy), ("validation", first.val_accuracy)):
        kept = first.answers[name]
        assert kept["images"] == splits.keys[name] and unpacked(kept).mean() == accuracy
    write_record(execution.runs, dataclasses.replace(first, answers={}))
    wanted = dataclasses.replace(without, keep_bits=True)
    assert finished(without, entry.run) and not finished(wanted, entry.run)
    assert state(wanted, entry.run).name == "planned"
    assert untimed(execute(entry, wanted)) == untimed(first)
    assert finished(wanted, entry.run)


def test_states_are_read_from_the_folder(execution: Execution) -> None:
    entry, where = planned(), dataclasses.replace(execution, keep_weights=False)
    runs, run = execution.runs, entry.run
    assert state(where, run) == State("planned")
    assert not runs.exists()
    leave_reason(runs, run.id, "no luck", "Traceback")
    assert (state(where, run).name, state(where, run).reason) == ("failed", "no luck")
    with hold(runs, run.id):
        assert state(where, run).name == "running"
        with (
            pytest.raises(Busy, match=f"run {run.id} is being trained by another command"),
            hold(runs, run.id),
        ):
            pass
    assert state(where, run).name == "failed"
    forgive(runs, run.id)
    assert state(where, run).name == "planned"
    record = execute(entry, where)
    assert (state(where, run).name, state(where, run).record) == ("done", read_record(runs, run))
    write_record(runs, dataclasses.replace(record, status="diverged"))
    assert state(where, run).name == "diverged"


def test_looking_at_a_state_never_turns_a_run_away(execution: Execution) -> None:
    """A look takes the lock for a moment; a run that starts just then tries for longer."""
    with hold(execution.runs, "abc"):
        pass
    over = threading.Event()
    looks = threading.Thread(
        target=lambda: [held(execution.runs, "abc") for _ in iter(over.is_set, True)]
    )
    looks.start()
    try:
        for _ in range(200):
            with hold(execution.runs, "abc"):
                pass
    finally:
        over.set()
        looks.join()


def test_a_file_system_without_locks_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        pytest.raises(
            OSError, match=r"abc/lock cannot be locked \(Function not implemented\); set runs="
        ) as caught,
        hold(tmp_path, "abc"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_run_waits_for_the_record_of_another_process_or_takes_over_from_a_dead_one(
    execution: Execution, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "GLANCE", 0.05)
    entry = planned(dataclasses.replace(HARD, epochs=20))
    first = start(entry, execution)
    wait_for(lambda: epoch_of(execution, entry) >= 1)
    with pytest.raises(Busy):
        execute(entry, execution)
    threading.Timer(0.05, first.kill).start()
    record = execute(entry, execution, wait=True)
    first.join()
    assert first.exitcode == -signal.SIGKILL
    assert [row["epoch"] for row in record.history] == list(range(1, 21))
    assert execute(entry, execution, wait=True).total_seconds == record.total_seconds
