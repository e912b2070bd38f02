"""What a plan predicts: counted work, fitted factors, seconds, memory and wall-clock; and what its seeds can
show."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ablation import bench
from ablation.command.planning import Plan
from ablation.command.planning import plan as plan_of
from ablation.door import hydra
from ablation.images import shapes
from ablation.images.cache import Sizes, sizes
from ablation.images.splits import Images, load
from ablation.judge.contrasts import Sample
from ablation.judge.power import detectable
from ablation.measure import outlook
from ablation.measure.forecast import (
    Calibration,
    newest_calibration,
    wall_clock,
    write_calibration,
)
from ablation.measure.work import evaluated, fit, left_out_error, times, work
from ablation.runs.config import Execution
from ablation.runs.records import read_records, write_record
from ablation.theory.baselines import B0, MINI
from ablation.theory.cost import cost
from ablation.train import classifier, execute
from tests.test_data import RECIPE as STEPPING
from tests.test_data import SHAPES
from tests.test_run_identity import some_record, some_run

SIZES = Sizes(train=100, validation=50, evaluation=20)


def some_calibration(**changes: object) -> Calibration:
    values = {
        **{
            "device": "cpu",
            "on_gpu": False,
            "threads": 1,
            "at_once": 2,
            "precision": "fp32",
            "torch": "2",
            "measured": "2026-01-01",
        },
        **{
            "step": (1e-9, 2e-9, 3e-9, 1e-4, 1e-8),
            "forward": (1e-9, 1e-9, 1e-9, 0.0, 0.0),
            "memory": (0.0, 0.0, 8.0, 0.0, 16.0),
        },
        **{"loading": 1e-8, "fixed": 0.5, "base": 1e8, "room": 1e10, "error": 0.05},
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


def planned(*words: str) -> Plan:
    with hydra():
        return plan_of(words)


@pytest.mark.parametrize("network", [MINI.network, B0.network])
def test_work_is_what_is_counted(network) -> None:  # type: ignore[no-untyped-def]
    full, grouped, activations, convolutions, params = work(network, 10)
    assert full + grouped == 10 * cost(network).macs
    assert (activations, params) == (10 * cost(network).activations, cost(network).params)
    assert convolutions == len(list(network.convolutions()))
    depthwise = sum(
        c.outputs * c.kernel**2 * c.pixels_out**2
        for c in network.convolutions()
        if c.name == "depthwise"
    )
    assert grouped == 10 * depthwise > 0


def test_a_law_is_found_again_and_predicts_what_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    terms, factors = (
        rng.uniform(1, 10, (8, 5)) * [1e9, 1e8, 1e7, 10, 1e5],
        np.array([1e-10, 0.0, 3e-8, 1e-3, 1e-8]),
    )
    assert fit(terms, terms @ factors) == pytest.approx(tuple(factors), rel=1e-6, abs=1e-15)
    assert left_out_error(terms, terms @ factors) < 1e-6
    assert min(fit(terms, terms @ -factors + 1)) >= 0


def test_a_run_costs_its_steps_its_evaluation_and_what_is_fixed() -> None:
    found, run = (
        some_calibration(),
        some_run(recipe=dataclasses.replace(STEPPING, epochs=5, batch_size=16, validate_every=2)),
    )
    # After epochs 2 and 4; at the end validation, as many training images, evaluation.
    images = 2 * 50 + 50 + 50 + 20
    assert evaluated(run, SIZES) == images
    steps = 5 * 6 * times(found.step, work(run.network, 16))
    forward = images * 1e-9 * (cost(run.network).macs + cost(run.network).activations)
    loading = 1e-8 * 170 * run.data.native**2
    assert found.seconds(run, SIZES) == pytest.approx(0.5 + steps + forward + loading)
    held = 3 * 170 * run.network.pixels**2
    assert (
        found.bytes(run, SIZES)
        == 1e8 + held + 8 * 16 * cost(run.network).activations + 16 * cost(run.network).params
    )


def test_a_run_evaluates_as_many_images_as_are_predicted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = classifier.answers

    def counted(net: torch.nn.Module, images: Images, *rest: object) -> object:
        seen.append(len(images))
        return original(net, images, *rest)

    for module in (classifier, execute):  # where epochs are validated, and at the end
        monkeypatch.setattr(module, "answers", counted)
    run = some_run(data=SHAPES, recipe=dataclasses.replace(STEPPING, epochs=3, validate_every=1))
    entry = dataclasses.replace(planned("phi=0").planned[0], run=run)
    execute.execute(entry, Execution(tmp_path, cache, wandb="disabled", accelerator="cpu"))
    assert sum(seen) == evaluated(run, sizes(SHAPES, cache))


def test_the_last_run_ends_when_the_fullest_worker_does() -> None:
    assert wall_clock([5, 4, 3, 3, 3], 2) == 10  # 5 + 3, 4 + 3 + 3
    assert wall_clock([5, 4, 3], 8) == 5
    assert wall_clock([], 2) == 0


def test_the_newest_calibration_of_these_threads_and_this_precision_counts(tmp_path: Path) -> None:
    where = Execution(tmp_path, tmp_path)
    assert newest_calibration(where, "fp32") is None
    for changes in (
        {"measured": "2026-01-02", "device": "a GPU", "on_gpu": True},
        {},
        {"threads": 2},
        {"precision": "bf16"},
    ):
        path = write_calibration(tmp_path, some_calibration(**changes))
    assert newest_calibration(where, "fp32").device == "a GPU"
    assert newest_calibration(dataclasses.replace(where, accelerator="cpu"), "fp32").device == "cpu"
    assert newest_calibration(dataclasses.replace(where, threads=2), "fp32").threads == 2
    path.write_text('{"device": "cpu"}')
    assert newest_calibration(where, "bf16") is None


def test_sizes_are_known_where_they_are_stated_or_decoded(cache: Path, tmp_path: Path) -> None:
    splits = load(SHAPES, 32, cache)
    assert sizes(SHAPES, cache) == Sizes(
        len(splits.train), len(splits.validation), len(splits.evaluation)
    )
    assert sizes(dataclasses.replace(SHAPES, train_size=None), tmp_path) == Sizes(
        shapes.SIZES["train"] - 50, 50, shapes.SIZES["evaluation"]
    )
    other = dataclasses.replace(SHAPES, name="owner/photos", train_size=None)
    assert sizes(other, tmp_path) is None
    assert sizes(dataclasses.replace(other, train_size=10, evaluation_size=5), tmp_path) == Sizes(
        10, 50, 5
    )


def test_a_plan_says_what_it_costs_and_what_it_can_show(tmp_path: Path) -> None:
    words = [
        "scaling=depth,width",
        "cost=matched",
        "phi=0,1",
        "seed=0,1,2",
        f"cache={tmp_path}",
        f"runs={tmp_path}",
    ]
    wanted = planned(*words)
    assert "python -m ablation.bench calibrate" in outlook.table(wanted, {})
    assert {
        (row["predicted_seconds"], row["predicted_memory"]) for row in outlook.rows(wanted, {})
    } == {(None, None)}
    write_calibration(tmp_path, some_calibration())
    runs = {entry.run.id: entry.run for entry in wanted.planned}
    expected = {
        key: some_calibration().seconds(run, sizes(run.data, tmp_path)) for key, run in runs.items()
    }
    assert {row["run_id"]: row["predicted_seconds"] for row in outlook.rows(wanted, {})} == expected
    text = outlook.table(wanted, {}, at_once=1)
    assert f"to train: {outlook.duration(sum(expected.values()))} with 1 at once" in text
    ratio = detectable(math.sqrt(2 / 3), 2 * 2)
    assert (
        f"3 seeds show a difference of two networks from {ratio:.2f} deviations of a seed on"
        in text
    )
    rng = np.random.default_rng(0)
    for run in runs.values():
        write_record(tmp_path, some_record(run, accuracy=0.8 + 0.01 * rng.normal(), seed=run.seed))
    done = read_records(tmp_path, runs.values())
    text = outlook.table(wanted, done)
    assert "to train: 0 s" in text
    assert f"in {len(runs)} records" in text


def test_the_deviation_is_what_networks_and_seeds_leave() -> None:
    rng = np.random.default_rng(0)
    networks, seeds = np.repeat(np.arange(40), 30), np.tile(np.arange(30), 40)
    shifts = rng.normal(0, 5, 40)[networks] + rng.normal(0, 5, 30)[seeds]
    assert Sample(
        shifts + rng.normal(0, 0.3, 1200), networks, seeds, 40
    ).deviation == pytest.approx(0.3, rel=0.05)
    assert np.isnan(Sample(shifts[:1], networks[:1], seeds[:1], 1).deviation)


def test_a_calibration_predicts_the_order_of_networks(
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "taken", lambda: None)  # what a kernel may say
    words = [
        "recipe.batch_size=4",
        "accelerator=cpu",
        "data.train_size=80",
        "data.validation_size=50",
        "data.evaluation_size=50",
    ]
    with hydra():
        bench.show(
            ["calibrate", *words, "bench.rounds=1", "bench.seconds=0.001", f"cache={tmp_path}"],
            False,
        )
    path = Path(capsys.readouterr().out.splitlines()[-1])
    found = Calibration(**json.loads(path.read_text()))
    assert (found.threads, found.precision, found.on_gpu, found.torch) == (
        1,
        "fp32",
        False,
        torch.__version__,
    )
    assert times(found.step, work(B0.network, 4)) > times(found.step, work(MINI.network, 4)) > 0
    assert found.base > 1e8 and found.loading > 0
