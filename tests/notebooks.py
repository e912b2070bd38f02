"""Run the notebooks and keep what they show: `make notebooks`."""

import shutil
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.test_documents import NOTEBOOKS


def executed(path: Path) -> NotebookNode:
    """A notebook run from top to bottom in its folder; raises CellExecutionError where a cell does not
    run."""
    book = nbformat.read(path, as_version=4)
    at = {"metadata": {"path": str(path.parent)}}
    how = {
        "record_timing": False,
        "coalesce_streams": True,
    }  # what differs from run to run, or in number
    return NotebookClient(book, timeout=600, resources=at, **how).execute()


def main() -> None:
    """Entry point; what the second notebook made before goes."""
    for path in NOTEBOOKS:
        shutil.rmtree(path.parent / "own", ignore_errors=True)
        nbformat.write(executed(path), path)


if __name__ == "__main__":
    main()
