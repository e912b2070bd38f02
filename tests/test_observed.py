"""Seconds from records of the same device: a run is found again in its record, medians and a law are found
again in seconds that follow one, and a plan says where its seconds come from and how far they are off."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ablation.command.planning import Plan
from ablation.images.cache import Sizes
from ablation.measure import observed, outlook
from ablation.measure.forecast import Forecast, write_calibration
from ablation.measure.observed import Here, device_here, observe
from ablation.measure.work import evaluated, times, work
from ablation.runs.config import Execution, Run
from ablation.runs.machine import processor
from ablation.runs.records import Record, archive_path, record_path, write_archive, write_record
from ablation.runs.trained import trained
from tests.test_calibration import planned, some_calibration
from tests.test_run_identity import some_record, some_run

LAW = (2e-10, 1e-9, 4e-9, 2e-4, 1e-8)  # seconds of a step for each of its work
FIXED, EVALUATING = 2.0, 0.4
SIZES = Sizes(train=640, validation=100, evaluation=200)
WORDS = (
    *("scaling=depth,width,resolution", "cost=matched", "phi=0,1,2", "seed=0,1,2"),
    *("data.train_size=640", "data.validation_size=100", "data.evaluation_size=200"),
)


def configured(run: Run) -> dict[str, object]:
    """What a record says of its run, as `execute` writes it."""
    return {
        "network": dataclasses.asdict(run.network),
        "recipe": dataclasses.asdict(run.recipe),
        "data": dataclasses.asdict(run.data) | run.data.identity(),
        "evaluate": run.evaluate,
        "images": {"mean": [0.5]},
    }


def lawful(run: Run, slower: float = 1.0, **changes: object) -> Record:
    """The record of a run here whose seconds follow the law, or are so many times more."""
    size = run.recipe.batch_size
    image = slower * times(LAW, work(run.network, size)) / size
    seconds = image * run.recipe.epochs * (SIZES.train // size) * size
    values = {
        "config": configured(run),
        "seed": run.seed,
        "device": processor(),
        "threads": 1,
        "images_per_second": 1 / image,
        "seconds": seconds,
        "total_seconds": seconds + FIXED + EVALUATING * image * evaluated(run, SIZES),
        "peak_memory": 1000 + run.seed,
    }
    return some_record(run, **(values | changes))


def runs_of(wanted: Plan) -> list[Run]:
    return list({entry.run.id: entry.run for entry in wanted.planned}.values())


def write(folder: Path, records: Sequence[Record]) -> None:
    for record in records:
        write_record(folder, record)


@pytest.fixture(scope="module")
def asked() -> Plan:
    return planned(*WORDS)


@pytest.fixture
def wanted(asked: Plan, tmp_path: Path) -> Plan:
    """The same plan in folders of its own."""
    return dataclasses.replace(
        asked, execution=Execution(tmp_path, tmp_path / "cache", accelerator="cpu")
    )


def test_a_run_is_found_again_in_its_record(tmp_path: Path) -> None:
    kept, packed, other = some_run(), some_run(seed=1), some_run(seed=2)
    write(tmp_path, [lawful(kept), lawful(other, device="another")])
    with archive_path(tmp_path).open("wb") as file:
        write_archive(file, [dataclasses.asdict(lawful(run)) for run in (packed, kept)])
    assert {run.id: run for run, _ in trained(tmp_path)} == {
        run.id: run for run in (kept, packed, other)
    }
    assert {run.id for run, _ in trained(tmp_path, device=processor())} == {kept.id, packed.id}
    assert trained(tmp_path / "none") == []


@pytest.mark.parametrize(
    "changes",
    [{"seed": 5}, {"config": {}}, {"status": "lost"}, {"config": None}, {"run_id": "abc"}],
)
def test_what_is_no_record_of_its_run_is_left_out(
    changes: Mapping[str, object], tmp_path: Path
) -> None:
    write(tmp_path, [lawful(some_run())])
    path = record_path(tmp_path, some_run().id)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert trained(tmp_path) == []
    path.write_text("[1, 2]")
    archive_path(tmp_path).write_bytes(b"no archive")
    assert trained(tmp_path) == []


def test_networks_have_their_own_seconds_and_others_those_of_the_law(
    wanted: Plan, tmp_path: Path
) -> None:
    """One seed of three was slowed by something else; one network has no record."""
    runs = runs_of(wanted)
    missing = runs[-1].network
    here = [run for run in runs if run.network != missing]
    write(tmp_path, [lawful(run, slower=5.0 if run.seed == 1 else 1.0) for run in here])
    forecast = Forecast(wanted)
    for run in runs:
        assert forecast.seconds(run) == pytest.approx(lawful(run).total_seconds, rel=1e-3)
        assert forecast.step_seconds(run) == pytest.approx(times(LAW, work(run.network, 64)), 1e-3)
        assert forecast.of(run)[1] == (None if run.network == missing else 1002)
    found = forecast.basis(runs[0])
    assert found.error < 1e-3 and found.records == len(here)
    count = len({run.network for run in here})
    text = outlook.table(wanted, {}, at_once=1)
    assert (
        f"; from {len(here)} records of {processor()}, threads=1: their {count} networks by their own "
        "seconds, the others within 0% (median, each network left out)" in text
    )
    assert f"to train: {outlook.duration(sum(lawful(run).total_seconds for run in runs))}" in text


@pytest.mark.parametrize(
    "changes",
    [{"device": "another"}, {"threads": 2}, {"devices": 2}, {"status": "diverged"}],
)
def test_records_of_other_places_say_nothing(
    changes: Mapping[str, object], wanted: Plan, tmp_path: Path
) -> None:
    write(tmp_path, [lawful(run, **changes) for run in runs_of(wanted)])
    assert observe(wanted.execution, "fp32", lambda data: SIZES) is None
    assert "not calibrated for this device, threads and precision, and no record" in outlook.table(
        wanted, {}
    )


def test_another_precision_says_nothing_and_a_calibration_says_more(
    wanted: Plan, tmp_path: Path
) -> None:
    write(tmp_path, [lawful(run) for run in runs_of(wanted)])
    assert observe(wanted.execution, "bf16", lambda data: SIZES) is None
    assert observe(wanted.execution, "fp32", lambda data: SIZES) is not None
    write_calibration(tmp_path / "cache", some_calibration())
    assert "; as calibrated on cpu, threads=1, 2 at once" in outlook.table(wanted, {})


def test_too_few_networks_predict_no_others(wanted: Plan, tmp_path: Path) -> None:
    runs = runs_of(wanted)
    known = dict.fromkeys(run.network for run in runs)
    few = list(known)[: observed.LEAST]
    write(tmp_path, [lawful(run) for run in runs if run.network in few])
    forecast = Forecast(wanted)
    assert {forecast.seconds(run) is None for run in runs if run.network not in few} == {True}
    assert {forecast.seconds(run) is None for run in runs if run.network in few} == {False}
    with pytest.raises(ValueError, match="budget.step_seconds: not calibrated"):
        forecast.step_seconds(runs[-1])
    rest = sum(run.network not in few for run in runs)
    assert f"of 3 networks, too few for the {rest} runs of others; python -m" in outlook.table(
        wanted, {}
    )


def test_images_of_an_unknown_number_leave_evaluation_fixed(wanted: Plan, tmp_path: Path) -> None:
    runs = runs_of(wanted)
    write(tmp_path, [lawful(run) for run in runs])
    found = observe(wanted.execution, "fp32", lambda data: None)
    assert found.evaluating == 0 and found.fixed > FIXED
    assert math.isfinite(found.error)


def test_this_device_is_known_without_torch_where_there_is_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed, "maybe_gpus", lambda: False)
    monkeypatch.setattr(observed, "cores", lambda: 8)
    where = Execution(tmp_path, tmp_path, threads=2)
    assert device_here(where) == Here(processor(), False, 4)
    assert device_here(dataclasses.replace(where, accelerator="gpu")) is None
