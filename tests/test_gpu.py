"""The checks for a GPU, smaller on this CPU; and that what one of them does to its process stays with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.gpu import mps
from tests.gpu.__main__ import PARTS
from tests.gpu.checks import Check, Site, _attended, carry_out, names_of
from tests.gpu.step import idle


def found(site: Site) -> dict[str, Any]:
    return {"pid": os.getpid()}


def wrong(site: Site) -> dict[str, Any]:
    raise ValueError("no luck")


def dies(site: Site) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


CHECKS = (
    Check("first", found),
    Check("second", found),
    Check("wrong", wrong),
    Check("dies", dies),
    Check("last", found),
    Check("elsewhere", wrong, ("cuda",)),
)


def site_of(folder: Path, seconds: float) -> Site:
    return Site("cpu", folder, folder, ends=time.monotonic() + seconds)


def test_what_a_check_does_to_its_process_costs_that_check_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    answers = carry_out("tests.test_gpu", site_of(tmp_path, 120), path)
    assert json.loads(path.read_text()) == answers
    assert list(answers) == ["about", "first", "second", "wrong", "dies", "last"]
    assert [name for name, one in answers.items() if not one.get("ok", True)] == ["wrong", "dies"]
    assert answers["wrong"]["error"] == "ValueError: no luck"
    assert 'raise ValueError("no luck")' in "\n".join(answers["wrong"]["trace"])
    assert answers["dies"]["error"].startswith("its process was killed by SIGKILL")
    first, second, last = (answers[name]["pid"] for name in ("first", "second", "last"))
    assert first == second != last


def test_a_part_that_is_over_ends_what_goes_on_and_names_what_was_not_reached(
    tmp_path: Path,
) -> None:
    started = time.monotonic()
    said = _attended(site_of(tmp_path, 1), time.sleep, 600)
    assert said == "took longer than the time that this part had left"
    assert time.monotonic() - started < 300
    answers = carry_out("tests.test_gpu", site_of(tmp_path, 0), tmp_path / "answers.json")
    assert list(answers) == ["first", "second", "wrong", "dies", "last"]
    assert {one["error"] for one in answers.values()} == {
        "not reached: the time of this part is over"
    }


FAKE = """#!/bin/sh
case "$1" in
-d) sleep 30 & echo $! > "$CUDA_MPS_PIPE_DIRECTORY/pid"; exit $FAILS ;;
*) read word; echo "$word" > "$CUDA_MPS_LOG_DIRECTORY/said"; kill $(cat "$CUDA_MPS_PIPE_DIRECTORY/pid") ;;
esac
"""


def test_mps_is_started_and_ended_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a control program whose service keeps what it inherits open, as a service may."""
    monkeypatch.setattr(mps, "CONTROL", "no-such-control")
    assert mps.start(tmp_path) == "no-such-control is not installed here"
    mps.stop(tmp_path)  # nothing to end
    control = tmp_path / "control"
    control.write_text(FAKE)
    control.chmod(0o755)
    monkeypatch.setattr(mps, "CONTROL", str(control))
    for fails, expected in (("0", ""), ("3", f"{control}: ")):
        monkeypatch.setenv("FAILS", fails)
        assert mps.start(tmp_path) == expected
        mps.stop(tmp_path)
        assert (tmp_path / "mps-log" / "said").read_text() == "quit\n"
        assert not (tmp_path / "mps").exists()


def test_idle_is_what_no_kernel_covers() -> None:
    assert idle([(0, 2), (1, 3), (5, 6), (5.5, 10)]) == pytest.approx(0.2)
    assert idle([(3, 4)]) == 0


def test_every_part_goes_through_on_a_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        ["tests/gpu.sh", "--device", "cpu", "--seconds", "600"],
        cwd=ROOT,
        env={**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for part in PARTS:
        answers = json.loads((tmp_path / f"{part}.json").read_text())
        assert [*answers] == ["about", *names_of(f"tests.gpu.{part}", "cpu")]
        assert all(answer["ok"] for name, answer in answers.items() if name != "about")
    assert (tmp_path / "records.parquet").exists()
