"""Show what a command would train and what that costs, and train nothing: same overrides as ablation.run, and format=table or format=json.

Seconds and memory need a calibration of the device, once: python -m ablation.bench calibrate

python -m ablation.plan study=quick
python -m ablation.plan -m cost=matched scaling=depth,compound phi=0,1,2 format=json
"""

import json
import math
from collections.abc import Mapping, Sequence

from hydra import compose
from tabulate import tabulate

from ablation.command.planning import Plan, plan
from ablation.door import door
from ablation.measure.forecast import Forecast, wall_clock
from ablation.runs.arms import Planned, pending, twins
from ablation.runs.records import Record, read_records
from ablation.theory.network import Network


def rows(wanted: Plan, done: dict[str, Record]) -> list[dict[str, object]]:
    """One plain mapping per run, as format=json prints them."""
    forecast = Forecast(wanted)
    predicted = (dict(zip(("predicted_seconds", "predicted_memory"), forecast.of(entry.run), strict=True)) for entry in wanted.planned)
    return [entry.row() | {"done": entry.run.id in done} | costs for entry, costs in zip(wanted.planned, predicted, strict=True)]


def table(wanted: Plan, done: dict[str, Record], at_once: int | None = None) -> str:
    """One line per arm, seeds counted; then what all cost, with so many runs at once, and what they can show."""
    forecast = Forecast(wanted)
    lines: dict[str, list[object]] = {}
    differing = [name for name in ("baseline", "setting") if len({getattr(entry, name) for entry in wanted.planned}) > 1]
    for entry in wanted.planned:
        row = entry.row()
        key = f"{entry.baseline} {entry.setting} {entry.arm.name} {entry.arm.cost} {entry.arm.label}"
        error = "" if row["budget_error"] is None else f"{row['budget_error']:+.1%}"
        phi = "" if row["phi"] is None else f"{row['phi']:g}"
        part = [row[name] for name in differing]
        fixed = [*part, row["rule"], phi, row["cost"], f"{row['depth']:.3f}", f"{row['width']:.3f}", f"{row['resolution']:.3f}"]
        built = [" ".join(map(str, row["depths"])), " ".join(map(str, row["widths"])), row["pixels"]]
        counts = [f"{row[name]:,}" for name in ("macs", "params", "activations")]
        line = lines.setdefault(key, [*fixed, *built, *counts, error, *_in_words(*forecast.of(entry.run)), 0, 0])
        line[-2] += 1  # type: ignore[operator]
        line[-1] += entry.run.id in done  # type: ignore[operator]
    names = [
        *differing,
        *["rule", "phi", "cost", "d", "w", "r", "depths", "widths", "px", "MACs", "params", "activations"],
        *["off budget", "s", "MiB"],
        "runs",
        "done",
    ]
    count = len({entry.run.id for entry in wanted.planned})
    notes = [f"{wanted.name}: {count} distinct runs, {len(done)} done, {count - len(done)} to train"]
    notes += [wanted.follows] if wanted.follows else []
    notes += [spending(wanted, done, forecast, at_once), showing(wanted, done)]
    same = [f"same network: {' = '.join(labels)}" for labels in twins(wanted.planned)]
    return "\n".join([tabulate(lines.values(), headers=names, disable_numparse=True), *notes, *same])


def _in_words(seconds: float | None, memory: float | None) -> tuple[str, str]:
    return ("", "") if seconds is None or memory is None else (f"{seconds:,.0f}", f"{memory / 2**20:,.0f}")


def spending(wanted: Plan, done: Mapping[str, Record], forecast: Forecast, at_once: int | None) -> str:
    """What the runs that are left cost, in one line, or what is missing to say so."""
    left = pending(wanted.planned, done)
    seconds = [each for each, _ in (forecast.of(entry.run) for entry in left) if each is not None]
    found = next((forecast.calibration(entry.run) for entry in wanted.planned), None)
    if found is None:
        return "seconds and memory: not calibrated for this device, threads and precision; python -m ablation.bench calibrate, a minute, once"
    if len(seconds) < len(left):
        return "seconds and memory: known once the images are decoded, by the first run; or state data.train_size and data.evaluation_size"
    width = at_once or found.at_once
    unit = "GPU-hours" if found.on_gpu else "core-hours"
    hours = sum(seconds) * (1 if found.on_gpu else found.threads) / 3600
    total = f"to train: {duration(wall_clock(seconds, width))} with {width} at once, {hours:,.1f} {unit}"
    return f"{total}; as calibrated on {found.device}, threads={found.threads}, {found.at_once} at once, {found.measured[:10]}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds < 3600 else f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def showing(wanted: Plan, done: Mapping[str, Record]) -> str:
    """The smallest difference of two networks that the seeds can show, in one line; in seeds' deviations before there are records."""
    from ablation.judge.contrasts import LEVEL, POWER, detectable  # scipy, only where it is used

    seeds = [len({entry.run.seed for entry in group}) for group in _networks(wanted.planned)]
    least, networks = min(seeds), len(seeds)
    if least < 2 or networks < 2:
        return "effects: one seed, or one network, shows none"
    ratio = detectable(math.sqrt(2 / least), (networks - 1) * (least - 1))
    chance = f"(chance {POWER:.0%}, level {1 - LEVEL:.0%})"
    deviation = _deviation(wanted, done) if done else math.nan
    if math.isnan(deviation):
        return f"effects: {least} seeds show a difference of two networks from {ratio:.2f} deviations of a seed on {chance}; no records to measure it"
    measured = f"a deviation of {100 * deviation:.2f} points in {len(done)} records"
    return f"effects: {least} seeds show a difference of two networks from {100 * ratio * deviation:.2f} points on {chance}; from {measured}"


def _deviation(wanted: Plan, done: Mapping[str, Record]) -> float:
    """Of a run, once networks and seeds are taken out; NaN where too few have a record."""
    from ablation.judge.frame import frame, sample  # pandas

    return float(sample(frame(wanted.planned, done))[0].deviation)


def _networks(planned: Sequence[Planned]) -> list[list[Planned]]:
    """Runs that differ in their seed alone."""
    groups: dict[tuple[str, str, Network], dict[str, Planned]] = {}
    for entry in planned:
        groups.setdefault((entry.baseline, entry.setting, entry.run.network), {})[entry.run.id] = entry
    return [list(group.values()) for group in groups.values()]


def main() -> None:
    """Entry point."""
    door(__doc__, show)


def show(words: list[str], multirun: bool) -> None:
    """Print the plan of the overrides."""
    wanted = plan(words)
    done = read_records(wanted.execution.runs, (entry.run for entry in wanted.planned))
    print(json.dumps(rows(wanted, done), indent=1) if wanted.format == "json" else table(wanted, done, runs_at_once(words)))


def runs_at_once(words: Sequence[str]) -> int | None:
    """Of the chosen launcher; None where it fits them to the machine."""
    chosen = [word for word in words if word.startswith("hydra")]
    launcher = compose("config", chosen, return_hydra_config=True).hydra.launcher
    return launcher.get("n_jobs") or launcher.get("array_parallelism")


if __name__ == "__main__":
    main()
