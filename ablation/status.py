"""Show the state of every run of a command, live on a terminal while any of them is running: same overrides
as ablation.run. Trains nothing.

python -m ablation.status study=quick
python -m ablation.status -m cost=matched scaling=depth,compound phi=0,1,2
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator

from tabulate import tabulate

from ablation.command.planning import Plan, plan
from ablation.command.progress import accuracy, epochs, time_left
from ablation.door import door
from ablation.runs.arms import Planned
from ablation.runs.states import State, state

EVERY = 2.0  # seconds between looks
PATIENCE = 3  # looks without a running run: between two of them there is none for a moment
CLEAR = "\033[H\033[J"


def look(wanted: Plan) -> list[tuple[Planned, State]]:
    """The distinct runs of a plan and their states now."""
    distinct = {entry.run.id: entry for entry in wanted.planned}
    return [(entry, state(wanted.execution, entry.run)) for entry in distinct.values()]


def table(wanted: Plan, states: list[tuple[Planned, State]]) -> str:
    """One line per run, then how many are in which state and how long it will take."""
    rows = [
        [
            entry.label,
            entry.run.id,
            now.name,
            epochs(now),
            _percent(accuracy(now)),
            _note(entry, now),
        ]
        for entry, now in states
    ]
    counts = Counter(now.name for _, now in states)
    left = time_left(states) if counts["running"] else ""
    ending = f"; about {left} left" if left else ""
    tally = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    head = ["run", "id", "state", "epochs", "accuracy", "note"]
    return (
        f"{tabulate(rows, headers=head, disable_numparse=True)}\n{wanted.name}: {len(states)} runs, "
        f"{tally}{ending}"
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _note(entry: Planned, now: State) -> str:
    """Why it failed, where it runs and for how much longer, or how long it took."""
    if now.record:
        return f"{now.record.total_seconds:.0f} s"
    if now.name == "running" and now.progress:
        left = time_left([(entry, now)])
        return f"on {now.progress['host']}, process {now.progress['pid']}" + (
            f", {left} left" if left else ""
        )
    return now.reason


def show(words: list[str], multirun: bool) -> None:
    """Print the table: once, or on a terminal again and again until no run is running."""
    wanted = plan(words)
    for text in _looks(wanted) if sys.stdout.isatty() else [table(wanted, look(wanted))]:
        print(text, flush=True)


def _looks(wanted: Plan) -> Iterator[str]:
    """Tables that each clear the screen, until no run has been running for a while."""
    idle = PATIENCE - 1  # where none runs at the first look, that is all there is to see
    while True:
        states = look(wanted)
        yield CLEAR + table(wanted, states)
        idle = 0 if any(now.name == "running" for _, now in states) else idle + 1
        if idle >= PATIENCE or all(now.record for _, now in states):
            return
        time.sleep(EVERY)


def main() -> None:
    """Entry point; Ctrl-C ends a live table."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
