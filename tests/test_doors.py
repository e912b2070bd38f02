"""The commands as a person types them, in processes of their own."""

import importlib
import importlib.util
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablation import __version__
from ablation.bench import BENCHES
from ablation.command.errors import NotYet, one_line
from ablation.command.overrides import arguments
from ablation.command.planning import plan, single
from ablation.command.shipped import CONF, studies
from ablation.door import hydra
from ablation.runs.checks import counted
from ablation.runs.states import leave_reason
from ablation.theory.baselines import BASELINES
from tests.conftest import ROOT, TINY
from tests.test_documents import DOORS, STUDIES
from tests.test_faults import command

Door = Callable[..., subprocess.CompletedProcess[str]]


def planned(*words: str) -> list[dict[str, object]]:
    with hydra():
        return [
            entry.row() | {"overrides": job.overrides, "label": entry.label}
            for job in plan(words).jobs
            for entry in [job.planned]
        ]


def test_help_is_short_and_names_what_people_need(door: Door) -> None:
    shown = door("run", "--help").stdout
    assert len(shown.splitlines()) < 45
    choices = dict(re.findall(r"^(\w+): (.*)$", shown, re.M))
    assert choices["study"].split(", ") == studies()
    assert choices["baseline"].split(", ") == sorted([*BASELINES, "factory", "file"])
    assert {"compound", "fitted", "published"} <= set(choices["scaling"].split(", "))
    assert {"shapes", "custom"} <= set(choices["data"].split(", ")) and {"short", "paper"} <= set(
        choices["recipe"].split(", ")
    )
    examples = re.findall(r"^  ablation (\S.*?)(?:   .*)?$", shown, re.M)
    assert len(examples) == 4
    for example in examples:
        assert planned(
            *(word for word in example.split() if word != "-m" and not word.startswith("hydra/"))
        )


@pytest.mark.parametrize("name", ["plan", "status", "report", "bench", "audit", "sync"])
def test_help_of_the_other_doors_says_what_they_do_and_shows_commands(
    door: Door, name: str
) -> None:
    shown = door(name, "--help").stdout
    assert f"\npython -m ablation.{name}" in shown
    assert shown.splitlines()[-1] == "Groups and settings: python -m ablation.run --help"
    assert len(shown.splitlines()) < 12


@pytest.mark.parametrize("name", DOORS)
def test_every_door_tells_our_version(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"ablation.{name}")
    where = "ablation.run" if name == "run" else "ablation.door"
    monkeypatch.setattr(f"{where}.on_signals", lambda handler: None)
    monkeypatch.setattr(sys, "argv", [f"ablation.{name}", "--version"])
    module.main()
    assert capsys.readouterr() == (f"ablation {__version__}\n", "")


def test_the_version_is_said_in_one_place_and_cited() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert cited["version"] == __version__
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "ablation.__version__"


def test_every_door_is_a_script() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    doors = {f"ablation-{name}" if name != "run" else "ablation": name for name in DOORS}
    assert scripts == {script: f"ablation.{name}:main" for script, name in doors.items()}


def test_one_is_said_in_the_singular(door: Door) -> None:
    assert "sweep: 1 distinct run, 0 done" in door("plan", "phi=1").stdout
    assert door("status", "phi=1").stdout.splitlines()[-1] == "sweep: 1 run, 1 planned"
    assert counted(1, "run") == "1 run" and counted(1001, "run") == "1,001 runs"


COMPLETE = r"""
eval "$("$0" -m ablation.run -sc install=bash)"
for COMP_LINE in "$@"; do
    COMP_POINT=${#COMP_LINE} program=${COMP_LINE%% *}
    [[ $program == python ]] && _ablation_python || _ablation_script "$program"
    echo "${COMPREPLY[@]}"
done
"""
COMPLETED = {
    "ablation recipe.learn": "recipe.learning_rate=",
    "ablation-plan phi=1 study=grid": "grid-search",
    "ablation-bench cal": "calibrate",
    "python -m ablation.pl": "ablation.plan",
    "python -W ignore -m ablation.run -m cost=matched scaling=depth,wi": "depth,width",
    "python -m ablation.run --config-dir my recipe=lo": "long",
}


def test_tab_completion_of_every_door(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", COMPLETE, sys.executable, *COMPLETED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [*COMPLETED.values()]


def test_the_names_that_are_completed_are_those_of_doors_and_benches() -> None:
    script = (ROOT / "ablation" / "command" / "complete.bash").read_text()
    [doors] = re.findall(r"^_ablation_doors=\((.*)\)$", script, re.M)
    [benches] = re.findall(r'^_ablation_benches="(.*)"$', script, re.M)
    assert (doors.split(), benches.split()) == ([*DOORS], [*BENCHES])


def test_tab_in_a_real_terminal() -> None:
    """Readline replaces the part behind `=`; what a name is completed to leaves the cursor where its value
    goes."""
    terminal, its_end = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        start_new_session=True,
        **dict.fromkeys(("stdin", "stdout", "stderr"), its_end),
    )
    os.close(its_end)
    typed = f'eval "$({sys.executable} -m ablation.run -sc install=bash)"; echo rea""dy\n'
    try:
        os.write(terminal, typed.encode())
        _read_until(terminal, "\nready")
        os.write(terminal, b"ablation-status scaling=dep\trecipe.learn\t1\x01echo \n")
        _read_until(terminal, "\nablation-status scaling=depth recipe.learning_rate=1\n")
        os.write(terminal, b"python -m ablation.run study=sched\tphi=1\x01echo \n")
        _read_until(terminal, "\npython -m ablation.run study=schedule phi=1\n")
    finally:
        os.close(terminal)
        bash.wait()


def _read_until(terminal: int, wanted: str) -> None:
    """What a terminal shows; raises AssertionError where that does not come within a minute."""
    shown, deadline = "", time.monotonic() + 60
    while wanted not in shown.replace("\r", ""):
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, shown
        shown += os.read(terminal, 4096).decode(errors="replace")


def test_one_run_ends_with_a_readable_result_and_is_not_trained_again(
    door: Door, tmp_path: Path
) -> None:
    first = door("run", "scaling=compound", "phi=1", *TINY)
    for word in (
        "coefficients",
        "depths",
        "widths",
        "pixels",
        "MACs",
        "parameters",
        "accuracy",
        "seconds",
        "images/s",
        "record",
    ):
        assert re.search(rf"^  {word} +\S", first.stdout, re.M), word
    [record] = (tmp_path / "runs").glob("*/record.json")
    assert str(record) in first.stdout
    stamp = record.stat().st_mtime_ns
    door("run", "scaling=compound", "phi=1", *TINY)
    assert record.stat().st_mtime_ns == stamp
    suggested = re.search(r"^  next +python -m ablation.run -m (.*)$", first.stdout, re.M)
    assert suggested and {row["label"] for row in planned(*shlex.split(suggested[1]))} == {
        f"{network} seed={seed}" for network in ("baseline", "compound phi=1") for seed in (0, 1, 2)
    }


def test_a_multirun_trains_shared_points_once_prints_the_table_and_resumes(
    door: Door, tmp_path: Path
) -> None:
    words = ["-m", "cost=matched", "scaling=depth,width", "phi=0,1", "seed=0,1", *TINY]
    first = door("run", *words)
    records = list((tmp_path / "runs").glob("*/record.json"))
    assert len(records) == 6
    assert "sweep: 6 runs, 0 done, 6 to train" in first.stdout
    lines = re.findall(r"^run \d of 6 .*accuracy +[\d.]+%.* left$", first.stdout, re.M)
    assert len(lines) == 6, first.stdout
    assert re.search(r"^baseline +20 +[\d,]+( +[\d.]+%){3} +2$", first.stdout, re.M)
    assert (
        "6 of 6 runs done; figures and table: python -m ablation.report -m cost=matched"
        in first.stdout
    )
    records[0].unlink()
    second = door("run", *words)
    assert "sweep: 6 runs, 5 done, 1 to train" in second.stdout
    rows = json.loads(door("plan", *words, "format=json").stdout)
    assert len(rows) == 8 and all(row["done"] for row in rows)
    report = door("report", *words)
    assert "no records" not in report.stdout
    last = report.stdout.splitlines()[-1]
    assert re.fullmatch(r"sweep: \S.*\. All of it: \S*results/sweep/report\.html", last)
    assert (
        len(re.findall(r"^(?:depth|width) +[01] +matched .*% to .*%  +2", report.stdout, re.M)) == 4
    )
    for name in ("single", "gain", "compound"):
        for ending in ("png", "svg", "csv"):
            assert (tmp_path / "results" / "sweep" / f"{name}.{ending}").stat().st_size > 100
    shown = pd.read_csv(tmp_path / "results" / "sweep" / "single.csv")
    assert list(shown["n"]) == [2] * 4


def test_a_fault_in_one_run_is_named_and_the_others_finish(door: Door, tmp_path: Path) -> None:
    """The wider run's folder is a file, so its record cannot be written."""
    words = ["-m", "cost=matched", "scaling=width", "phi=0,1", *TINY]
    rows = planned(*words[1:])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / str(rows[1]["run_id"])).write_text("in the way")
    done = door("run", *words, check=False)
    assert done.returncode == 1
    head, missing, way_out = done.stderr.splitlines()
    assert head == "1 of 2 runs is missing"
    assert re.match(
        r"  width phi=1 seed=0: failed, \S+/lock cannot be locked \(File exists\); set runs=",
        missing,
    )
    assert way_out.startswith(
        "what is done is kept; this trains the rest: python -m ablation.run -m cost=matched scaling=width "
        "phi=0,1"
    )
    assert (tmp_path / "runs" / str(rows[0]["run_id"]) / "record.json").exists()


def test_plan_gives_the_promised_fields(door: Door) -> None:
    [row] = json.loads(
        door("plan", "scaling=compound", "phi=1.5", "cost=matched", "format=json").stdout
    )
    promised = (
        "rule phi cost depth width resolution depths widths pixels macs params activations budget_error "
        "done run_id"
    )
    assert set(promised.split()) <= set(row)
    assert (row["rule"], row["phi"], row["cost"], row["done"]) == (
        "compound",
        1.5,
        "matched",
        False,
    )
    assert (
        isinstance(row["depth"], float)
        and isinstance(row["depths"], list)
        and abs(row["budget_error"]) <= 0.05
    )
    assert (
        "same network: depth phi=1 = coefficients"
        not in door("plan", "scaling=depth", "phi=1").stdout
    )


BAD = {
    "scaling=foo": "Could not find 'scaling/foo'.*compound",
    "phi=abc": "phi=abc: expected a number",
    "seed=-1": "seed=-1: must be from 0",
    "seed=1.5": "seed=1.5: expected a whole number",
    "ph=1": "ph: there is no such setting",
    "quick": "^quick: say study=quick; python -m ablation.run --help lists",
    "study=quick fast": "^fast: say fast=VALUE, or GROUP=fast; python -m ablation.run --help lists",
    "cost=matched scaling.alpha=1 scaling.beta=1 scaling.gamma=1 phi=1": (
        r"alpha\*beta\^2\*gamma\^2 = "
        r"1.*cost=nominal"
    ),
    "data=shapes scaling=resolution phi=-3": "below the baseline's total stride of 16",
    "data=shapes scaling=depth cost=matched phi=0.5": "no network of mini costs within 5% of 1.41",
    "data=shapes scaling=resolution phi=4": "128 px is above the 96 px",
    "data.path=/no/such/folder": "data.path=/no/such/folder: no such folder",
    "study=none-such": "Could not find 'study/none-such'",
    "study=quick phi=1": "study=quick sets it itself",
    "scaling=published": "add baseline=b0",
    "scaling=coefficients cost=matched": "has fixed coefficients",
    "cost=free": "cost=free: choose one of nominal, matched",
    "data=custom": "say which set",
    "threads=0": "threads=0: must be from 1",
    "recipe.optimizer=lion": "choose one of sgd, rmsprop, adamw",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_that_names_the_value(words: str) -> None:
    with pytest.raises(Exception) as caught:
        planned(*arguments(words.split()))
    line = one_line(caught.value)
    assert re.search(BAD[words], line)
    assert "\n" not in line


@pytest.mark.parametrize("door_name", ["run", "plan", "report", "audit", "status", "sync"])
def test_doors_end_with_one_line_and_status_1(door: Door, door_name: str, tmp_path: Path) -> None:
    done = door(door_name, "scaling=foo", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_a_launcher_that_is_not_installed_is_named_with_the_way_out(door: Door) -> None:
    done = door("run", "-m", "hydra/launcher=ray", "seed=0,1", check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: hydra-ray-launcher is not installed: pip install hydra-ray-launcher\n"
    )


@pytest.mark.parametrize("words", ["seed=-1", "scaling=depth cost=matched phi=0.5"])
def test_run_refuses_before_training(door: Door, words: str) -> None:
    for mode in ([], ["-m"]):
        done = door("run", *mode, *words.split(), check=False)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF))
)
def test_every_shipped_config_composes_and_plans(path: Path, tmp_path: Path) -> None:
    group = path.relative_to(CONF).parent.as_posix().removeprefix(".")
    words = [f"{group}={path.stem}"] if group else []
    if path.stem == "custom":
        words += ["data.name=owner/name", "data.classes=10", "data.native=96"]
    try:
        rows = planned(*words, f"runs={tmp_path}", f"results={tmp_path}")
    except NotYet:
        return
    assert rows
    assert all(isinstance(row["run_id"], str) for row in rows)


def test_a_job_arrives_at_the_run_that_was_planned() -> None:
    """Whatever a sweep plans, its overrides compose to the same run id: rules, own triples, coefficients,
    changed recipes."""
    from hydra import compose

    studies = [
        ["study=quick", "recipe.epochs=1"],
        ["study=balance"],
        [
            "study=quick",
            "study.rules=[{name: mine, alpha: 1.3, beta: 1.05, gamma: 1.2}]",
            "cost=nominal",
        ],
        [
            "scaling=compound,dWr",
            "scaling.alpha=1.3",
            "phi=-0.5,0.7",
            "seed=3,4",
            "data.train_size=100,200",
        ],
        [
            "scaling=published",
            "scaling.variant=b0,b1",
            "baseline=b0",
            "data=custom",
            "data.name=a/b",
            "data.classes=5",
            "data.native=300",
        ],
    ]
    with hydra():
        for words in studies:
            jobs = plan(words).jobs
            for job in (jobs[0], jobs[-1]):
                assert single(compose("config", list(job.overrides)))[0].run == job.planned.run


def test_the_quick_study_is_the_union_of_the_four_sweeps() -> None:
    quick = {row["run_id"] for row in planned("study=quick")}
    makefile = (ROOT / "Makefile").read_text()
    three = re.search(r"^THREE := (.*)$", makefile, re.M)
    assert three
    sweeps: set[object] = set()
    for rule in ("depth", "width", "resolution", "compound"):
        rows = planned("cost=matched", f"scaling={rule}", *three[1].split())
        assert len(rows) == 9
        sweeps |= {row["run_id"] for row in rows}
    assert sweeps == quick
    assert len(quick) == 27


TWO = ("-m", "cost=matched", "scaling=width", "phi=0,1", *TINY)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of records of TWO where only the wider network is trained."""
    runs = tmp_path_factory.mktemp("of_two")
    words = ["cost=matched", "scaling=width", "phi=1", *TINY, f"runs={runs}", f"cache={cache}"]
    ended = command(*words, "wandb.mode=disabled")
    assert ended.status == 0, ended.err
    return runs


@pytest.fixture
def one_of_two(of_two: Path, tmp_path: Path) -> Path:
    """A copy of it where `door` looks."""
    return Path(shutil.copytree(of_two, tmp_path / "runs"))


def test_status_shows_the_state_of_every_run(door: Door, one_of_two: Path) -> None:
    baseline = str(planned(*TWO[1:])[0]["run_id"])
    leave_reason(one_of_two, baseline, "no luck")
    shown = door("status", *TWO).stdout
    assert re.search(r"^baseline seed=0 +\w{12} +failed +no luck$", shown, re.M)
    assert re.search(
        r"^width phi=1 seed=0 +\w{12} +done +epoch 2 of 2 +[\d.]+% +\d+ s$", shown, re.M
    )
    assert shown.splitlines()[-1] == "sweep: 2 runs, 1 failed, 1 done"


def test_status_plan_and_report_only_look_at_records(door: Door, one_of_two: Path) -> None:
    """Nothing below runs= is made or changed, not even opened to write."""
    runs = one_of_two
    before = {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]}
    for path in before:
        path.chmod(path.stat().st_mode & ~0o222)
    for name in ("status", "plan", "report"):
        door(name, *TWO)
    for path in before:
        path.chmod(path.stat().st_mode | 0o200)
    assert {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]} == before


# A setting, and a value that is none of its.
WRONG = [
    *(
        "study.seeds=5",
        "study.rules=compound",
        "study.rules=[1]",
        "study.phis=[a]",
        "study.parts=3",
    ),
    *(
        "study.parts=[3]",
        "study.grid=1",
        "study.grid={a: 1}",
        "study.optimum=3",
        "study.optimum={of: star}",
    ),
    *("study.overrides=x", "study.overrides=[x]", "study.overrides=[1]"),
    *(
        "recipe=[1]",
        "recipe=5",
        "data=[x]",
        "data=null",
        "study=3",
        "scaling=nan",
        "baseline={a: 1}",
    ),
    *("recipe.epochs=[1]", "recipe.epochs=1e30", "recipe.learning_rate=inf", "recipe.ema=nan"),
    *("recipe.flip=1", "recipe.optimizer={a: 1}", "data.native=1e12", "data.classes=true"),
    *("data.path=[a]", "data.name=[a]", "data.draw=by-luck", "data.background=blue-ish"),
    *("wandb=3", "wandb.mode=[1]", "wandb.project={a: 1}", "bench=1", "bench.rounds=word"),
    *("setting=[1]", "expect={a: 1}", "format=[table]", "cost=3", "equal=time", "evaluate=maybe"),
    *("phi=nan", "phi=[1]", "seed=1.5", "seed=inf", "seed=-1", "gpu_memory=nan", "threads=0"),
    *(
        "runs=",
        "results=null",
        "cache=''",
        "baseline.name=word",
        "scaling.alpha=inf",
        "scaling.beta=x",
    ),
]


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_value_is_one_line_with_its_setting(word: str) -> None:
    study = ["study=quick"] if word.startswith("study.") else []
    with pytest.raises(Exception) as refused, hydra():
        plan(arguments([*study, word]))
    line = one_line(refused.value)
    key = word.partition("=")[0]
    assert re.search(rf"(?<![\w.]){re.escape(key)}\b", line), line
    assert "\n" not in line and "HYDRA_FULL_ERROR" not in line


@pytest.mark.parametrize(
    "words",
    [
        ["seed=range(10000000)"],
        ["seed=range(1000)", "phi=range(1000)"],
        ["study=quick", f"study.seeds={list(range(500))}", f"study.phis={list(range(99))}"],
    ],
)
def test_more_runs_than_a_plan_can_hold_are_refused_at_once(words: list[str]) -> None:
    with pytest.raises(ValueError, match="one command plans 100,000 at most"), hydra():
        plan(words)


def test_a_batch_larger_than_the_stated_set_is_refused_by_the_plan() -> None:
    with pytest.raises(ValueError, match="recipe.batch_size=64: there are only 63 training images"):
        planned("data.train_size=63")


def test_an_own_triple_does_not_pass_for_the_papers() -> None:
    [row] = planned("scaling=compound", "scaling.alpha=1.3", "phi=1")
    assert row["rule"] == "1.3/1.1/1.15"


def test_a_name_or_path_alone_means_custom_data() -> None:
    assert arguments(["data.name=a/b", "phi=1"])[0] == "data=custom"
    assert "data=custom" not in arguments(["data=imagenette", "data.path=x"])


def test_nominal_is_the_default_of_a_command_and_matched_of_studies() -> None:
    assert planned("phi=1")[0]["cost"] == "nominal"
    assert {row["cost"] for row in planned("study=quick")} == {"matched"}


def test_report_names_the_command_for_what_has_no_records(door: Door) -> None:
    shown = door("report").stdout
    assert re.search("no records yet: python -m ablation.run .*study=quick", shown)
    assert re.search("no records yet: python -m ablation.run .*study=balance", shown)


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M):
        assert target in shown


def test_the_makefile_pins_torch() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_a_study_with_a_target_is_a_file() -> None:
    assert {(CONF / "study" / f"{name}.yaml").exists() for name in STUDIES} == {True}


def test_study_files_are_data() -> None:
    for path in (CONF / "study").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert content["study"]["name"] == path.stem
        assert path.read_text().splitlines()[1].startswith("# ")
