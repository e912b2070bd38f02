"""Fresh processes for runs, from a forkserver that has torch loaded: each starts in a moment, inherits
nothing, and dies alone."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

# And with them Hydra, torch, Lightning, and what W&B loads as its first run begins: seconds, paid once. None
# touches CUDA.
PRELOAD = [
    "ablation.command.compose",
    "ablation.train.execute",
    "wandb",
    "wandb.sdk.launch",
    "wandb.sdk.launch.inputs.internal",
    "wandb.analytics.opentelemetry",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.sdk._logs.export",
    "psutil",
    "requests",
]
GRACE = 5.0  # seconds between asking a process to end and ending it


class Died(RuntimeError):
    """A process ended without an answer."""


def fresh(
    task: Callable[..., Any], calls: Iterable[tuple[Any, ...]], width: int
) -> Iterator[tuple[int, Any]]:
    """(i, task(*the i-th call)) as they finish, each in a fresh process, at most `width` at once; a call is
    drawn when its process starts.

    A process that died, and an exception in one, stand as a `Died` in the place of the answer, and the others
    go on. Closing the iterator ends what still runs; whatever ends this process ends them too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # which would end our deafness
    with _deaf():
        forkserver.ensure_running()
    left = enumerate(calls)
    running: dict[Any, tuple[int, BaseProcess]] = {}  # by the connection that will bring the answer
    try:
        while True:
            for index, arguments in itertools.islice(left, width - len(running)):
                answers, writer = context.Pipe(duplex=False)
                process = context.Process(target=_body, args=(writer, task, arguments))
                process.start()
                writer.close()
                running[answers] = index, process
            if not running:
                return
            for answers in wait(list(running)):
                index, process = running[answers]
                answer = _answer(answers, process)
                del running[answers]
                yield index, answer
    finally:
        _end([process for _, process in running.values()])


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches the whole group: what is started here does not hear it, from its first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def side_by_side(
    task: Callable[..., Any], calls: Iterable[tuple[Any, ...]], width: int
) -> list[Any]:
    """Every answer of `fresh`, in the order of the calls."""
    with contextlib.closing(fresh(task, calls, width)) as arriving:
        return [answer for _, answer in sorted(arriving, key=lambda pair: pair[0])]


def alone(task: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of one process; raises `Died`."""
    return together(task, [arguments])[0]


def together(task: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answers of processes that need each other, all at once; raises the first `Died` and ends the
    others."""
    answers: dict[int, Any] = {}
    with contextlib.closing(fresh(task, calls, len(calls))) as arriving:
        for index, answer in arriving:
            if isinstance(answer, Died):
                raise answer
            answers[index] = answer
    return [answers[index] for index in range(len(calls))]


def _body(writer: Connection, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # The parent ends its processes itself; what they start may be interrupted again.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        answer = task(*arguments)
    except Exception as error:
        answer = Died(f"{type(error).__name__}: {error}")
    with contextlib.suppress(OSError):  # nobody waits for it any more
        writer.send(answer)


def _follow_parent() -> None:
    """No orphans: the parent's end of this pipe closes however it dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _answer(answers: Connection, process: BaseProcess) -> Any:
    """What a process sent, or how it died."""
    try:
        return answers.recv()
    except EOFError:
        process.join()
        return Died(_death(process.exitcode or 0))
    finally:
        answers.close()
        process.join()


def _death(code: int) -> str:
    if code >= 0:
        return f"its process ended with status {code}"
    name = signal.Signals(-code).name
    return f"its process was killed by {name}" + (
        ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
    )


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
