"""Runs as their records tell them: from what lies in a folder back to settings."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablation.runs.checks import build
from ablation.runs.config import Data, Recipe, Run
from ablation.runs.records import Record, read_archive
from ablation.theory.blocks import Stage
from ablation.theory.network import Network
from ablation.theory.own import Own

FIELDS = {field.name for field in dataclasses.fields(Record)}


def trained(runs: Path, **wanted: Any) -> list[tuple[Run, Record]]:
    """Runs of a folder with their records, each once, whose fields have these values. What is no record of
    this version, or of another run than it says, is left out."""
    found = {}
    for row in _rows(runs):
        if all(row.get(name) == value for name, value in wanted.items()):
            pair = _pair(row)
            found |= {pair[0].id: pair} if pair else {}
    return list(found.values())


def _rows(runs: Path) -> Iterator[Mapping[str, Any]]:
    """Plain values of the archive, then of the files, which are newer."""
    with contextlib.suppress(ValueError):  # whoever wants one of its records is told
        yield from read_archive(runs).values()
    for path in runs.glob("*/record.json"):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(values, Mapping):
            yield values


def _pair(row: Mapping[str, Any]) -> tuple[Run, Record] | None:
    """A run and its record; None where a row is not what its id says."""
    try:
        run = run_of(row)
        record = build(Record, {name: value for name, value in row.items() if name in FIELDS})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return (run, record) if run.id == record.run_id else None


def run_of(row: Mapping[str, Any]) -> Run:
    """The run that a record's values are of; raises KeyError, TypeError or ValueError where they are of
    none."""
    config = row["config"]
    network = config["network"]
    return Run(
        network_of(network) if "stages" in network else Own(**network),
        Recipe(**config["recipe"]),
        Data(**config["data"]),
        row["seed"],
        config["evaluate"],
    )


def network_of(values: Mapping[str, Any]) -> Network:
    """The network among values as JSON has them, beside which others may stand; raises KeyError, TypeError or
    ValueError where there is none."""
    stages = tuple(build(Stage, row) for row in values["stages"])
    names = [field.name for field in dataclasses.fields(Network) if field.name in values]
    return build(Network, {name: values[name] for name in names} | {"stages": stages})
