"""What a user adds without touching the code: the files of CONTRIBUTING.md as they stand there, and what is
wrong with bad ones."""

import dataclasses
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose

from ablation.command.compose import stage_table
from ablation.command.errors import one_line
from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan, single
from ablation.door import hydra
from ablation.theory.baselines import B0, BASELINES, MINI, Baseline
from ablation.theory.blocks import ACTIVATIONS
from ablation.theory.cost import cost
from tests.conftest import FILES, TINY


def planned(*words: str) -> Plan:
    with hydra():
        return plan([word for word in arguments(words) if word != "-m"])


def as_table(baseline: Baseline) -> dict[str, object]:
    """A baseline as its YAML file would say it."""
    table = dataclasses.asdict(baseline.network) | {
        "stages": [dataclasses.asdict(stage) for stage in baseline.network.stages]
    }
    del table["classes"]
    return table | {"rounding": dataclasses.asdict(baseline.rounding)}


def test_the_guide_has_a_file_of_each_kind() -> None:
    assert set(FILES) == {
        "tables/mine.yaml",
        "my/recipe/long.yaml",
        "my/study/deeper.yaml",
        "nets.py",
    }


@pytest.mark.parametrize("name", BASELINES)
def test_a_shipped_baseline_written_as_a_file_is_the_same_network(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(as_table(BASELINES[name])))
    own = planned(f"baseline.path={tmp_path / 'own.yaml'}", "phi=0,1", "data.native=600").planned
    shipped = planned(f"baseline={name}", "phi=0,1", "data.native=600").planned
    assert [entry.run.id for entry in own] == [entry.run.id for entry in shipped]
    assert {entry.baseline for entry in own} == {"own"}


def test_the_file_of_b0_costs_what_the_paper_says() -> None:
    own = stage_table("own", as_table(B0)).network
    assert cost(dataclasses.replace(own, classes=1000)).macs == 385_814_752


def test_a_recipe_and_a_study_of_ones_own_reach_every_job(folder: Path) -> None:
    words = ["--config-dir", "my", "study=deeper", "recipe=long"]
    with hydra():
        wanted = plan(arguments(words))
        assert {
            (entry.run.recipe.epochs, entry.run.recipe.weight_decay) for entry in wanted.planned
        } == {(30, 0.0005)}
        assert {entry.arm.name for entry in wanted.planned} == {"depth", "mostly-depth"}
        for job in wanted.jobs:
            assert single(compose("config", list(job.overrides)))[0].run == job.planned.run


def test_a_sweep_of_all_that_is_ones_own(
    folder: Path, door: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Each door is given the same words in another folder than the guide's, so the paths are whole."""
    own = [
        "--config-dir",
        str(folder / "my"),
        f"baseline.path={folder / 'tables' / 'mine.yaml'}",
        "recipe=long",
        *TINY,
    ]
    first = door("run", "study=deeper", *own, "study.phis=[0]", "study.seeds=[0]")
    assert first.stdout.splitlines()[0] == "deeper: 1 run, 0 done, 1 to train"
    again = shlex.split(
        re.search(r"figures and table: python -m ablation.report (.*)", first.stdout)[1]
    )  # type: ignore[index]
    assert door("status", *again).stdout.splitlines()[-1] == "deeper: 1 run, 1 done"
    with hydra():
        [entry] = plan([*again, f"runs={folder / 'runs'}"]).planned[:1]
    assert (folder / "runs" / entry.run.id / "record.json").exists()
    assert entry.run.network.layers == (1, 2, 2)


def test_a_study_that_would_train_one_run_says_what_is_missing(
    folder: Path, door: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (folder / "my" / "study" / "deeper.yaml").write_text(
        FILES["my/study/deeper.yaml"].replace("hydra: {mode: MULTIRUN}", "")
    )
    done = door("run", "--config-dir", str(folder / "my"), "study=deeper", check=False)
    assert (
        done.stderr
        == "error: study=deeper is many runs: give -m, or let its file say hydra: {mode: MULTIRUN}\n"
    )


def test_the_file_names_the_baseline_and_only_its_content_the_run(folder: Path) -> None:
    (folder / "other.yaml").write_text(FILES["tables/mine.yaml"])
    one, other = (
        planned(f"baseline.path={path}").planned[0] for path in ("tables/mine.yaml", "other.yaml")
    )
    assert (one.baseline, other.baseline, one.run.id) == ("mine", "other", other.run.id)
    (folder / "other.yaml").write_text(FILES["tables/mine.yaml"].replace("kernel: 5", "kernel: 7"))
    assert planned("baseline.path=other.yaml").planned[0].run.id != one.run.id


MINE = FILES["tables/mine.yaml"]
BAD = {
    "a kernel without a middle": (
        MINE.replace("kernel: 5", "kernel: 4"),
        "stage 2: kernel=4: a kernel has an odd side",
    ),
    "no layers": (MINE.replace("layers: 1", "layers: 0"), "stage 1: layers=0: must be at least 1"),
    "a word for a number": (
        MINE.replace("channels: 64", "channels: wide"),
        "stage 3: channels=wide: expected a whole number",
    ),
    "an unknown operator": (
        MINE.replace("mbconv, expand: 1", "dense, expand: 1"),
        "stage 1: operator=dense: choose one of separable, mbconv",
    ),
    "a column too many": (
        MINE.replace("layers: 1", "layers: 1, dilation: 2"),
        "stage 1: dilation: no such setting; there are operator",
    ),
    "a column too few": (MINE.replace("stride: 1, ", ""), "stage 1: stride is not set"),
    "squeezed to more": (
        MINE.replace("squeeze: 0.25", "squeeze: 4", 1),
        "stage 1: squeeze=4.0: a fraction",
    ),
    "an unknown activation": (
        MINE + "activation: swish\n",
        f"activation=swish: choose one of {', '.join(ACTIVATIONS)}",
    ),
    "no pixels": (MINE.replace("pixels: 32", ""), "pixels is not set"),
    "classes": (MINE + "classes: 7\n", "classes=7: the data say how many; leave it out"),
    "a rounding that there is not": (
        MINE.replace("depth: nearest", "depth: down"),
        "rounding.depth=down: choose ceil",
    ),
    "no table": ("just words", "a stage table is a mapping; its stages are a list of mappings"),
    "no stages": (
        "pixels: 32\nstem: 16\n",
        "a stage table is a mapping; its stages are a list of mappings",
    ),
    "no rounding": (MINE + "rounding: 4\n", "its rounding is one"),
    "no YAML": ("pixels: [", "ParserError"),
    "less than its strides": (
        MINE.replace("pixels: 32", "pixels: 4"),
        "below the baseline's total stride of 8",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_stage_table_is_named_with_its_file_and_row(fault: str, tmp_path: Path) -> None:
    text, expected = BAD[fault]
    assert text != MINE
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:
        planned(f"baseline.path={tmp_path / 'bad.yaml'}")
    line = one_line(caught.value)
    assert expected in line and "\n" not in line
    assert fault == "less than its strides" or line.startswith(
        f"baseline.path={tmp_path / 'bad.yaml'}: "
    )


@pytest.mark.parametrize(
    "words, expected",
    [
        (["baseline=file"], "baseline=file: say which stage table, baseline.path=FILE.yaml"),
        (["baseline.path=none.yaml"], "baseline.path=none.yaml: no such file"),
        (["--config-dir", "none"], "--config-dir none: no such folder"),
        (["phi=1", "--config-dir"], "--config-dir: say which folder"),
        (
            ["--config-dir=my", "recipe=none"],
            "Could not find 'recipe/none'.*long, paper, reference, short",
        ),
    ],
)
def test_what_is_not_there_is_named(words: list[str], expected: str, folder: Path) -> None:
    with pytest.raises(Exception) as caught:
        planned(*words)
    assert re.search(expected, one_line(caught.value))


def test_a_file_does_not_pass_for_a_baseline_that_ships(tmp_path: Path) -> None:
    (tmp_path / "b0.yaml").write_text(yaml.safe_dump(as_table(MINI)))
    with pytest.raises(ValueError, match="b0 is the name of a baseline that ships"):
        planned(f"baseline.path={tmp_path / 'b0.yaml'}")


def test_own_configs_stand_where_hydra_takes_them() -> None:
    """Its flags must stay on one side of the overrides."""
    own = 'hydra.searchpath=["tests"]'
    assert arguments(["-m", "--config-dir", "tests", "phi=1", "data.name=a/b"]) == [
        "-m",
        own,
        "data=custom",
        "baseline=mini",
        "recipe=short",
        "phi=1",
        "data.name=a/b",
    ]
    assert arguments(["--cfg", "job", "-cd", "tests"]) == ["--cfg", "job", own]


UGLY = [
    "café",
    "José/läufe",
    "photos (1)",
    "run=3",
    "a,b",
    "it's",
    'say "x"',
    "a {b} [c]",
    "1e5",
    "true",
    r"back\slash\\twice\"quoted\\",
]


@pytest.mark.parametrize("name", UGLY)
def test_a_path_is_a_path_whatever_is_in_it(name: str, tmp_path: Path) -> None:
    """No grammar reads it, and a comma in it sweeps over nothing."""
    folder = tmp_path / name
    folder.mkdir(parents=True)
    words = [f"{key}={folder}" for key in ("runs", "results", "cache")]
    with hydra():
        wanted = plan(arguments(["phi=0", *words]))
        here = plan(arguments(["phi=0", f"runs={name}"]))
        own = compose("config", arguments([f"data.path={folder}"]))
    assert len(wanted.planned) == 1
    assert wanted.execution.runs == wanted.results == wanted.execution.cache == folder
    assert here.execution.runs == Path(name)
    assert (own.data.name, own.data.path) == ("custom", str(folder))


def test_paths_of_images_are_swept_unless_there_is_one_of_that_name(tmp_path: Path) -> None:
    pair = f"data.path={tmp_path / 'a'},{tmp_path / 'é'}"
    *_, swept = arguments([pair])
    assert swept == f'data.path="{tmp_path / "a"}","{tmp_path / "é"}"'
    (tmp_path / "a,b").mkdir()
    *_, one = arguments([f"data.path={tmp_path / 'a,b'}"])
    assert one == f'data.path="{tmp_path / "a,b"}"'


def test_an_exponent_needs_no_dot() -> None:
    """YAML 1.1 takes 5e-1 for a word."""
    with hydra():
        [short], [long] = plan(["phi=5e-1"]).planned, plan(["phi=0.5"]).planned
        [small] = plan(["recipe.weight_decay=1e-5", "phi=0"]).planned
    assert short.run.id == long.run.id
    assert small.run.recipe.weight_decay == 0.00001


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("runs=", "runs=: say which folder, runs=FOLDER"),
        ("results=null", "results=: say which folder"),
        ("cache=", "cache=: say which folder"),
        ("study.name=../../x", r"study.name=../../x: a name, not a path; results=FOLDER"),
        ("study.name=..", "study.name=..: a name, not a path"),
    ],
)
def test_a_folder_that_is_none_is_refused(word: str, message: str) -> None:
    """An empty one is the folder of the command, `null` one called None, and a path leaves the results."""
    with hydra(), pytest.raises(ValueError, match=message):
        plan(arguments(["study=quick", word]))
