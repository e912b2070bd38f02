"""What a person sees while runs go on: read from the files that runs write, so that it works with any
launcher."""

import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from ablation.images.cache import place, underway
from ablation.runs.arms import Planned
from ablation.runs.config import Execution
from ablation.runs.records import weights_path
from ablation.runs.states import State, state

if TYPE_CHECKING:  # rich, only where there is a terminal
    from rich.live import Live
    from rich.table import Table


class Progress:
    """Watches runs from a thread: a line for each that ended and, between them, bars on a terminal, elsewhere
    a line for each validation."""

    def __init__(
        self,
        left: Sequence[Planned],
        execution: Execution,
        out: TextIO | None = None,
        every: float = 0.5,
    ) -> None:
        self.left = left
        self.execution = execution
        self.out = out or sys.stdout
        self.every = every
        self.states = {entry.run.id: State("planned") for entry in left}
        read = {(entry.run.data, entry.run.recipe.from_original) for entry in left}
        self.folders = {place(data, execution.cache, encoded) for data, encoded in read}
        self.decoding: dict[Path, tuple[int, int]] = {}  # images, of those being decoded
        self.at_once = 1
        self.live = live_on(self.out)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.look()
        if self.live:
            self.live.stop()

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            self.look()

    def look(self) -> None:
        """One round over the files."""
        self._look_at_images()
        for number, entry in enumerate(self.left, 1):
            before = self.states[entry.run.id]
            if before.record:
                continue
            now = self.states[entry.run.id] = state(self.execution, entry.run)
            where = f"run {number} of {len(self.left)}  {entry.label:<26}"
            if now.record:
                ending = "" if now.name == "done" else f"  {now.name}"
                self._say(
                    f"{where} accuracy {accuracy(now):6.1%}{ending}  {now.record.seconds:5.0f} s  "
                    f"{self._weights(entry)}{self._left()}"
                )
            elif now.name == "failed" and before.name != "failed":
                self._say(f"{where} failed: {now.reason}")
            elif (
                not self.live
                and now.name == "running"
                and "val/accuracy" in now.progress
                and now.progress["epoch"] != before.progress.get("epoch")
            ):
                self._say(f"{where} {epochs(now)}  validation {accuracy(now):6.1%}  {self._left()}")
        if self.live:
            self.live.update(bars(self._rows()), refresh=True)

    def _look_at_images(self) -> None:
        before, self.decoding = self.decoding, {}
        for folder in self.folders:
            if found := underway(folder):
                self.decoding[folder] = found
                if not self.live and _part(found) > _part(before.get(folder, (0, 0))):
                    self._say(f"decoding images: {found[0]:,} of {found[1]:,}")

    def _say(self, line: str) -> None:
        if self.live:
            self.live.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, file=self.out, flush=True)

    def _weights(self, entry: Planned) -> str:
        """Where they lie, if they are kept."""
        if not self.execution.keep_weights:
            return ""
        return f"{weights_path(self.execution.runs, entry.run.id)}  "

    def _left(self) -> str:
        self.at_once = max(self.at_once, sum(now.name == "running" for now in self.states.values()))
        # One that ended has a successor at once.
        left = time_left([(entry, self.states[entry.run.id]) for entry in self.left], self.at_once)
        return f"{left} left" if left else ""

    def _rows(self) -> list[tuple[str, float, str]]:
        """Label, share and news of images that are decoded and of each run that goes on; where there are
        several, first of all of them together."""
        images = [
            ("images", done / max(1, total), f"{done:,} of {total:,} decoded")
            for done, total in self.decoding.values()
        ]
        states = [(entry, self.states[entry.run.id]) for entry in self.left]
        running = [(entry, now) for entry, now in states if now.name == "running"]
        if len(states) == 1:
            return images + [
                (entry.label, now.share, f"{_news(now)}  {self._left()}") for entry, now in running
            ]
        behind = sum(entry.work * now.share for entry, now in states)
        work = sum(entry.work for entry in self.left)
        ended = sum(now.record is not None for _, now in states)
        together = (f"{ended} of {len(states)} done", behind / max(1, work), self._left())
        return [
            *images,
            together,
            *((entry.label, now.share, _news(now)) for entry, now in running),
        ]


def _part(images: tuple[int, int]) -> int:
    """Eighths of all images that are decoded; a line is printed for each."""
    done, total = images
    return 8 * done // max(1, total)


def _news(now: State) -> str:
    known = accuracy(now)
    return (epochs(now) or "preparing images") + (
        "" if known is None else f"  validation {known:.1%}"
    )


def live_on(out: TextIO, screen: bool = False) -> "Live | None":
    """A live display on a terminal that can move its cursor, or on a screen of its own; None elsewhere."""
    if not out.isatty():
        return None
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, highlight=False)
    return (
        None
        if console.is_dumb_terminal
        else Live(console=console, screen=screen, auto_refresh=False, transient=True)
    )


def bars(rows: Iterable[tuple[str, float, str]]) -> "Table":
    """Rows of label, share (0 to 1) and news, as a table with a bar in each."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for label, share, news in rows:
        grid.add_row(Text(label), ProgressBar(1, share, width=24), Text(news))
    return grid


def accuracy(now: State) -> float | None:
    """The accuracy of a finished run, or the newest validation of one that goes on."""
    return now.record.reported if now.record else now.progress.get("val/accuracy")


def epochs(now: State) -> str:
    """`epoch 2 of 3`, as far as it is known."""
    if now.record:
        return f"epoch {now.record.epochs} of {now.record.epochs}"
    return f"epoch {now.progress['epoch']} of {now.progress['epochs']}" if now.progress else ""


def time_left(states: Iterable[tuple[Planned, State]], at_once: int = 1) -> str:
    """Minutes and seconds until all is done: the training FLOPs ahead by those a second so far, with as many
    runs at once as there are now, or `at_once` where that is more.

    Empty where nothing has been measured yet. Failed runs are not waited for.
    """
    states = list(states)
    known = [
        (
            entry.work * now.share,
            now.record.total_seconds if now.record else now.progress["seconds"],
        )
        for entry, now in states
        if now.paced
    ]
    work, seconds = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0)
    if not work:
        return ""
    ahead = sum(entry.work * (1 - now.share) for entry, now in states if now.name != "failed")
    at_once = max(at_once, sum(now.name == "running" for _, now in states))
    left = ahead * seconds / work / at_once
    return f"{int(left // 60)}:{int(left % 60):02d}"
