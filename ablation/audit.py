"""The audit: what the paper prints against what its networks cost by our count, and what follows for its
claims. Trains nothing.

python -m ablation.audit                     page, tables and figure in results/audit/
python -m ablation.audit results=FOLDER      the same elsewhere
"""

from hydra import compose

from ablation.command.compose import folder_at
from ablation.door import door
from ablation.judge import recount
from ablation.runs.files import write_text
from ablation.show.audit_page import FIGURE, items, page
from ablation.show.drawing import write
from ablation.show.words import as_csv


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Write page, tables and figure; print what is found and where the page lies."""
    folder = folder_at(compose("config", words), "results") / "audit"
    found = items()
    write(recount.figure_8_points(), FIGURE, folder)
    for item in found:
        write_text(folder / f"{item.table.__name__}.csv", as_csv(item.table()))
        print(f"{item.title}\n  {item.found}\n  {item.follows}\n")
    write_text(folder / "audit.md", page(found))
    print(folder / "audit.md")


if __name__ == "__main__":
    main()
