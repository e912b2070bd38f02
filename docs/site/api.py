"""Pages of the API, from docstrings: one for each room of the package, in the order in which they import.

python docs/site/api.py FOLDER
"""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ablation"
ROOMS = ("theory", "runs", "images", "train", "judge", "command", "measure", "show")


def page(room: str) -> str:
    """A room as Markdown: what lives there, and each of its modules."""
    about = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8")))
    modules = sorted(path.stem for path in (PACKAGE / room).glob("[a-z]*.py"))
    told = "\n\n".join(f"::: ablation.{room}.{module}" for module in modules)
    return f"# {room}\n\n{about}\n\n{told}\n"


def main(folder: Path) -> None:
    """Write all pages below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        (folder / f"{room}.md").write_text(page(room), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
