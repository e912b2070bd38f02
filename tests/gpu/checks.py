"""Checks on a device: small functions in a table, what each found written as soon as it is there, so that
whatever ends the rest keeps it."""

import contextlib
import importlib
import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ablation.runs.checks import first_line
from ablation.runs.files import write_json
from ablation.train.processes import Died, alone

Found = Mapping[str, Any]
BOTH = ("cpu", "cuda")
GPU = ("cuda",)
ABOUT = "about"  # in a file of answers, beside the checks


@dataclass(frozen=True)
class Site:
    """device: cpu or cuda; a CPU does the same checks on less. folder: for what they write on the way. out:
    where answers go. data: the folder of images of the reference study, None to leave it out. ends: seconds
    of `time.monotonic` at which the part is over."""

    device: str
    folder: Path
    out: Path
    data: str | None = None
    ends: float = 0.0

    @property
    def gpu(self) -> bool:
        """Whether this is a GPU."""
        return self.device == "cuda"

    @property
    def accelerator(self) -> str:
        """As `Execution` calls it."""
        return "gpu" if self.gpu else "cpu"

    def left(self) -> float:
        """Seconds until the part is over."""
        return self.ends - time.monotonic()


@dataclass(frozen=True)
class Check:
    """A function from a site to plain values, which raises where something is wrong; devices: those on which
    it makes sense."""

    name: str
    function: Callable[[Site], Found]
    devices: Sequence[str] = BOTH


def names_of(module: str, device: str) -> list[str]:
    """The checks of a module's table, CHECKS, for a device, in their order."""
    return [name for name, check in _table(module).items() if device in check.devices]


def _table(module: str) -> dict[str, Check]:
    return {check.name: check for check in importlib.import_module(module).CHECKS}


def carry_out(module: str, site: Site, path: Path) -> dict[str, Found]:
    """Do all checks of a module until its part is over, and return what is in `path` then.

    They share one process; a check that raised, died or took too long costs itself, and the next one begins
    in a fresh process, since an error of CUDA stays with the process that met it.
    """
    path.unlink(missing_ok=True)
    names = alone(names_of, module, site.device)
    while left := [name for name in names if name not in read(path)]:
        if site.left() <= 0:
            _write(
                path, {name: _fault("not reached: the time of this part is over") for name in left}
            )
            break
        said = _attended(site, work, module, left, site, path)
        stuck = next((name for name in left if name not in read(path)), None)
        if said and stuck:
            _write(path, {stuck: _fault(said)})
    return read(path)


def _attended(site: Site, task: Callable[..., Any], *arguments: Any) -> str:
    """Let a process do it until the part is over; empty, or why it ended without an answer."""
    try:
        with alarm(site.left()):
            alone(task, *arguments)
    except (Died, TimeoutError) as error:
        return first_line(error)
    return ""


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread once these are over."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("took longer than the time that this part had left")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def work(module: str, names: Sequence[str], site: Site, path: Path) -> None:
    """Do checks one after another, up to one that raises."""
    if ABOUT not in read(path):
        _write(path, {ABOUT: about(site)})
    for name in names:
        answer = _answer(_table(module)[name], site)
        _write(path, {name: answer})
        if not answer["ok"]:
            return


def _answer(check: Check, site: Site) -> Found:
    """What a check found, or what went wrong."""
    started = time.perf_counter()
    try:
        found = {"ok": True, **check.function(site)}
    except Exception as error:
        found = _fault(f"{type(error).__name__}: {error}", traceback.format_exc())
    return found | {"seconds": round(time.perf_counter() - started, 2)}


def _fault(error: str, trace: str = "") -> dict[str, Any]:
    return {"ok": False, "error": error, "trace": trace.splitlines()}


def read(path: Path) -> dict[str, Found]:
    """What has been found so far, by check; empty before the first."""
    return json.loads(path.read_text()) if path.exists() else {}


def _write(path: Path, answers: Mapping[str, Found]) -> None:
    write_json(path, read(path) | answers, setting="OUT")


def about(site: Site) -> Found:
    """Where and with what this was found."""
    import torch

    from ablation.train.devices import cores, device_name
    from ablation.train.execute import commit, versions

    return {
        "device": device_name(torch.device(site.device)),
        "cores": cores(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        **versions(),
    }
