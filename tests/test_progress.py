"""What a person sees while runs go on: shares, time left, the live table."""

import dataclasses
import io
import itertools
import re
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablation import status
from ablation.command.planning import Plan, plan
from ablation.command.progress import Progress, live_on, time_left
from ablation.command.sweep import outcome
from ablation.door import hydra
from ablation.runs.config import Execution
from ablation.runs.files import write_json
from ablation.runs.records import write_record
from ablation.runs.states import State, hold, leave_reason, sweeping, swept
from ablation.train import watch
from ablation.train.execute import execute
from tests import test_training as training
from tests.conftest import TINY
from tests.test_run_identity import some_record

ROW = {
    "label": "",
    "host": "here",
    "pid": 7,
    "epoch": 1,
    "epochs": 2,
    "seconds": 10.0,
    "val/accuracy": 0.25,
}


@pytest.fixture
def wanted(tmp_path: Path) -> Plan:
    with hydra():
        return plan(["phi=0", "seed=0,1,2", *TINY, f"runs={tmp_path / 'runs'}"])


def running(row: dict[str, object]) -> State:
    return State("running", progress=ROW | row)


def test_time_left_is_work_ahead_by_the_speed_so_far_and_runs_at_once(wanted: Plan) -> None:
    """Three equal runs. 10 s for half a run: 20 s each."""
    first, second, third = wanted.planned
    planned, done = (
        State("planned"),
        State("done", dataclasses.replace(some_record(first.run), total_seconds=20.0)),
    )
    assert time_left([(first, planned), (second, planned)]) == ""
    assert time_left([(first, running({})), (second, planned), (third, planned)]) == "0:50"
    assert time_left([(first, running({})), (second, running({})), (third, planned)]) == "0:20"
    assert (
        time_left([(first, done), (second, running({"seconds": 10.0})), (third, planned)]) == "0:30"
    )
    assert time_left([(first, done), (second, State("failed")), (third, done)]) == "0:00"


def test_a_run_is_behind_to_the_step_and_says_nothing_of_its_pace_before_it_has_one(
    wanted: Plan,
) -> None:
    [entry, *_] = wanted.planned
    assert running({"step": 5, "steps": 10}).share == 0.75
    assert time_left([(entry, running({"step": 5, "steps": 10, "seconds": 15.0}))]) == "0:05"
    first = {"epoch": 0, "steps": 100, "began": 8.0}
    assert time_left([(entry, running(first | {"step": 1, "seconds": 10.0}))]) == ""
    assert time_left([(entry, running(first | {"step": 50, "seconds": 20.0}))]) == "1:00"
    assert time_left([(entry, running({"began": 9.0}))]) == "0:10"


def test_a_run_shows_its_steps_once_a_second_at_most(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice six steps of 0.4 s by this clock; between the ends of epochs the disk is not waited for."""
    shown: list[tuple[int, int, bool]] = []

    def write(path: Path, content: dict[str, int], durable: bool) -> None:
        shown.append((content["epoch"], content["step"], durable))

    ticks = itertools.count(1)
    clock = types.SimpleNamespace(
        monotonic=lambda: 0.4 * next(ticks), perf_counter=time.perf_counter
    )
    monkeypatch.setattr(watch, "time", clock)
    monkeypatch.setattr(watch, "write_json", write)
    execute(training.planned(), Execution(tmp_path, cache, accelerator="cpu", wandb="disabled"))
    assert shown == [
        *((0, 0, True), (0, 3, False), (0, 6, False)),
        *((1, 0, True), (1, 3, False), (1, 6, False)),
        (2, 0, True),
    ]


def test_a_line_for_each_finished_run_and_for_news_of_others(wanted: Plan) -> None:
    first, second, third = wanted.planned
    runs, out = wanted.execution.runs, io.StringIO()
    progress = Progress(wanted.planned, wanted.execution, out)
    write_json(runs / second.run.id / "progress.json", ROW)
    with hold(runs, second.run.id):
        progress.look()
        write_json(runs / second.run.id / "progress.json", ROW | {"step": 0, "seconds": 10.1})
        progress.look()
    write_json(runs / second.run.id / "progress.json", ROW)
    write_record(runs, some_record(first.run, total_seconds=20.0, seconds=15.0))
    write_record(runs, some_record(third.run, total_seconds=20.0, status="diverged"))
    progress.look()
    progress.look()
    assert [line.split() for line in out.getvalue().splitlines()] == [
        [
            "run",
            "2",
            "of",
            "3",
            "baseline",
            "seed=1",
            "epoch",
            "1",
            "of",
            "2",
            "validation",
            "25.0%",
            "0:50",
            "left",
        ],
        [
            "run",
            "1",
            "of",
            "3",
            "baseline",
            "seed=0",
            "accuracy",
            "50.0%",
            "15",
            "s",
            "0:30",
            "left",
        ],
        [
            "run",
            "3",
            "of",
            "3",
            "baseline",
            "seed=2",
            "accuracy",
            "50.0%",
            "diverged",
            "0",
            "s",
            "0:10",
            "left",
        ],
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen(out: io.StringIO) -> list[str]:
    """The lines that were shown, one after the other, without escape sequences and bars."""
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|[━╸╺]+", "", out.getvalue())
    return [" ".join(line.split()) for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_on_a_terminal_a_bar_for_all_and_one_for_each_run_that_goes_on(
    wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    first, second, third = wanted.planned
    runs, out = wanted.execution.runs, Terminal()
    with Progress(wanted.planned, wanted.execution, out, every=60) as progress:
        write_json(runs / second.run.id / "progress.json", ROW)
        with hold(runs, second.run.id):
            progress.look()
        write_record(runs, some_record(first.run, total_seconds=20.0, seconds=15.0))
        leave_reason(runs, third.run.id, "no [luck]")
    lines = seen(out)
    assert lines[:2] == ["0 of 3 done 0:50 left", "baseline seed=1 epoch 1 of 2 validation 25.0%"]
    assert "run 1 of 3 baseline seed=0 accuracy 50.0% 15 s 0:30 left" in lines
    assert "run 3 of 3 baseline seed=2 failed: no [luck]" in lines
    assert lines[-1] == "1 of 3 done 0:10 left"


def test_a_single_run_has_one_bar(wanted: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    [entry, *_], out = wanted.planned, Terminal()
    progress = Progress([entry], wanted.execution, out)
    with hold(wanted.execution.runs, entry.run.id):
        progress.look()
        assert progress._rows() == [("baseline seed=0", 0.0, "preparing images  ")]
        write_json(wanted.execution.runs / entry.run.id / "progress.json", ROW)
        progress.look()
    assert progress._rows() == [
        ("baseline seed=0", 0.5, "epoch 1 of 2  validation 25.0%  0:10 left")
    ]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert live_on(Terminal()) is None


def test_a_sweep_ends_with_a_table_of_its_networks(wanted: Plan) -> None:
    done = {
        entry.run.id: some_record(entry.run, accuracy=0.5 + 0.1 * entry.run.seed)
        for entry in wanted.planned
    }
    broken = wanted.planned[0].run
    done[broken.id] = some_record(broken, accuracy=0.1, status="diverged")
    head, _, row = outcome(wanted.planned, done).splitlines()
    assert head.split() == ["network", "px", "MACs", "accuracy", "lowest", "highest", "runs"]
    assert " ".join(row.split()) == "baseline 20 218,984 46.7% 10.0% 70.0% 3 (1 diverged)"


def test_looks_go_on_while_a_run_is_running_and_have_it_first(
    wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = wanted.planned
    runs = wanted.execution.runs

    def happenings() -> Iterator[None]:
        leave_reason(runs, second.run.id, "no luck")
        with hold(runs, third.run.id):
            write_json(runs / third.run.id / "progress.json", ROW)
            yield
        yield from [None] * status.PATIENCE

    story = happenings()
    next(story)
    monkeypatch.setattr(status.time, "sleep", lambda seconds: next(story))
    tables = [status.table(wanted, states) for states in status.looks(wanted)]
    assert len(tables) == status.PATIENCE
    rows = [" ".join(line.split()) for line in tables[0].splitlines()[2:]]
    assert rows == [
        f"baseline seed=2 {third.run.id} running epoch 1 of 2 25.0% on here, process 7, 0:10 left",
        f"baseline seed=1 {second.run.id} failed no luck",
        f"baseline seed=0 {first.run.id} planned",
        "sweep: 3 runs, 1 running, 1 failed, 1 planned; about 0:30 left",
    ]
    assert tables[1].splitlines()[-1] == "sweep: 3 runs, 2 planned, 1 failed"


def test_a_sweep_that_has_just_begun_is_waited_for(
    wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command holds a lock; and one whose command is just being started has a moment."""
    runs, planned = wanted.execution.runs, [entry.run for entry in wanted.planned]
    seen = []

    def happenings() -> Iterator[None]:
        with sweeping(runs, planned):
            assert swept(runs, planned) and not swept(runs, planned[:2])
            for _ in range(2 * status.PATIENCE):
                yield
            for run in planned:
                write_record(runs, some_record(run))
        while True:
            yield

    story = happenings()
    monkeypatch.setattr(status.time, "sleep", lambda seconds: next(story))
    seen = [{now.name for _, now in states} for states in status.looks(wanted)]
    assert seen == [{"planned"}] * (2 * status.PATIENCE + 1)
    assert not swept(runs, planned)


def test_where_nothing_goes_on_there_is_no_look(wanted: Plan) -> None:
    leave_reason(wanted.execution.runs, wanted.planned[0].run.id, "no luck")
    assert list(status.looks(wanted)) == []


def test_a_live_table_has_a_screen_of_its_own_and_fits_it(
    wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "40", "LINES": "7"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(status, "EVERY", 0)
    monkeypatch.setattr(status, "on_signals", lambda handler: None)
    out = Terminal()
    live = live_on(out, screen=True)
    assert live is not None
    status.watch(wanted, live)
    shown = out.getvalue()
    assert shown.startswith("\x1b[?1049h") and shown.endswith("\x1b[?1049l")
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "\n", shown)
    assert max(len(line.rstrip("\r")) for line in plain.splitlines()) <= 40
    first = shown.split("\x1b[H")[2]
    assert [line.split()[0] for line in first.splitlines()[2:6]] == [
        "baseline",
        "baseline",
        "and",
        "sweep:",
    ]
    assert "and 1 more: 1 planned" in first and "Ctrl-C ends this look" in first
