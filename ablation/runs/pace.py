"""How fast this machine decoded images last: one file in the cache for each machine."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ablation.runs.files import read_measured, slug, write_measured
from ablation.runs.machine import cores, processor

LEAST = 1.0  # seconds; what took less says little


@dataclass(frozen=True)
class Pace:
    """A data set that was decoded: its name, bytes of its files, seconds, and when."""

    name: str
    bytes: int
    seconds: float
    measured: str

    @property
    def rate(self) -> float:
        """Bytes of files a second."""
        return self.bytes / self.seconds


def _path(cache: Path) -> Path:
    return cache / "decoding" / f"{slug(processor())}-{cores()}.json"


def last_pace(cache: Path, way: str) -> Pace | None:
    """The last one in this way (decode, listing); None where there is none that can be read."""
    return _known(cache).get(way)


def _known(cache: Path) -> dict[str, Pace]:
    try:
        return read_measured(_path(cache), Pace)
    except (OSError, ValueError):
        return {}


def note_pace(cache: Path, way: str, name: str, size: int, seconds: float) -> None:
    """Keep what was measured, in place of the one before."""
    if seconds >= LEAST and size:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):  # a view of the future, no more
            write_measured(
                _path(cache), _known(cache) | {way: Pace(name, size, seconds, now)}, "cache"
            )
