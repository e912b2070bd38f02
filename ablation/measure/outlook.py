"""What a plan would train, what that costs, and what its seeds can show."""

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from ablation.command.planning import Plan
from ablation.command.storing import duration
from ablation.measure.forecast import Forecast, wall_clock
from ablation.runs.arms import Planned, pending, starts, twins
from ablation.runs.checks import counted
from ablation.runs.records import Record
from ablation.theory.network import Network
from ablation.theory.own import Own

CALIBRATE = "python -m ablation.bench calibrate, a minute, once"


def rows(wanted: Plan, done: Mapping[str, Record]) -> list[dict[str, object]]:
    """One plain mapping per run, as format=json prints them."""
    forecast = Forecast(wanted)
    found = []
    for entry in wanted.planned:
        seconds, memory = forecast.of(entry.run)
        predicted = {"predicted_seconds": seconds, "predicted_memory": memory}
        found.append(entry.row() | {"done": entry.run.id in done} | predicted)
    return found


def table(wanted: Plan, done: Mapping[str, Record], at_once: int | None = None) -> str:
    """One line per arm, seeds counted; then what all cost, with so many runs at once, and what they can
    show."""
    forecast = Forecast(wanted)
    differing = [name for name in ("baseline", "setting") if _differs(wanted.planned, name)]
    lines = []
    for entries in _arms(wanted.planned):
        where = {name: getattr(entries[0], name) for name in differing}
        trained = sum(entry.run.id in done for entry in entries)
        line = _line(entries[0], forecast) | {"runs": len(entries), "done": trained}
        lines.append(where | line)
    count = len({entry.run.id for entry in wanted.planned})
    notes = [
        f"{wanted.name}: {counted(count, 'distinct run')}, {len(done)} done, {count - len(done)} to train"
    ]
    notes += starts(wanted.planned)
    notes += map(str, wanted.stores(done))
    notes.append(spending(wanted, done, forecast, at_once))
    notes.append(showing(wanted, done))
    same = [f"same network: {' = '.join(labels)}" for labels in twins(wanted.planned)]
    drawn = tabulate(lines, headers="keys", disable_numparse=True)
    return "\n".join([*wanted.found, drawn, *notes, *same])


def _differs(planned: Sequence[Planned], name: str) -> bool:
    return len({getattr(entry, name) for entry in planned}) > 1


def _arms(planned: Sequence[Planned]) -> list[list[Planned]]:
    """Runs that differ in their seed alone, whichever other arms have the same network."""
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for entry in planned:
        arm = entry.arm
        key = (entry.baseline, entry.setting, arm.name, arm.cost, arm.label)
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def _line(entry: Planned, forecast: Forecast) -> dict[str, object]:
    """What a reader sees of one arm."""
    row = entry.row()
    seconds, memory = forecast.of(entry.run)
    return {
        "rule": row["rule"],
        "phi": _text(row["phi"], "g"),
        "cost": row["cost"],
        "d": f"{row['depth']:.3f}",
        "w": f"{row['width']:.3f}",
        "r": f"{row['resolution']:.3f}",
        "depths": " ".join(map(str, row["depths"])),
        "widths": " ".join(map(str, row["widths"])),
        "px": row["pixels"],
        "MACs": f"{row['macs']:,}",
        "params": f"{row['params']:,}",
        "activations": f"{row['activations']:,}",
        "off direction": "" if row["angle"] is None else f"{row['angle']:.0f}°",
        "off budget": _text(row["budget_error"], "+.1%"),
        "s": _text(seconds, ",.0f"),
        "MiB": _text(memory and memory / 2**20, ",.0f"),
    }


def _text(value: float | None, form: str) -> str:
    """A number in a form; nothing where there is none."""
    return "" if value is None else format(value, form)


def spending(
    wanted: Plan, done: Mapping[str, Record], forecast: Forecast, at_once: int | None
) -> str:
    """What the runs that are left cost, in one line, or what is missing to say so."""
    left = pending(wanted.planned, done)
    predicted = [forecast.seconds(entry.run) for entry in left]
    seconds = [each for each in predicted if each is not None]
    found = next((forecast.basis(entry.run) for entry in wanted.planned), None)
    if found is None and any(entry.run.recipe.from_original for entry in wanted.planned):
        return (
            "seconds and memory: known once one run is done, for images are decoded while it trains"
        )
    if found is None:
        missing = "not calibrated for this device, threads and precision, and no record of them"
        return f"seconds and memory: {missing}; {CALIBRATE}"
    if any(forecast.images(entry.run.data) is None for entry in left):
        way_out = "or state data.train_size and data.evaluation_size"
        return f"seconds and memory: known once the images are decoded, by the first run; {way_out}"
    if len(seconds) < len(left):
        few = f"too few for the {len(left) - len(seconds)} runs of others"
        return f"seconds and memory: {found.told}, {few}; {CALIBRATE}"
    width = at_once or found.at_once
    unit = "GPU-hours" if found.on_gpu else "core-hours"
    hours = sum(seconds) * (1 if found.on_gpu else found.threads) / 3600
    took = duration(wall_clock(seconds, width))
    devices = wanted.execution.devices
    alone = f"; of one device a run: devices={devices} is not predicted" if devices > 1 else ""
    return f"to train: {took} with {width} at once, {hours:,.1f} {unit}; {found.told}{alone}"


def showing(wanted: Plan, done: Mapping[str, Record]) -> str:
    """The smallest difference of two networks that the seeds can show, in one line; in seeds' deviations
    before there are records."""
    from ablation.judge.contrasts import LEVEL  # scipy, only where it is used
    from ablation.judge.power import POWER, detectable

    seeds = _seeds_of_networks(wanted.planned)
    least, networks = min(seeds), len(seeds)
    if least < 2 or networks < 2:
        return "effects: one seed, or one network, shows none"
    ratio = detectable(math.sqrt(2 / least), (networks - 1) * (least - 1))
    told = f"effects: {least} seeds show a difference of two networks from"
    chance = f"(chance {POWER:.0%}, level {1 - LEVEL:.0%})"
    deviation = _deviation(wanted, done) if done else math.nan
    if math.isnan(deviation):
        return f"{told} {ratio:.2f} deviations of a seed on {chance}; no records to measure it"
    measured = f"a deviation of {100 * deviation:.2f} points in {len(done)} records"
    return f"{told} {100 * ratio * deviation:.2f} points on {chance}; from {measured}"


def _deviation(wanted: Plan, done: Mapping[str, Record]) -> float:
    """Of a run, once networks and seeds are taken out; NaN where too few have a record."""
    from ablation.judge.frame import frame, sample  # pandas

    runs, _ = sample(frame(wanted.planned, done))
    return float(runs.deviation)


def _seeds_of_networks(planned: Sequence[Planned]) -> list[int]:
    """How many seeds each network has; arms that share it share its runs."""
    seeds: dict[tuple[str, str, Network | Own], set[int]] = {}
    for entry in planned:
        key = (entry.baseline, entry.setting, entry.run.network)
        seeds.setdefault(key, set()).add(entry.run.seed)
    return [len(each) for each in seeds.values()]
