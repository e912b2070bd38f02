"""The notebooks as they are: short, without outputs, and run from top to bottom in a copy of their folder."""

import ast
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.test_documents import NOTEBOOKS


@pytest.fixture
def books(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the notebooks' folder; their kernels inherit the environment."""
    monkeypatch.setenv("ABLATION_CACHE", str(cache))
    return Path(
        shutil.copytree(
            ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("own")
        )
    )


def executed(path: Path) -> str:
    """Everything that a notebook shows as text; raises CellExecutionError where a cell does not run."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown), (
        "a notebook shows a figure"
    )
    texts = (
        output.get("text")
        or output.get("data", {}).get("text/markdown")
        or output.get("data", {}).get("text/plain", "")
        for output in shown
    )
    return "\n".join(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_defines_nothing_and_holds_no_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert len(cells) <= 20
    for cell in cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
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
    shown = executed(books / "1-the-study-explained.ipynb")
    assert "36 points, 27 runs" in shown
    assert "27 records; compound phi=2 seed=2 on" in shown
    assert "| compound against all of them at 4x |" in shown
    assert "no run" not in shown


def test_your_own_data_goes_from_images_to_a_verdict(books: Path) -> None:
    shown = executed(books / "2-your-own-data.ipynb")
    assert "9 of 9 runs done" in shown
    assert "| compound against width at 2x |" in shown
    assert (books / "own" / "results" / "quick" / "compound.png").exists()
