"""Networks measured alone: what is counted, in which order, and how it reaches the frame."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from ablation import bench
from ablation.door import hydra
from ablation.judge.frame import frame, summary
from ablation.measure import steps
from ablation.measure.steps import Trial, measure_steps, saved_bytes, seconds_per_call
from ablation.runs.arms import Arm, expand
from ablation.runs.config import Run
from ablation.runs.measurements import (
    Measurement,
    measurements_of,
    measurements_path,
    read_measurements,
    step_key,
    write_measurements,
)
from ablation.show.comparisons import axes_figure, compound_rows
from ablation.theory.baselines import MINI
from ablation.theory.scaling import RULES
from tests.test_run_identity import DATA, RECIPE, some_record, some_run

CPU = torch.device("cpu")
QUICK = (
    "scaling=depth",
    "cost=matched",
    "recipe.batch_size=4",
    "accelerator=cpu",
    "bench.rounds=2",
    "bench.seconds=0.001",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def some_measurement(**changes: object) -> Measurement:
    values = {field.name: 1 for field in dataclasses.fields(Measurement)} | {
        "device": "cpu",
        "threads": 0,
    }
    return Measurement(**(values | changes))  # type: ignore[arg-type]


def bytes_of(run: Run) -> int:
    trial = Trial(run, CPU)
    trial.train()
    return trial.step_bytes()


def test_what_backward_needs_is_counted_once_and_without_parameters() -> None:
    x, weight = torch.ones(1000, requires_grad=True), nn.Parameter(torch.ones(1000))
    assert saved_bytes(lambda: x.exp().sum(), []) == 4000  # exp keeps its output
    assert saved_bytes(lambda: (x * x).sum(), []) == 4000  # both factors are one tensor
    assert saved_bytes(lambda: (x * weight).sum(), [weight]) == 4000
    assert saved_bytes(lambda: (x + 1).sum(), []) == 0


def test_memory_of_a_step_is_exact_and_linear_in_the_batch() -> None:
    sizes = [
        bytes_of(some_run(recipe=dataclasses.replace(RECIPE, batch_size=size)))
        for size in (4, 8, 12, 12)
    ]
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] > 0
    assert sizes[3] == sizes[2]
    fixed = sizes[0] - (sizes[1] - sizes[0])
    net = Trial(some_run(), CPU).net
    weights, buffers = (
        sum(tensor.nbytes for tensor in tensors) for tensors in (net.parameters(), net.buffers())
    )
    norms = (
        2
        * 4
        * sum(layer.num_features for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))
    )
    # With gradients, momentum, the batch statistics of norms, the loss' sum of weights.
    assert fixed == 3 * weights + buffers + norms + 4


def test_optimizer_state_is_part_of_the_memory() -> None:
    weights = sum(parameter.nbytes for parameter in Trial(some_run(), CPU).net.parameters())
    plain, momentum = (
        bytes_of(some_run(recipe=dataclasses.replace(RECIPE, momentum=value)))
        for value in (0.0, 0.9)
    )
    assert momentum - plain == weights
    rmsprop = bytes_of(some_run(recipe=dataclasses.replace(RECIPE, optimizer="rmsprop")))
    assert rmsprop - momentum == weights


def test_counting_memory_leaves_gradients_as_they_are() -> None:
    trial = Trial(some_run(), CPU)
    trial._loss().backward()
    plain = [parameter.grad.clone() for parameter in trial.net.parameters()]
    trial.optimizer.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor.detach(), lambda tensor: tensor
    ):
        loss = trial._loss()
    loss.backward()
    for ours, parameter in zip(plain, trial.net.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trial_steps_as_its_recipe_does(precision: str) -> None:
    recipe = dataclasses.replace(
        RECIPE, precision=precision, clip=1.0, momentum=0.0, dropout=0.1, drop_path=0.1
    )
    trial = Trial(some_run(recipe=recipe), CPU)
    statistics = trial.net.stem[1].running_mean.clone()
    trial.train()
    assert not torch.equal(statistics, trial.net.stem[1].running_mean)
    norm = torch.linalg.vector_norm(
        torch.stack(
            [torch.linalg.vector_norm(parameter.grad) for parameter in trial.net.parameters()]
        )
    )
    assert norm <= 1 + 1e-4
    statistics = trial.net.stem[1].running_mean.clone()
    trial.infer()
    assert torch.equal(statistics, trial.net.stem[1].running_mean)


def test_a_call_takes_the_time_that_it_takes() -> None:
    calls = []
    took = seconds_per_call(lambda: (calls.append(1), time.sleep(0.01)), 0.05, CPU)
    assert 0.01 <= took < 0.1
    assert len(calls) <= steps.WARM_UP + 5


def test_networks_take_turns_and_the_middle_of_the_rounds_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = []
    times = iter([1.0, 2.0, 3.0, 4.0, 8.0, 6.0])

    def turn(trial: Trial, seconds: float) -> tuple[float, float, int]:
        turns.append(trial.images.shape[-1])
        return next(times), 100.0, 7

    monkeypatch.setattr(steps, "_turn", turn)
    runs = {
        str(side): some_run(network=dataclasses.replace(MINI.network, pixels=side))
        for side in (32, 40)
    }
    found = measure_steps(runs, CPU, "a processor", rounds=3, seconds=0.1)
    assert turns == [32, 40, 32, 40, 32, 40]
    assert (found["32"].step_low, found["32"].step_seconds, found["32"].step_high) == (
        2.0,
        3.0,
        5.5,
    )
    assert (found["40"].step_seconds, found["40"].images_per_second, found["40"].step_bytes) == (
        4.0,
        100.0,
        7,
    )
    assert (found["40"].pixels, found["40"].rounds, found["40"].device) == (40, 3, "a processor")


def test_the_key_is_the_network_and_what_a_step_does() -> None:
    one = step_key(some_run())
    same = [
        some_run(seed=3),
        some_run(data=dataclasses.replace(DATA, train_size=9)),
        some_run(recipe=dataclasses.replace(RECIPE, epochs=7)),
    ]
    other = [
        some_run(recipe=dataclasses.replace(RECIPE, batch_size=8)),
        some_run(network=dataclasses.replace(MINI.network, pixels=34)),
    ]
    other.append(some_run(recipe=dataclasses.replace(RECIPE, precision="bf16")))
    assert {step_key(run) for run in same} == {one}
    assert len({step_key(run) for run in other} | {one}) == 4


def test_measurements_are_merged_by_device_and_threads(tmp_path: Path) -> None:
    write_measurements(tmp_path, {"a": some_measurement(), "b": some_measurement(step_bytes=2)})
    write_measurements(
        tmp_path,
        {
            "b": some_measurement(step_bytes=3),
            "c": some_measurement(device="Some GPU (80 GB)", threads=2),
        },
    )
    assert {
        key: value.step_bytes for key, value in read_measurements(tmp_path, "cpu", 0).items()
    } == {"a": 1, "b": 3}
    assert list(read_measurements(tmp_path, "Some GPU (80 GB)", 2)) == ["c"]
    assert (tmp_path / "networks" / "some-gpu-80-gb-2.json").exists()
    assert read_measurements(tmp_path, "cpu", 1) == {}


@pytest.mark.parametrize("content", ['{"a": {"step_se', "[]", '{"a": {"step_seconds": 1}}'])
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, content: str) -> None:
    path = measurements_path(tmp_path, "cpu", 1)
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match="cpu-1.json holds no measurements.*delete it"):
        read_measurements(tmp_path, "cpu", 1)


def test_the_frame_takes_the_device_of_most_records(tmp_path: Path) -> None:
    arms = [
        Arm(rule, "matched", RULES[rule], phi) for rule in ("depth", "width") for phi in (0.0, 1.0)
    ]
    planned = expand(MINI, arms, RECIPE, DATA, range(2))
    records = {
        entry.run.id: some_record(
            entry.run, accuracy=0.5, device="slow" if entry.arm.name == "depth" else "fast"
        )
        for entry in planned
    }
    records.popitem()
    keys = {step_key(entry.run): cost for cost, entry in enumerate(planned, 1)}
    for device, factor in (("slow", 10), ("fast", 1)):
        write_measurements(
            tmp_path,
            {
                key: some_measurement(device=device, step_seconds=cost * factor)
                for key, cost in keys.items()
            },
        )
    measured = measurements_of(tmp_path, records.values())
    assert {value.device for value in measured.values()} == {"fast"}
    table = frame(planned, records, measured)
    assert list(table["step_seconds"]) == [keys[step_key(entry.run)] for entry in planned]
    means = summary(table)
    assert set(means["step_device"]) == {"fast, threads=0"}
    figure = axes_figure(compound_rows(means))
    assert [ax.get_xlabel() for ax in figure.axes][-2:] == [
        "memory of a step (bytes)",
        "time of a step (s)",
    ]
    assert "fast, threads=0" in figure._supxlabel.get_text()


def test_a_network_that_was_not_measured_has_no_time(tmp_path: Path) -> None:
    planned = expand(
        MINI,
        [Arm("depth", "matched", RULES["depth"], phi) for phi in (0.0, 1.0)],
        RECIPE,
        DATA,
        [0],
    )
    records = {entry.run.id: some_record(entry.run) for entry in planned}
    assert "step_seconds" not in frame(
        planned, records, measurements_of(tmp_path, records.values())
    )
    write_measurements(tmp_path, {step_key(planned[0].run): some_measurement(step_seconds=2.0)})
    table = frame(planned, records, measurements_of(tmp_path, records.values()))
    assert table["step_seconds"].iloc[0] == 2.0
    assert pd.isna(table["step_seconds"].iloc[1])
    assert measurements_of(tmp_path, []) == {}


def test_the_door_measures_each_network_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "taken", lambda: 1.0)
    words = ["networks", *QUICK, f"runs={tmp_path}"]
    with hydra():
        bench.show([*words, "phi=0", "seed=0,1"], True)
        first = capsys.readouterr().out
        bench.show([*words, "phi=0,1"], True)
        second = capsys.readouterr().out
        bench.show([*words, "phi=0,1"], True)
        third = capsys.readouterr().out
        bench.show([*words, "phi=0,1", "bench.again=true"], True)
        fourth = capsys.readouterr().out
    beside = "not alone: other work took 1.0 and 1.0 cores before and after"
    assert [beside in text for text in (first, second, third)] == [True, True, False]
    for text, expected in (
        (first, "1 network, 0"),
        (second, "2 networks, 1"),
        (third, "2 networks, 2"),
        (fourth, "2 networks, 0"),
    ):
        assert f"{expected} measured" in text
    path = Path(first.splitlines()[-1])
    assert path.parent == tmp_path / "networks"
    assert len(json.loads(path.read_text())) == 2
    assert "micro baseline" in first and "micro depth phi=1" in second


@pytest.mark.parametrize(
    "words",
    [
        "",
        "network",
        "networks study networks",
        "bench.rounds=0 networks",
        "networks bench.seconds=0",
    ],
)
def test_what_cannot_be_measured_is_one_line(words: str) -> None:
    with (
        hydra(),
        pytest.raises(
            ValueError,
            match=r"name one of all, step|bench\.(rounds|seconds)=0(\.0)?: must be at least",
        ) as caught,
    ):
        bench.show(words.split(), False)
    assert "\n" not in str(caught.value)
