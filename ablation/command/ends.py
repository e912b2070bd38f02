"""How a command ends that is stopped or that nobody reads: in a line, with what is done kept."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ablation.runs.files import drafts

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP; not an Exception, so that nothing on the way to the door takes it for a
    fault of a run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def on_signals(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Handle what stops a command; a hang-up that is ignored (nohup) stays so."""
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        signal.signal(number, handler)


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End a training or a sweep, which tidies up on the way out."""
    raise Interrupted(number)


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """End a process that trains nothing. Raising would not do: not every library lets an exception pass that
    comes out of nowhere."""
    for draft in list(drafts):
        draft.unlink(missing_ok=True)
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + number)


def begin() -> None:
    """Called as the first of a door's imports: a signal from here on is a line, and the numbers of closed
    standard streams are taken, so that no file of ours gets one."""
    on_signals(end_at_once)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


class Enduring(io.TextIOBase):
    """Standard output that may end (`| head`) or fill up: what is written from then on is dropped, and the
    work goes on. fault: why, once it did."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """As that of the stream."""
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """As that of the stream."""
        self._try(self.stream.flush)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        """Of the stream."""
        return int(self.stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return str(self.stream.encoding)

    def _try(self, action: Callable[[], Any]) -> None:
        if self.fault is not None:
            return
        try:
            action()
        except OSError as error:
            self.fault = error
            with suppress(OSError):  # for what lies in its buffer
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextmanager
def enduring() -> Iterator[None]:
    """Standard output that endures, and characters that it has not as escapes. Raises OSError at the end
    where it could not be written, other than for want of a reader."""
    stdout, stderr = sys.stdout, sys.stderr
    for stream in (stdout, stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        out = Enduring(stdout or nowhere)
        sys.stdout = out  # type: ignore[assignment]
        sys.stderr = stderr or nowhere
        try:
            yield
        finally:
            out.flush()
            sys.stdout, sys.stderr = stdout, stderr
    if out.fault is not None and not isinstance(out.fault, BrokenPipeError):
        raise OSError(
            out.fault.errno, f"standard output could not be written ({out.fault.strerror})"
        )
