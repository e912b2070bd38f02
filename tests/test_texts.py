"""Names are text wherever they are written, and what is written is whole or not there."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ablation.command.overrides import arguments
from ablation.command.planning import plan
from ablation.door import hydra
from ablation.report import report
from ablation.runs import files
from ablation.runs.files import replacing, write_text
from ablation.runs.records import write_record
from ablation.show.chart import chart
from ablation.show.drawing import save, style
from ablation.show.words import as_csv, as_latex, as_markdown
from tests.conftest import ROOT
from tests.test_page import results_of
from tests.test_run_identity import some_record

TOLD = {
    "versions": {},
    "finished": "2026-01-02T03:04:05+00:00",
    "data_digest": "d1",
    "config": {"data": {}},
}
NAMES = ["$x_1$", "_hidden_", "__proto__", "=1+1", "a|b*c`d", "é & 50 %", "networks"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on rules of such names."""
    rules = ", ".join(
        f"{{name: {json.dumps(name, ensure_ascii=False)}, alpha: 1.{place}, beta: 1.1, gamma: 1.1}}"
        for place, name in enumerate(NAMES, 1)
    )
    words = ("study=quick", f"study.rules=[{rules}]", "study.phis=[0,1]", "cost=nominal")
    results = results_of(tmp_path_factory.mktemp("texts"), *words)
    report(results)
    return results.folder


def test_names_stay_what_they_are_in_every_file(folder: Path) -> None:
    with (folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        rules = {row["rule"] for row in csv.DictReader(file)}
    assert rules == {f"'{name}" if name == "=1+1" else name for name in NAMES}
    table = (folder / "table.md").read_text("utf-8")
    assert r"a\|b\*c\`d" in table and r"\_hidden\_" in table
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
    assert len(columns) == 1
    latex = (folder / "table.tex").read_text("utf-8")
    assert r"\_hidden\_" in latex and r"\& 50 \%" in latex


def test_every_rule_is_in_the_legend_of_its_figures(folder: Path) -> None:
    drawn = [path.read_text("utf-8") for path in folder.glob("*.svg")]
    assert any("_hidden_" in text and "$x_1$" in text and "__proto__" in text for text in drawn)


def test_a_switch_of_the_chart_belongs_to_a_rule_of_any_name(tmp_path: Path) -> None:
    import vl_convert

    rule = 'study.rules=[{name: "__proto__", alpha: 1.2, beta: 1.1, gamma: 1.1}, width]'
    results = results_of(tmp_path, "study=quick", rule, "study.phis=[0,1]", "cost=nominal")
    specification = chart(results.frame, results.summary)
    seen = vl_convert.vegalite_to_svg(specification)
    hidden = json.loads(json.dumps(specification))
    for parameter in hidden["params"]:
        if parameter.get("bind", {}).get("name") == "__proto__":
            parameter["value"] = False
    without = vl_convert.vegalite_to_svg(hidden)
    assert seen.count("__proto__ phi=1") > 0 == without.count("__proto__ phi=1")
    assert without.count("width phi=1") > 0


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    import pandas as pd

    cells = ["=1+1", "+1.2 points", "-3.0%", "-cmd", "@x", "plain", "+0.5 (-1.0 to 2.0)"]
    lines = as_csv(pd.DataFrame({"cell": cells, "number": [-1.5] * len(cells)})).splitlines()[1:]
    assert [line.rpartition(",")[0] for line in lines] == [
        *("'=1+1", "+1.2 points", "-3.0%", "'-cmd", "'@x", "plain", "+0.5 (-1.0 to 2.0)")
    ]
    assert {line.rpartition(",")[2] for line in lines} == {"-1.5"}


def test_markdown_cells_are_one_line() -> None:
    assert as_markdown([{"name": "a\nb|c <i>"}]).splitlines()[-1] == r"| a b\|c \<i> |"


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "x" * 201, "../x", "a/b", "."])
def test_the_name_of_a_study_is_no_path(name: str) -> None:
    with hydra(), pytest.raises(Exception, match="a name, not a path|token recognition"):
        plan(["study=quick", f'study.name="{name}"'])


def _a_figure(path: Path) -> None:
    with style():
        save(Figure(), path)


@pytest.mark.parametrize("write", [lambda path: write_text(path, "new"), _a_figure])
@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.ENOSPC, "full disk, "), (errno.EDQUOT, "full disk, "), (errno.EIO, "")],
)
def test_a_full_disk_leaves_the_earlier_file_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], Any],
    number: int,
    why: str,
) -> None:
    path = tmp_path / "findings.svg"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(number, "why it failed")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(
        OSError, match=rf"could not be written \({why}why it failed\); .* set results="
    ):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "further")
    for place in ("file", "link"):
        with (
            pytest.raises(OSError, match=f"{place}/x.md could not be written"),
            replacing(tmp_path / place / "x.md", "results"),
        ):
            pass


@pytest.mark.parametrize("name", ["constructor", "toString", "hasOwnProperty", "__proto__"])
def test_the_chart_is_drawn_whatever_a_rule_is_called(name: str, tmp_path: Path) -> None:
    """Vega takes some words in its expressions for what JavaScript has of that name."""
    import vl_convert

    rule = f"study.rules=[{{name: {name}, alpha: 1.2, beta: 1.1, gamma: 1.1}}, width]"
    results = results_of(tmp_path, "study=quick", rule, "study.phis=[0,1]")
    shown = chart(results.frame, results.summary)
    for parameter in shown["params"]:
        parameter["bind"].pop("element")
    drawn = vl_convert.vegalite_to_svg(shown | {"width": 600})
    assert drawn.count(f'aria-label="{name} phi=1 ') == 1


@pytest.mark.parametrize("name", ["published-mine", "coefficients", "", " "])
def test_a_rule_is_not_called_like_what_follows_none(name: str) -> None:
    """It would be left out of every comparison, or of the legends."""
    rule = f'study.rules=[{{name: "{name}", alpha: 1.2, beta: 1.1, gamma: 1.1}}]'
    with hydra(), pytest.raises(ValueError, match=r"scaling.name=.*(choose another|give it one)"):
        plan(["study=quick", rule])


def test_latex_takes_no_name_for_an_argument() -> None:
    text = as_latex([{"rule": name, "n": 1} for name in ("[x]", "*", "a|b")])
    assert not re.search(r"^ *[*\[]", text, re.MULTILINE)
    assert r"{}[x]" in text and r"a\textbar{}b" in text


def test_a_sum_in_a_name_is_a_formula() -> None:
    table = pd.DataFrame({"rule": ["+1+1", "-1-1", "+1.5%", "-0.5 to +0.3", "-"]})
    assert as_csv(table).split()[1:] == ["'+1+1", "'-1-1", "+1.5%", "-0.5", "to", "+0.3", "'-"]


def test_letters_that_no_font_has_are_drawn_without_a_warning(tmp_path: Path) -> None:
    rule = 'study.rules=[{name: "日本", alpha: 1.2, beta: 1.1, gamma: 1.1}, width]'
    results = results_of(tmp_path, "study=quick", rule, "study.phis=[0,1]")
    report(results)
    assert ">日本</text>" in (results.folder / "compound.svg").read_text("utf-8")


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(tmp_path / "gone")
    reason = rf"could not be written \({tmp_path}/results is no folder\); set results=FOLDER"
    with pytest.raises(OSError, match=reason):
        write_text(tmp_path / "results" / "quick" / "table.md", "x")


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("study=größe", 'study="größe"'),
        ("study=a,größe", 'study=a,"größe"'),
        (
            "study.rules=[depth, {name: sehr größe, alpha: 1.2}, 'ö', \"q ö\"]",
            'study.rules=[depth, {name: "sehr größe", alpha: 1.2}, \'ö\', "q ö"]',
        ),
        ("phi=1", "phi=1"),
    ],
)
def test_letters_of_any_script_need_no_quotes(word: str, quoted: str) -> None:
    assert arguments([word]) == [quoted]


def test_every_script_in_a_locale_of_ascii(tmp_path: Path) -> None:
    """Typed, read from a study, printed, and the name of a folder."""
    (tmp_path / "study").mkdir()
    study = "# @package _global_\nstudy: {name: größe, rules: [{name: λ, alpha: 1.2, beta: 1.1, gamma: 1.1}],"
    (tmp_path / "study" / "größe.yaml").write_text(f"{study} phis: [0, 1], seeds: [0]}}\n", "utf-8")
    folders = [f"{name}={tmp_path / 'läufe'}" for name in ("runs", "results")]
    words = ["--config-dir", str(tmp_path), "study=größe", *folders]
    with hydra():
        wanted = plan(arguments(words))
    for entry in wanted.planned:
        write_record(wanted.execution.runs, some_record(entry.run, **TOLD))
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONWARNINGS": "ignore"}
    for name in ("report", "pack", "status"):
        command = [sys.executable, "-m", f"ablation.{name}", *words]
        done = subprocess.run(command, env=ascii_only, cwd=ROOT, capture_output=True, check=True)
        assert "größe" in done.stdout.decode()
    assert "λ" in (tmp_path / "läufe" / "größe" / "table.md").read_text("utf-8")
