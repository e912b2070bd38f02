"""The notebooks as they are: short, with what they show, and run from top to bottom in a copy of their
folder."""

import ast
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.conftest import ROOT
from tests.notebooks import executed
from tests.test_documents import NOTEBOOKS

MOST_BYTES = 400_000  # of a notebook with its figures


@pytest.fixture
def books(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the notebooks' folder; their kernels inherit the environment."""
    monkeypatch.setenv("ABLATION_CACHE", str(cache))
    return Path(
        shutil.copytree(
            ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("own")
        )
    )


def shown(book: NotebookNode) -> str:
    """Everything that a notebook shows as text."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "it shows a figure"
    texts = (
        output.get("text")
        or output.get("data", {}).get("text/markdown")
        or output.get("data", {}).get("text/plain", "")
        for output in outputs
    )
    return "\n".join(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_defines_nothing_and_holds_what_it_shows(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert len(cells) <= 22
    assert path.stat().st_size < MOST_BYTES
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds and "error" not in kinds
    for cell in cells:
        if cell.cell_type == "code":
            python = (
                "\n".join(
                    line for line in cell.source.splitlines() if not line.startswith(("%", "!"))
                )
                if "%%" not in cell.source
                else ""
            )
            assert not [
                node
                for node in ast.walk(ast.parse(python))
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)
            ]


def test_the_study_explained_ends_with_a_verdict_on_every_claim(books: Path) -> None:
    name = "1-the-study-explained.ipynb"
    told = shown(executed(books / name))
    assert "36 points, 27 runs" in told
    assert "27 records; compound phi=2 seed=2 on" in told
    assert "| compound against all of them at 4x |" in told
    assert "no run" not in told
    assert told == shown(nbformat.read(ROOT / "notebooks" / name, as_version=4)), (
        "make notebooks keeps what they show"
    )


def test_your_own_data_goes_from_images_to_the_network_to_build(books: Path) -> None:
    told = shown(executed(books / "2-your-own-data.ipynb"))
    assert "9 of 9 runs done" in told
    assert "| compound against width at 2x |" in told
    assert "within 2 times the baseline's FLOPs build" in told
    assert (books / "own" / "results" / "quick" / "compound.png").exists()
