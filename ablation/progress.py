"""What a person sees while runs go on: read from the files that runs write, so that it works with any launcher."""

import sys
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TextIO

from ablation.config import Execution
from ablation.states import State, state
from ablation.study import Planned


class Progress:
    """Watches runs from a thread: one line for each finished run and, on a terminal, a live one for the newest validation."""

    def __init__(self, left: Sequence[Planned], execution: Execution, out: TextIO | None = None, every: float = 0.5) -> None:
        self.left, self.execution, self.out, self.every = left, execution, out or sys.stdout, every
        self.states = {entry.run.id: State("planned") for entry in left}
        self.at_once = 1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            self.look()

    def look(self) -> None:
        """One round over the files."""
        for number, entry in enumerate(self.left, 1):
            before = self.states[entry.run.id]
            if before.record:
                continue
            now = self.states[entry.run.id] = state(self.execution, entry.run)
            where = f"run {number} of {len(self.left)}  {entry.label:<26}"
            if now.record:
                ending = "" if now.name == "done" else f"  {now.name}"
                self._say(f"{where} accuracy {accuracy(now):6.1%}{ending}  {now.record.seconds:5.0f} s  {self._left()}", keep=True)
            elif now.name == "running" and "val/accuracy" in now.progress and now.progress != before.progress:
                self._say(f"{where} {epochs(now)}  validation {accuracy(now):6.1%}  {self._left()}", keep=False)

    def _left(self) -> str:
        self.at_once = max(self.at_once, sum(now.name == "running" for now in self.states.values()))
        left = time_left([(entry, self.states[entry.run.id]) for entry in self.left], self.at_once)  # one that ended has a successor at once
        return f"{left} left" if left else ""

    def _say(self, line: str, keep: bool) -> None:
        if self.out.isatty():
            print(f"\r\033[K{line}", end="\n" if keep else "", file=self.out, flush=True)
        else:
            print(line, file=self.out, flush=True)


def accuracy(now: State) -> float | None:
    """The accuracy of a finished run, or the newest validation of one that goes on."""
    return now.record.reported if now.record else now.progress.get("val/accuracy")


def epochs(now: State) -> str:
    """`epoch 2 of 3`, as far as it is known."""
    if now.record:
        return f"epoch {now.record.epochs} of {now.record.epochs}"
    return f"epoch {now.progress['epoch']} of {now.progress['epochs']}" if now.progress else ""


def time_left(states: Iterable[tuple[Planned, State]], at_once: int = 1) -> str:
    """Minutes and seconds until all is done: the training FLOPs ahead by those a second so far, with as many runs at once as there are now,
    or `at_once` where that is more.

    Empty where nothing has been measured yet. Failed runs are not waited for.
    """
    states = list(states)
    known = [(entry.work * now.share, now.record.total_seconds if now.record else now.progress["seconds"]) for entry, now in states if now.share]
    work, seconds = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0)
    if not work:
        return ""
    ahead = sum(entry.work * (1 - now.share) for entry, now in states if now.name != "failed")
    at_once = max(at_once, sum(now.name == "running" for _, now in states))
    left = ahead * seconds / work / at_once
    return f"{int(left // 60)}:{int(left % 60):02d}"
