"""README, guide, docs and notebooks: every command in them is real, and every file that they name is
there."""

import re
import shlex
from pathlib import Path

import nbformat
import pytest
import yaml

from ablation.bench import BENCHES
from ablation.command.overrides import arguments
from ablation.command.planning import plan
from ablation.door import hydra
from tests.conftest import ROOT
from tests.test_layers import ROOMS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *NOTEBOOKS,
]
MAKEFILE = (ROOT / "Makefile").read_text()
STUDIES = re.search(r"^STUDIES := (.*)$", MAKEFILE, re.M)[1].split()  # type: ignore[index]
TARGETS = {
    word
    for line in re.findall(r"^([a-z0-9-]+(?: [a-z0-9-]+)*):", MAKEFILE, re.M)
    for word in line.split()
} | set(STUDIES)
VARIABLES = set(re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE))
DOORS = (
    *("run", "plan", "status", "report", "recommend", "export"),
    *("bench", "audit", "pack", "sync"),
)
# Not ours to check.
OTHERS = (
    ".",
    "export",
    "eval",
    "pip",
    "pre-commit",
    "jupyter",
    "scancel",
    ".venv-ray/bin/ray",
    "tests/clusters/slurm.sh",
)


def text(path: Path) -> str:
    """A document, of a notebook what is written in it; its code cells are run by tests/test_notebooks.py."""
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )


def commands(path: Path) -> list[str]:
    """Lines of shell blocks, and whole commands between backticks."""
    blocks = re.findall(r"```sh\n(.*?)```", text(path), re.S)
    prose = re.sub(r"```.*?```", "", text(path), flags=re.S)
    inline = re.findall(r"`((?:make|python -m|ablation|pip|jupyter|eval) [^`\n]+)`", prose)
    return [line for block in blocks for line in block.splitlines() if line.strip()] + inline


EVERY = [(path.name, command) for path in DOCUMENTS for command in commands(path)]


def test_there_are_commands_to_check() -> None:
    assert {name for name, _ in EVERY} == {path.name for path in DOCUMENTS} - {
        "2-your-own-data.ipynb"
    }
    assert len(EVERY) > 60


@pytest.mark.parametrize("document, command", EVERY)
def test_every_command_is_real_and_plans(document: str, command: str, folder: Path) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
        assert {word.split("=")[0] for word in words if "=" in word} <= VARIABLES
        studies = [f"study={word}" for word in words if word in STUDIES]
        added = [
            override
            for word in words
            if word.startswith("ARGS=")
            for override in word.removeprefix("ARGS=").split()
        ]
        added and planned([*studies, *added])
    elif program.endswith("python") and words[1] == "pytest":
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    elif program.endswith("python"):
        assert words[:1] == ["-m"] and words[1].removeprefix("ablation.") in DOORS
        planned(words[2:])
    else:
        assert program in OTHERS


def planned(words: list[str]) -> None:
    """Compose and plan; what would be read from images is given, and weights are left out."""
    unknown = ("init=", "data.path=imagenet")  # nobody has the million photographs here
    words = [word for word in words if not word.startswith(unknown)]
    words = arguments([word for word in words if word not in ("-m", "--help", *BENCHES)])
    if "data=custom" in words:
        given = {word.split("=")[0] for word in words}
        unread = {"data.name": "a/b", "data.classes": "10", "data.native": "96"}
        words = [word for word in words if not word.startswith("data.path=")] + [
            f"{key}={value}" for key, value in unread.items() if key not in given
        ]
    with hydra():
        assert plan(words).planned


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", text(path), flags=re.S)
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", prose)
        if not link.startswith("http")
    ]
    named = re.findall(r"`((?:ablation|conf|docs|notebooks|tests)/[\w./-]*)`", text(path))
    assert [link for link in links if not (path.parent / link).exists()] + [
        name for name in named if not (ROOT / name).exists()
    ] == []


def test_what_has_a_time_in_make_help_is_a_target() -> None:
    timed = re.findall(r"^TIME_([\w-]+) *:=", MAKEFILE, re.M)
    assert timed and set(timed) <= TARGETS


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_the_site_has_every_document_and_every_room() -> None:
    site = yaml.safe_load((ROOT / "docs/site/mkdocs.yml").read_text("utf-8"))
    *documents, api = (value for entry in site["nav"] for value in entry.values())
    named = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert set(documents) == named | {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")}
    assert [path for entry in api for path in entry.values()] == [
        f"api/{room}.md" for room in ROOMS
    ]


def test_every_study_whose_records_ship_is_described() -> None:
    told = (ROOT / "docs/studies.md").read_text("utf-8")
    for records in sorted(ROOT.glob("results/stripes/*/records.parquet")):
        assert f"**`{records.parent.name}`**" in told
