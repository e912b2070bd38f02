"""Where runs compute: one run over several processes equals one process; GPUs are locked, shared where asked,
and never doubled."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from torch import Tensor, distributed, nn

from ablation.runs import machine
from ablation.runs.config import Execution
from ablation.runs.records import read_record
from ablation.runs.states import held, state
from ablation.train import devices
from ablation.train.classifier import synchronised
from ablation.train.devices import capacity, cores, devices_of
from ablation.train.execute import execute
from ablation.train.processes import Died, together
from tests.conftest import TINY
from tests.test_faults import command
from tests.test_resume import HARD, epoch_of, wait_for, weights
from tests.test_training import planned, untimed

# Masks differ between processes.
ALIKE = dataclasses.replace(HARD, epochs=3, dropout=0.0, drop_path=0.0)


@pytest.fixture
def execution(tmp_path: Path, cache: Path) -> Execution:
    return Execution(
        tmp_path / "runs", cache, accelerator="cpu", wandb="disabled", keep_weights=True
    )


@pytest.mark.parametrize("beside", [{}, {"accumulate": 2, "mixup": 0.8, "cutmix": 1.0}])
def test_two_processes_train_what_one_does(
    beside: dict[str, Any], execution: Execution, tmp_path: Path
) -> None:
    """Same order, augmentation, batch-norm statistics, clipping and averages; sums are rounded in another
    order, so within tolerance."""
    entry = planned(dataclasses.replace(ALIKE, **beside))
    split = dataclasses.replace(execution, runs=tmp_path / "split", devices=2)
    one, two = execute(entry, execution), execute(entry, split)
    assert (one.devices, two.devices) == (1, 2)
    assert [row["epoch"] for row in two.history] == [1, 2, 3]
    for first, second in zip(one.history, two.history, strict=True):
        assert second == pytest.approx(first, rel=1e-3)
    assert two.val_loss == pytest.approx(one.val_loss, rel=1e-3)
    theirs = weights(split, entry)
    for name, tensor in weights(execution, entry).items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-2, atol=1e-4, msg=name)


def test_a_split_run_that_lost_a_process_ends_as_if_it_had_not(
    execution: Execution, tmp_path: Path
) -> None:
    entry, split = planned(HARD), dataclasses.replace(execution, devices=2)
    undisturbed = dataclasses.replace(split, runs=tmp_path / "undisturbed")

    def kill_first() -> None:
        wait_for(lambda: epoch_of(split, entry) >= 2)
        os.kill(state(split, entry.run).progress["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill_first)
    killer.start()
    with pytest.raises(Died, match="killed by SIGKILL"):
        execute(entry, split)
    killer.join()
    assert not held(split.runs, entry.run.id)
    assert untimed(execute(entry, split)) == untimed(execute(entry, undisturbed))
    theirs = weights(undisturbed, entry)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(split, entry).items())


def normed(rank: int, port: int, images: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
    """Output, gradients and statistics of a synchronised norm that sees half of the images."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    norm = nn.BatchNorm2d(5, momentum=0.3)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    norm = synchronised(norm, torch.device("cpu"))
    own = images.chunk(2)[rank].requires_grad_()
    out = norm(own)
    (out * wanted.chunk(2)[rank]).sum().backward()
    distributed.all_reduce(norm.weight.grad)
    found = (
        out.detach(),
        own.grad,
        norm.weight.grad,
        norm.running_mean,
        norm.running_var,
        norm.num_batches_tracked,
    )
    distributed.barrier()
    return tuple(tensor.numpy() for tensor in found)


def test_a_synchronised_norm_is_batch_norm_over_all_processes() -> None:
    images, wanted = torch.randn(8, 5, 3, 3) * 3 + 100, torch.randn(8, 5, 3, 3)
    port = find_free_network_port()
    halves = together(normed, [(rank, port, images, wanted) for rank in (0, 1)])
    norm = nn.BatchNorm2d(5, momentum=0.3)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    whole = images.clone().requires_grad_()
    out = norm(whole)
    (out * wanted).sum().backward()
    for rank, found in enumerate(halves):
        expected = (
            out.chunk(2)[rank],
            whole.grad.chunk(2)[rank],
            norm.weight.grad,
            norm.running_mean,
            norm.running_var,
            norm.num_batches_tracked,
        )
        for theirs, ours in zip(expected, found, strict=True):
            torch.testing.assert_close(
                torch.from_numpy(ours), theirs.detach(), rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")])
def test_a_run_is_split_by_a_word_alone_or_in_a_sweep(
    sweep: tuple[str, ...], tmp_path: Path, cache: Path
) -> None:
    """Runs of a sweep are as those of a command each."""
    told = command(*sweep, *words_of(tmp_path, cache))
    assert told.status == 0, told.err
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/record.json"))]
    assert sorted(record["seed"] for record in records) == ([0, 1] if sweep else [0])
    assert all(record["devices"] == 2 for record in records)
    assert "2 of 2 runs done" in told.out if sweep else str(tmp_path) in told.out


def test_a_sweep_whose_batches_do_not_split_is_refused_before_it_begins(
    tmp_path: Path, cache: Path
) -> None:
    refused = command("-m", "seed=0,1", *words_of(tmp_path, cache), "devices=3")
    assert refused.status == 1 and not [*tmp_path.glob("*/*")]
    assert refused.err == (
        "error: devices=3: recipe.batch_size=64 does not split into equal parts; take another number\n"
    )


def words_of(runs: Path, cache: Path) -> list[str]:
    """The smallest run over two devices."""
    where = [f"runs={runs}", f"cache={cache}", "wandb.mode=disabled"]
    return ["devices=2", "phi=-1", "accelerator=cpu", *TINY, *where]


def test_a_batch_that_does_not_split_is_refused(execution: Execution) -> None:
    with pytest.raises(
        Died, match="devices=3: recipe.batch_size=16 does not split into equal parts"
    ):
        execute(planned(), dataclasses.replace(execution, devices=3))
    assert read_record(execution.runs, planned().run) is None
    dataclasses.replace(ALIKE, accumulate=4).check_split(4)
    with pytest.raises(
        ValueError, match="devices=8: recipe.batch_size=16 in parts of 4 does not split into equal"
    ):
        dataclasses.replace(ALIKE, accumulate=4).check_split(8)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of 80 GiB, as far as locks can tell."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    properties = [
        types.SimpleNamespace(uuid=f"GPU-{index}", total_memory=80 * 2**30) for index in (0, 1)
    ]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties[index])
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, index: None)


@contextlib.contextmanager
def taken(execution: Execution, count: int) -> Iterator[list[int]]:
    """The GPUs of so many runs at once."""
    with contextlib.ExitStack() as stack:
        yield [
            device.index
            for _ in range(count)
            for device in stack.enter_context(devices_of(execution))
        ]


@pytest.mark.usefixtures("gpus")
def test_each_run_has_a_gpu_to_itself_and_the_next_one_waits(execution: Execution) -> None:
    where = dataclasses.replace(execution, accelerator="auto")
    assert capacity(where) == min(2, cores())
    third: list[int] = []

    def wait() -> None:
        with taken(where, 1) as indices:
            third.extend(indices)

    with taken(where, 1) as first:
        with taken(where, 1) as second:
            assert (first, second) == ([0], [1])
            waiting = threading.Thread(target=wait)
            waiting.start()
            waiting.join(0.3)
            assert not third
        waiting.join(10)
    assert third == [1]


@pytest.mark.usefixtures("gpus")
def test_small_runs_share_gpus_evenly_by_their_memory(execution: Execution) -> None:
    where = dataclasses.replace(execution, accelerator="gpu", gpu_memory=30.0)
    assert capacity(where) == min(4, cores())
    with taken(where, 4) as indices:
        assert indices == [0, 1, 0, 1]


@pytest.mark.usefixtures("gpus")
def test_a_split_run_takes_all_its_gpus_or_none(execution: Execution) -> None:
    where = dataclasses.replace(execution, accelerator="gpu", devices=2)
    assert capacity(where) == 1
    with pytest.raises(ValueError, match="devices=3: torch sees 2 GPUs here; take fewer"):
        capacity(dataclasses.replace(where, devices=3))
    with devices_of(where) as both:
        assert [device.index for device in both] == [0, 1]
    with (
        pytest.raises(ValueError, match="devices=3: torch sees 2 GPUs here"),
        devices_of(dataclasses.replace(where, devices=3)),
    ):
        pass
    with pytest.raises(
        ValueError, match="devices=2 gpu_memory=10: a run over several GPUs has each to itself"
    ):
        dataclasses.replace(where, gpu_memory=10.0)


def test_cores_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for content, expected in {
        "250000 100000": 2,
        "50000 100000": 1,
        "max 100000": 64,
        "": 64,
    }.items():
        (tmp_path / "cpu.max").write_text(content)
        monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
        assert cores() == expected


def test_images_have_a_quarter_of_what_a_run_has(
    execution: Execution, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "LIMIT", limit)
    limit.write_text("max\n")
    assert devices.main_memory() > 2**28
    limit.write_text(f"{2**28}\n")
    monkeypatch.setattr(devices, "capacity", lambda execution: 4)
    cpu = torch.device("cpu")
    assert devices.image_room(execution, cpu) == 2**28 / 4 / 4
    split = dataclasses.replace(execution, devices=2)  # each process holds them
    assert devices.image_room(split, cpu) == 2**28 / 4 / 8
    assert [
        devices.image_room(dataclasses.replace(execution, resident=choice), cpu)
        for choice in (True, False)
    ] == [math.inf, 0]
    monkeypatch.setattr(devices, "memory", lambda index: 80.0)
    gpu = torch.device("cuda", 0)
    assert devices.image_room(execution, gpu) == 20 * devices.GIB
    assert devices.image_room(dataclasses.replace(execution, gpu_memory=8), gpu) == 2 * devices.GIB


def test_a_machine_without_gpus_says_so(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="accelerator=gpu: torch sees no CUDA device here"):
        execute(planned(), dataclasses.replace(execution, accelerator="gpu"))
