"""What a person sees while runs go on: read from the files that runs write, so that it works with any launcher."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ablation.records import record_path
from ablation.study import Planned


class Progress:
    """Watches runs from a thread: one line for each finished run and, on a terminal, a live one for the newest validation."""

    def __init__(self, left: Sequence[Planned], runs: Path, out: TextIO = sys.stdout, every: float = 0.5) -> None:
        self.left, self.runs, self.out, self.every = left, runs, out, every
        self.finished: set[str] = set()
        self.seen: dict[str, int] = {}
        self.epochs: dict[str, float] = {}
        self.started = time.time()
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
            if entry.run.id in self.finished:
                continue
            where = f"run {number} of {len(self.left)}  {entry.label:<26}"
            if record := _read(record_path(self.runs, entry.run.id), self.started):
                self.finished.add(entry.run.id)
                accuracy = record["val_accuracy"] if record["accuracy"] is None else record["accuracy"]
                state = "" if record["status"] == "done" else f"  {record['status']}"
                self._say(f"{where} accuracy {accuracy:6.1%}{state}  {record['seconds']:5.0f} s  {self._left()}", keep=True)
            elif progress := _read(self.runs / entry.run.id / "progress.json", self.started):
                self.epochs[entry.run.id] = progress["epoch"] / progress["epochs"]
                if "val/accuracy" in progress and progress["epoch"] > self.seen.get(entry.run.id, 0):
                    self.seen[entry.run.id] = progress["epoch"]
                    epoch = f"epoch {progress['epoch']} of {progress['epochs']}"
                    self._say(f"{where} {epoch}  validation {progress['val/accuracy']:6.1%}  {self._left()}", keep=False)

    def _left(self) -> str:
        """Time left, from the share of the training FLOPs that is behind us."""
        total = sum(entry.work for entry in self.left)
        behind = sum(entry.work * (1.0 if entry.run.id in self.finished else self.epochs.get(entry.run.id, 0.0)) for entry in self.left)
        if not behind:
            return ""
        seconds = (time.time() - self.started) * (total / behind - 1)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"

    def _say(self, line: str, keep: bool) -> None:
        if self.out.isatty():
            print(f"\r\033[K{line}", end="\n" if keep else "", file=self.out, flush=True)
        else:
            print(line, file=self.out, flush=True)


def _read(path: Path, since: float) -> dict[str, Any] | None:
    """The content of a file written after `since`; None where there is none, or an older one."""
    try:
        return json.loads(path.read_text()) if path.stat().st_mtime >= since - 1 else None
    except (OSError, ValueError):
        return None
