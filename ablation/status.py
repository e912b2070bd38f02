"""Show the state of every run of a command, live on a terminal while it is trained: same overrides as
ablation.run. Trains nothing.

python -m ablation.status study=quick
python -m ablation.status -m cost=matched scaling=depth,compound phi=0,1,2
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from tabulate import tabulate

from ablation.command.ends import end_at_once, on_signals
from ablation.command.planning import Plan, plan
from ablation.command.progress import accuracy, epochs, live_on, time_left
from ablation.door import door
from ablation.runs.arms import Planned
from ablation.runs.checks import counted
from ablation.runs.states import State, state, swept

if TYPE_CHECKING:  # rich, only where there is a terminal
    from rich.live import Live

EVERY = 2.0  # seconds between looks
PATIENCE = 3  # looks at which nothing goes on: before the first run and between two that is so for a moment
FIRST = ("running", "failed")  # what a person looks for
BESIDE = 5  # lines that are no runs: two of a head, what is left out, the tally, the way out
WAY_OUT = "Ctrl-C ends this look; what is trained goes on"
States = Sequence[tuple[Planned, State]]


def look(wanted: Plan) -> list[tuple[Planned, State]]:
    """The distinct runs of a plan and their states now: those that run, those that failed, the others."""
    distinct = {entry.run.id: entry for entry in wanted.planned}
    states = [(entry, state(wanted.execution, entry.run)) for entry in distinct.values()]
    return sorted(states, key=lambda each: _place(each[1]))


def _place(now: State) -> int:
    return FIRST.index(now.name) if now.name in FIRST else len(FIRST)


def table(wanted: Plan, states: States, most: int | None = None) -> str:
    """One line per run, of `most` at most, then how many are in which state and how long it will take."""
    shown = states[:most]
    rows = [_row(entry, now) for entry, now in shown]
    head = ["run", "id", "state", "epochs", "accuracy", "note"]
    drawn = tabulate(rows, headers=head, disable_numparse=True)
    left_out = states[len(shown) :]
    more = [f"and {len(left_out)} more: {_tally(left_out)}"] if left_out else []
    return "\n".join([drawn, *more, _summary(wanted, states)])


def _row(entry: Planned, now: State) -> list[str]:
    known = accuracy(now)
    reached = "" if known is None else f"{known:.1%}"
    return [entry.label, entry.run.id, now.name, epochs(now), reached, _note(entry, now)]


def _summary(wanted: Plan, states: States) -> str:
    """How many runs are in which state, and how long they will take."""
    running = any(now.name == "running" for _, now in states)
    left = time_left(states) if running else ""
    ending = f"; about {left} left" if left else ""
    return f"{wanted.name}: {counted(len(states), 'run')}, {_tally(states)}{ending}"


def _tally(states: States) -> str:
    counts = Counter(now.name for _, now in states)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


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
    """Print the table; on a terminal before that a live one, for as long as anything goes on."""
    wanted = plan(words)
    if live := live_on(sys.stdout, screen=True):
        watch(wanted, live)
    print(table(wanted, look(wanted)), flush=True)


def watch(wanted: Plan, live: "Live") -> None:
    """A table for each look, on a screen of its own and no longer than that."""
    from rich.text import Text

    def leave(number: int, frame: FrameType | None) -> None:
        live.stop()
        end_at_once(number, frame)

    on_signals(leave)
    try:
        for states in looks(wanted):
            live.start()
            drawn = table(wanted, states, max(1, live.console.height - BESIDE))
            text = Text(f"{drawn}\n{WAY_OUT}", no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)
    finally:
        live.stop()


def looks(wanted: Plan) -> Iterator[States]:
    """The states of the runs again and again, until nothing has gone on for a while; none where nothing
    does."""
    states = look(wanted)
    untouched = all(now.name == "planned" for _, now in states)
    patience = PATIENCE if untouched or goes_on(wanted, states) else 0
    while patience and not all(now.record for _, now in states):
        yield states
        time.sleep(EVERY)
        states = look(wanted)
        patience = PATIENCE if goes_on(wanted, states) else patience - 1


def goes_on(wanted: Plan, states: States) -> bool:
    """Whether a run is running, or the command that trains them all."""
    running = any(now.name == "running" for _, now in states)
    return running or swept(wanted.execution.runs, (entry.run for entry, _ in states))


def main() -> None:
    """Entry point; Ctrl-C ends a live table."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
