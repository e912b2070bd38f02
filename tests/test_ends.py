"""A command that is stopped, or that nobody reads, or that starts in an odd place: a line, and what is done
is kept."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablation.command.ends import Enduring, Interrupted, end_at_once, interrupt
from ablation.runs.files import drafts
from tests.conftest import ROOT, TINY

REPORTED = ("study=quick", "runs=results/reference/figure8")


def start(*words: str, **how: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["plan", "report", "audit"])
def test_a_door_that_is_stopped_says_so_in_a_line(
    name: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start(f"ablation.{name}", *REPORTED, f"results={tmp_path}", stdout=subprocess.DEVNULL)
    _until_it_catches(process.pid, signal.SIGTERM)
    time.sleep(0.1)  # while it imports
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert (said, process.returncode) == ("interrupted\n", 128 + number)


def _until_it_catches(pid: int, number: signal.Signals) -> None:
    """Wait until a process has a handler for a signal, as the kernel tells it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        [caught] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if int(caught, 16) >> (number - 1) & 1:
            return
        time.sleep(0.01)


def test_a_sweep_that_is_stopped_as_a_terminal_does_it_shows_no_traceback(
    tmp_path: Path, cache: Path
) -> None:
    folders = [f"runs={tmp_path}", f"cache={cache}"]
    words = ["-m", "phi=0,1", "seed=0,1", *folders, *TINY, "wandb.mode=disabled"]
    process = start("ablation.run", *words, stdout=subprocess.PIPE)
    assert process.stdout and "4 to train" in process.stdout.readline()
    time.sleep(0.5)  # its processes are just being started
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said and "leaked" not in said
    assert said.splitlines()[-1].startswith("what is done is kept; this trains the rest: ")


@pytest.mark.parametrize(
    ("shell", "status", "said"),
    [
        ("{} | head -1", 0, ""),
        ("{} >&-", 0, ""),
        ("{} <&-", 0, ""),
        (
            "{} > /dev/full",
            1,
            "error: standard output could not be written (No space left on device)\n",
        ),
    ],
)
def test_what_nobody_reads_is_trained_all_the_same(
    shell: str, status: int, said: str, tmp_path: Path, cache: Path
) -> None:
    folders = f"runs={tmp_path} cache={cache}"
    words = f"{sys.executable} -W ignore -m ablation.run {folders} {' '.join(TINY)}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell.format(f"{words} wandb.mode=disabled")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, said)
    assert len(list(tmp_path.glob("*/record.json"))) == 1


def test_a_report_whose_reader_leaves_writes_its_files(tmp_path: Path) -> None:
    where = f"size=reference study=figure8 runs=results/reference/figure8 results={tmp_path}"
    words = f"{sys.executable} -W ignore -m ablation.report {where}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{words} | head -1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "figure8" / "report.html").exists()


@pytest.mark.parametrize("words", ["run --help", "plan --help", "plan phi=1", "run --version"])
def test_words_whose_reader_has_left_end_quietly(words: str) -> None:
    call = f"{sys.executable} -W ignore -m ablation.{words}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{call} | true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "environment",
    [
        {
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii",
        },
        {"HOME": "/dev/null"},  # where nobody, root neither, can make a folder
        {"TERM": "", "COLUMNS": "1"},
        {
            "RANK": "3",
            "LOCAL_RANK": "3",
            "WORLD_SIZE": "4",
            "SLURM_PROCID": "3",
            "SLURM_NTASKS": "4",
        },
    ],
)
def test_an_odd_environment_changes_nothing(
    environment: dict[str, str], tmp_path: Path, cache: Path
) -> None:
    folders = [f"runs={tmp_path}", f"cache={cache}"]
    words = ["ablation.run", *folders, *TINY, "wandb.mode=disabled"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_was_deleted_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && {sys.executable} -m ablation.plan"
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: the working folder was deleted; cd to another\n",
    )


def test_an_output_that_fails_is_dropped_and_remembered(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        out = Enduring(full)
        out.write("x")
        out.flush()
        assert isinstance(out.fault, OSError)
        assert out.write("more") == 4
        assert (out.isatty(), out.encoding.lower()) == (False, "utf-8")
    with pytest.raises(Interrupted):
        interrupt(signal.SIGTERM, None)


def test_whoever_is_stopped_at_once_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tmp_path / ".table.md.1"
    draft.write_text("half")
    drafts.add(draft)
    monkeypatch.setattr(os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    with pytest.raises(SystemExit, match="130"):
        end_at_once(signal.SIGINT, None)
    drafts.discard(draft)
    assert not draft.exists()
