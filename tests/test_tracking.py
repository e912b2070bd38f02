"""W&B shows what the records say and never stops a run: what was written is read back by W&B's own
inspector."""

import csv
import dataclasses
import importlib.util
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ablation import sync
from ablation.command import workspace
from ablation.command.planning import Plan, plan
from ablation.command.tracked import attach, chart, summarise
from ablation.door import hydra
from ablation.judge.findings import judge
from ablation.judge.frame import frame
from ablation.runs.arms import Planned
from ablation.runs.config import Execution
from ablation.runs.records import Record, read_record, read_records
from ablation.runs.states import state
from ablation.sync import offline
from ablation.train import tracking
from ablation.train.execute import execute
from ablation.train.processes import side_by_side
from tests.conftest import ROOT, TINY
from tests.test_faults import command
from tests.test_resume import HARD, Start, start, wait_for  # noqa: F401
from tests.test_training import RECIPE, planned


@pytest.fixture
def execution(tmp_path: Path, cache: Path) -> Execution:
    return Execution(tmp_path / "runs", cache, accelerator="cpu", wandb="offline")


STUDY = ("study=quick", "study.rules=[width,resolution]", "study.phis=[0,1]", "study.seeds=[0,1]")
Swept = tuple[Plan, dict[str, Record], Path]


def inspect(folder: Path, *options: str) -> str:
    [file] = folder.glob("*.wandb")
    shown = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(file)],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def written(runs: Path, count: int = 1) -> list[Path]:
    """The folders of finished W&B runs below a folder of records, once W&B's own process has written their
    ends."""
    folders = sorted(runs.glob("*/wandb/offline-run-*"), key=lambda folder: folder.name)
    assert len(folders) == count
    wait_for(lambda: '"type":"exit"' in inspect(folders[-1]))
    return folders


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(inspect(folder, "--summary"))


def history(folder: Path) -> list[dict[str, Any]]:
    rows = [
        json.loads(line)["history"]["item"]
        for line in inspect(folder).splitlines()
        if '"type":"history"' in line
    ]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that this project logged."""
    [line] = [
        record.getMessage() for record in caplog.records if record.name.startswith("ablation")
    ]
    assert "\n" not in line
    return line


def shown(record: Record) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if value is not None} for row in record.history
    ]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Swept:
    """A study of two rules that share a network, with W&B offline."""
    runs = tmp_path_factory.mktemp("swept")
    words = [*STUDY, *TINY, f"runs={runs}", f"cache={cache}", "wandb.mode=offline"]
    with hydra():
        wanted = plan([*words, f"results={runs / 'results'}"])
    ended = command(*words)
    assert ended.status == 0, ended.err
    return wanted, read_records(runs, [entry.run for entry in wanted.planned]), runs


def test_every_run_has_its_history_summary_tags_and_config(
    swept: Swept,
) -> None:
    wanted, records, runs = swept
    entries = wanted.planned
    folders = {folder.parents[1].name: folder for folder in runs.glob("*/wandb/offline-run-*")}
    assert set(folders) - {"studies"} == set(records)
    for entry in {entry.run.id: entry for entry in reversed(entries)}.values():
        record, folder = records[entry.run.id], folders[entry.run.id]
        told = summary(folder)
        assert (told["run_id"], told["name"], told["state"], told["project"]) == (
            record.run_id,
            entry.label,
            "finished",
            "ablation",
        )
        assert history(folder) == shown(record)
        for name in (
            "status",
            "macs",
            "params",
            "activations",
            "accuracy",
            "val_accuracy",
            "train_accuracy",
            "seconds",
        ):
            assert told["summary"][name] == getattr(record, name)
        rule = "baseline" if entry.arm.phi == 0 else entry.arm.name
        phi = f"phi {entry.arm.phi:g}"
        assert told["tags"] == ["quick", rule, "cost matched", "stripes", phi]
        config, row = told["config"], entry.row()
        assert config["recipe"] == record.config["recipe"]
        assert (config["rule"], config["seed"]) == (rule, entry.run.seed)
        for short, name in {"d": "depth", "w": "width", "r": "resolution", "px": "pixels"}.items():
            assert config[short] == pytest.approx(row[name])
        for name in ("baseline", "setting", "phi", "macs", "params", "budget"):
            assert config[name] == row[name]
        assert f'"run_group":"{rule}"' in inspect(folder)


def tables(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table that W&B keeps."""
    [file] = folder.glob(f"files/media/table/{name}_*.json")
    content = json.loads(file.read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_one_run_for_the_study_holds_its_runs_networks_and_verdicts(swept: Swept) -> None:
    wanted, records, runs = swept
    [folder] = runs.glob("studies/*/wandb/offline-run-*")
    rows = tables(folder, "runs")
    assert [row["rule"] for row in rows].count("baseline") == 2
    assert {row["run_id"]: row["accuracy"] for row in rows} == {
        run_id: record.accuracy for run_id, record in records.items()
    }
    assert len(rows) == len(records) == 6
    networks = tables(folder, "networks")
    assert {(row["rule"], row["phi"], row["n"]) for row in networks} == {
        (rule, phi, 2) for rule in ("width", "resolution") for phi in (0, 1)
    }
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 for row in networks)
    verdicts = tables(folder, "verdicts")
    found = judge(frame(wanted.planned, records))
    assert [(row["claim"], row["verdict"]) for row in verdicts] == [
        (finding.claim, finding.verdict) for finding in found
    ]
    told = summary(folder)
    assert (told["tags"], told["config"]["study"]) == (["quick"], "quick")


def test_its_chart_has_a_line_for_each_rule_from_the_baseline_on_with_intervals(
    swept: Swept,
) -> None:
    _, _, runs = swept
    [folder] = runs.glob("studies/*/wandb/offline-run-*")
    [file] = folder.glob("files/media/plotly/accuracy against FLOPs*.plotly.json")
    figure = json.loads(file.read_text())
    networks = tables(folder, "networks")
    base = networks[0]["macs"]
    assert [line["name"] for line in figure["data"]] == ["width", "resolution"]
    for line in figure["data"]:
        rows = [row for row in networks if row["rule"] == line["name"]]
        assert line["x"][0] == base and line["x"] == sorted(row["macs"] for row in rows)
        assert line["y"] == [row["mean"] for row in rows]
        lows = [row["mean"] - row["low"] for row in rows]
        assert line["error_y"]["arrayminus"] == pytest.approx(lows)
    assert figure["layout"]["xaxis"]["type"] == "log"


def test_lines_of_explicit_coefficients_start_at_the_baseline_too() -> None:
    def row(rule: str, label: str, macs: int) -> dict[str, Any]:
        place = {"baseline": "micro", "setting": "", "rule": rule, "label": label, "macs": macs}
        return place | {"mean": 0.5, "low": math.nan, "high": math.nan}

    rows = [row("baseline", "baseline", 1), row("depth", "depth d=4", 4), row("w", "w w=2", 3)]
    lines = {line["name"]: line["x"] for line in chart(rows)["data"]}
    assert lines == {"depth": [1, 4], "w": [1, 3]}


def test_page_and_figures_are_an_artifact_of_the_studys_run(swept: Swept) -> None:
    """Once as long as they are the same, and of no study that W&B has not seen."""
    wanted, _, runs = swept
    drawn = wanted.results / "quick"
    drawn.mkdir(parents=True)
    for name in ("report.html", "compound.png", "findings.md", "notes.txt"):
        (drawn / name).write_text(name)
    time.sleep(1.1)  # W&B names its folders by the second
    for _ in range(2):
        attach(wanted, drawn)
    first, second = sorted(runs.glob("studies/*/wandb/offline-run-*"))
    assert first.name.split("-")[-1] == second.name.split("-")[-1]
    [line] = [line for line in inspect(second).splitlines() if '"type":"artifact"' in line]
    artifact = json.loads(line)["artifact"]
    assert artifact["type"] == "report" and artifact["name"].startswith("quick-")
    paths = {entry["path"] for entry in artifact["manifest"]["contents"]}
    assert paths == {"report.html", "compound.png", "findings.md"}
    elsewhere = dataclasses.replace(wanted.execution, runs=runs / "elsewhere")
    attach(dataclasses.replace(wanted, execution=elsewhere), drawn)
    assert not (runs / "elsewhere").exists()
    shutil.rmtree(second)  # for the tests that count


def test_the_same_command_again_writes_no_second_summary(swept: Swept) -> None:
    wanted, records, runs = swept
    summarise(wanted, records)
    assert len(list(runs.glob("studies/*/wandb/offline-run-*"))) == 1


def test_a_resumed_run_goes_on_with_its_own(execution: Execution, start: Start) -> None:  # noqa: F811
    entry = planned(HARD)
    process = start(entry, execution)
    wait_for(lambda: state(execution, entry.run).progress.get("epoch", 0) >= 2)
    process.kill()
    process.join()
    time.sleep(1.1)  # W&B names its folders by the second
    record = execute(entry, execution)
    folders = written(execution.runs, 2)
    assert all(folder.name.endswith(entry.run.id) for folder in folders)
    told = summary(folders[1])
    assert (told["run_id"], told["summary"]["accuracy"]) == (entry.run.id, record.accuracy)
    assert history(folders[1]) == shown(record)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize("silent", [False, True], ids=["away", "silent"])
def test_online_without_its_server_is_written_offline_and_said_in_one_line(
    silent: bool,
    server: str,
    execution: Execution,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forget_wandb()
    monkeypatch.setenv("WANDB_BASE_URL", server if silent else "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    record = execute(planned(), dataclasses.replace(execution, wandb="online"))
    assert record.total_seconds - record.seconds < 10
    line = said(caplog)
    assert (
        line.startswith("W&B is written offline: http://127.0.0.1:")
        and "does not answer" in line
        and line.endswith("uploads it later")
    )
    [folder] = written(execution.runs)
    assert history(folder) == shown(record)


def test_online_logged_out_is_written_offline_and_said_in_one_line(
    execution: Execution,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    forget_wandb()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracking.urllib.request, "urlopen", lambda *args, **kwargs: socket.socket())
    record = execute(planned(), dataclasses.replace(execution, wandb="online"))
    line = said(caplog)
    assert line.startswith("W&B is written offline: nobody is logged in")
    assert history(written(execution.runs)[0]) == shown(record)


def forget_wandb() -> None:
    """W&B reads its environment once a process."""
    import wandb

    wandb.teardown()


def test_without_wandb_a_run_is_done_and_says_so_in_one_line(
    execution: Execution, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert execute(planned(), execution).status == "done"
    line = said(caplog)
    assert line.startswith("W&B is left out of this run: ")


LITTLE = 5000  # bytes, enough for the record and W&B's log, too few for what it writes of a run


def with_little_disk(entry: Planned, execution: Execution) -> Record:
    """No file may grow beyond what the record needs; W&B's own process inherits that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, LITTLE))
    return execute(entry, execution)


def test_a_disk_too_full_for_wandb_never_stops_a_run(execution: Execution) -> None:
    entry = planned(dataclasses.replace(RECIPE, epochs=3))
    [record] = side_by_side(with_little_disk, [(entry, execution)], 1)
    assert record == dataclasses.replace(record, status="done")
    assert read_record(execution.runs, entry.run) is not None
    [file] = execution.runs.glob("*/wandb/offline-run-*/*.wandb")
    wait_for(lambda: file.stat().st_size == LITTLE)


def test_sync_is_one_line_where_it_cannot_upload(
    swept: Swept,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    runs = swept[2]
    assert len(offline(runs)) == 7
    environment = {
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    call = [sys.executable, "-m", "ablation.sync"]
    ended = subprocess.run(
        [*call, f"runs={runs}"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert (
        ended.stderr.startswith("error: http://127.0.0.1:9 does not answer")
        and len(ended.stderr.splitlines()) == 1
    )
    ended = subprocess.run(
        [*call, f"runs={tmp_path}"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, f"nothing to upload below {tmp_path}\n")


def test_what_has_been_uploaded_is_left_out(tmp_path: Path) -> None:
    """And what W&B uploads itself, and what holds nothing."""
    for name, size in {
        "a/wandb/offline-run-2-a": 9,
        "studies/s-1/wandb/offline-run-1-s": 9,
        "b/wandb/run-0-b": 9,
        "c/wandb/offline-run-3-c": 7,
    }.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / f"run-{folder.name[-1]}.wandb").write_bytes(bytes(size))
    assert [folder.name[-1] for folder in offline(tmp_path)] == ["s", "a"]
    (tmp_path / "studies/s-1/wandb/offline-run-1-s/run-s.wandb.synced").touch()
    assert [folder.name[-1] for folder in offline(tmp_path)] == ["a"]


def test_the_identity_of_another_launcher_changes_nothing(tmp_path: Path, cache: Path) -> None:
    """RANK and the like above 0 would make Lightning's logger mute; W&B's own would give a run their id."""
    foreign = {
        **dict.fromkeys(("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"), "3"),
        **{"WORLD_SIZE": "4", "SLURM_NTASKS": "4", "WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "zzz"},
        **{"WANDB_RESUME": "must", "WANDB_RUN_GROUP": "theirs", "WANDB_NAME": "theirs"},
    }
    words = ["phi=0", *TINY, f"runs={tmp_path}", f"cache={cache}", "wandb.mode=offline"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ablation.run", *words],
        cwd=ROOT,
        env=os.environ | foreign | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    [folder] = written(tmp_path)
    told = summary(folder)
    assert (told["run_id"], told["name"]) == (folder.parents[1].name, "baseline seed=0")
    assert len(history(folder)) == 2 and told["summary"]["status"] == "done"


def test_what_a_server_refuses_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each W&B run has its own time; the tool's status says nothing, so its words do."""
    for name in ("refused", "hanging", "good"):
        folder = tmp_path / "runs" / name / "wandb" / f"offline-run-1-{name}"
        folder.mkdir(parents=True)
        (folder / f"run-{name}.wandb").write_bytes(bytes(9))
    asked = []

    def upload(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[-1])
        asked.append(folder.name)
        if folder.name.endswith("hanging"):
            raise subprocess.TimeoutExpired(command, how["timeout"], output=b"retrying: 503\n")
        if folder.name.endswith("refused"):
            return subprocess.CompletedProcess(command, 0, "wandb: ERROR run was deleted (409)\n")
        [file] = folder.glob("*.wandb")
        file.with_name(f"{file.name}.synced").touch()
        return subprocess.CompletedProcess(command, 0, "done\n")

    for name in ("WANDB_MODE", "WANDB_SILENT"):  # which the door sets
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(sync.subprocess, "run", upload)
    monkeypatch.setattr(sync, "check_server", lambda: None)
    with pytest.raises(ConnectionError) as refused, hydra():
        sync.show([f"runs={tmp_path / 'runs'}"], False)
    assert sorted(asked) == [f"offline-run-1-{name}" for name in ("good", "hanging", "refused")]
    assert str(refused.value) == (
        "2 of 3 W&B runs were not uploaded; offline-run-1-hanging: no end within 120 s, retrying: 503; "
        "offline-run-1-refused: ERROR run was deleted (409); the same command tries these again; a folder "
        "that is removed is left out"
    )


def test_a_second_logger_writes_the_same_history_and_is_no_part_of_the_run(
    execution: Execution,
) -> None:
    entry = planned()
    where = dataclasses.replace(execution, wandb="disabled", logger="csv")
    record = execute(entry, where)
    folder = execution.runs / entry.run.id / "csv"
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses == pytest.approx([row["train/loss"] for row in record.history])
    assert float(rows[-1]["accuracy"]) == pytest.approx(record.accuracy)
    hparams = (folder / "hparams.yaml").read_text()
    assert "macs: " in hparams and "rule: " in hparams
    again = execute(entry, dataclasses.replace(execution, wandb="disabled"))
    assert (again.run_id, again.finished) == (record.run_id, record.finished)


def test_a_logger_without_its_client_is_refused_before_training_in_a_line(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.LOGGERS, "mlflow", ("no_such_client",))
    for mode in ([], ["-m"]):
        ended = command(*mode, "logger=mlflow", *TINY, f"runs={tmp_path}", f"cache={cache}")
        assert ended.status == 1
        assert ended.err == (
            "error: logger=mlflow: its client is not installed; pip install no_such_client, or take "
            "logger=csv, which needs none\n"
        )
    with hydra(), pytest.raises(ValueError, match="logger=paper: choose one of csv, tensorboard"):
        plan(["logger=paper"])


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_loggers_whose_client_is_there(name: str, execution: Execution) -> None:
    """Where it is not, the line above is what a person gets."""
    if not any(importlib.util.find_spec(package) for package in tracking.LOGGERS[name]):
        pytest.skip(f"{name} is not installed")
    entry = planned()
    execute(entry, dataclasses.replace(execution, wandb="disabled", logger=name))
    pattern = "mlflow.db" if name == "mlflow" else f"{entry.run.id}/{name}/*tfevents*"
    [file] = execution.runs.glob(pattern)
    assert b"val/accuracy" in file.read_bytes()


def test_a_workspace_of_the_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built where its client is there; else, or without a project, a line. Saving it needs an account."""
    for words, told in ((["ablation"], "say whose project"), (["me/ablation"], "is not installed")):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["workspace", *words])
            patch.setattr(importlib.util, "find_spec", lambda name: None)
            with pytest.raises(SystemExit, match=f"^error: .*{told}"):
                workspace.main()
    pytest.importorskip("wandb_workspaces")
    built = workspace.workspace("me", "ablation")
    assert [section.name for section in built.sections] == ["studies", "costs", "curves"]
