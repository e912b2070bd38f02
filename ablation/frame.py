"""The frame of a study: its plan joined to its records on the run id, and the mean of each network over seeds."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ablation.measurements import Measurement, step_key
from ablation.records import Record
from ablation.statistics import interval, pooled
from ablation.study import Planned

MEASURED = ("accuracy", "val_accuracy", "train_accuracy", "seconds", "images_per_second", "peak_memory", "device", "status")
ALONE = ("step_seconds", "step_bytes", "step_device")  # of a network measured by itself
ARM = ("baseline", "setting", "rule", "label")  # the columns that tell one mean from another


def frame(planned: Iterable[Planned], records: Mapping[str, Record], measured: Mapping[str, Measurement] | None = None) -> pd.DataFrame:
    """One row per arm and seed: what was planned, what was measured, status `missing` where nothing was.

    A run that several rules share appears once for each. accuracy is that of the evaluation split, or of validation where a study keeps
    that split closed; the column `split` says which. Parts of a study that differ in baseline, recipe or data are told apart by the
    columns `baseline` and `setting`, so that they are never averaged together.

    measured: what networks cost alone, by step key (see measurements_of). It gives the columns step_seconds, step_bytes and step_device,
    NaN for a network that was not measured; without it there are no such columns. A record's own seconds serve only for progress: runs
    share a machine.
    """
    rows = []
    for entry in planned:
        record = records.get(entry.run.id)
        row = entry.row() | {"phi": entry.arm.exponent, "label": entry.arm.label, "split": "evaluation" if entry.run.evaluate else "validation"}
        row |= {name: getattr(record, name) if record else None for name in MEASURED}
        row["accuracy"] = row["accuracy"] if entry.run.evaluate else row["val_accuracy"]
        row["status"] = record.status if record else "missing"
        if measured:
            row |= {name: getattr(measured.get(step_key(entry.run)), name, math.nan) for name in ALONE}
        rows.append(row | {"depths": str(row["depths"]), "widths": str(row["widths"])})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: mean accuracy over seeds with a 95 % interval, n, and how many runs diverged or are missing.

    The seed variance is pooled over the distinct networks of the frame. low and high are NaN where one seed gives no variance.
    A diverged run counts with the accuracy it has. Intervals are cut at 0 and 1, beyond which no accuracy lies.
    """
    measured = table[table["accuracy"].notna()]
    seen: set[str] = set()  # a run that several rules share counts once
    groups = []
    for _, group in measured.groupby(list(ARM), sort=False):
        if not set(group["run_id"]) & seen:
            groups.append(group["accuracy"].to_numpy(float))
        seen |= set(group["run_id"])
    spread = pooled(groups)
    rows = []
    for _, group in table.groupby([*ARM, "phi", "cost"], sort=False, dropna=False):
        values = group["accuracy"].dropna().to_numpy(float)
        middle = interval(values, spread)
        statuses = group["status"].value_counts()
        fixed = group.iloc[0][[name for name in table.columns if name not in (*MEASURED, "seed", "run_id")]].to_dict()
        rows.append(
            fixed
            | {"mean": middle.mean, "low": np.clip(middle.low, 0, 1), "high": np.clip(middle.high, 0, 1), "n": len(values)}
            | {name: int(statuses.get(name, 0)) for name in ("diverged", "missing")}
        )
    return pd.DataFrame(rows)
