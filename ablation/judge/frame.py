"""The frame of a study: its plan joined to its records on the run id, and the mean of each network over
seeds."""

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd

from ablation.judge.contrasts import Images, Sample
from ablation.runs.answers import unpacked
from ablation.runs.arms import Planned, names_a_rule
from ablation.runs.measurements import Measurement, step_key
from ablation.runs.records import Record
from ablation.theory.scaling import SINGLE

MEASURED = (
    "accuracy",
    "val_accuracy",
    "train_accuracy",
    "seconds",
    "images_per_second",
    "peak_memory",
    "device",
    "status",
)
# Columns that differ between seeds.
OF_A_RUN = (*MEASURED, "answers", "history", "confirms", "seed", "run_id")
ALONE = ("step_seconds", "step_bytes", "step_device")  # of a network measured by itself
ARM = ("baseline", "setting", "rule", "label")  # the columns that tell one mean from another


def frame(
    planned: Iterable[Planned],
    records: Mapping[str, Record],
    measured: Mapping[str, Measurement] | None = None,
    confirm: Collection[int] = (),
) -> pd.DataFrame:
    """One row per arm and seed: what was planned, what was measured, status `missing` where nothing was.

    A run that several rules share appears once for each. accuracy is that of the evaluation split, or of
    validation where a study keeps that split closed; the column `split` says which. chance: what shuffled
    labels leave, NaN where they were not shuffled. alike: what runs share that differ in nothing but seed and
    number of epochs. answers: which of its images the run got right (ablation.runs.answers), None where its
    record does not say. history: what its record says of each epoch. embedded: the set's name where the
    project makes the images, else "". Parts of a study that differ in baseline, recipe or data are told apart
    by the columns `baseline` and `setting`, so that they are never averaged together. confirms: whether the
    seed is one of `confirm`, which did not suggest the question and is judged by itself.

    measured: what networks cost alone, by step key (see measurements_of). It gives the columns step_seconds,
    step_bytes and step_device, NaN for a network that was not measured; without it there are no such columns.
    A record's own seconds serve only for progress: runs share a machine.
    """
    rows = []
    for entry in planned:
        record = records.get(entry.run.id)
        row = entry.row() | {
            "phi": entry.arm.exponent,
            "label": entry.arm.label,
            "split": "evaluation" if entry.run.evaluate else "validation",
        }
        row |= {name: getattr(record, name) if record else None for name in MEASURED}
        row["accuracy"] = row["accuracy"] if entry.run.evaluate else row["val_accuracy"]
        row["confirms"] = entry.run.seed in confirm
        row["detail"] = entry.run.data.detail or math.nan
        row["chance"] = 1 / entry.run.data.classes if entry.run.data.permuted else math.nan
        row["epochs"] = entry.run.recipe.epochs
        row["alike"] = entry.run.alike
        row["answers"] = record.answers.get(row["split"]) if record else None
        row["history"] = record.history if record else ()
        row["embedded"] = entry.run.data.name if entry.run.data.embedded else ""
        row["status"] = record.status if record else "missing"
        if measured:
            row |= {
                name: getattr(measured.get(step_key(entry.run)), name, math.nan) for name in ALONE
            }
        # Nothing of a network whose stages are not known.
        rows.append(row | {name: str(row[name] or "") for name in ("depths", "widths")})
    table = pd.DataFrame(rows)
    _refuse_mixtures(table)
    return table


def _refuse_mixtures(table: pd.DataFrame) -> None:
    """Raises ValueError where runs of different content would count as seeds of one network."""
    if table.empty:
        return
    runs = table.groupby([*ARM, "phi", "cost", "seed"], sort=False, dropna=False)[
        "run_id"
    ].nunique()
    mixed = runs[runs > 1]
    if len(mixed):
        place = dict(zip(mixed.index.names, mixed.index[0], strict=True))
        raise ValueError(
            f"{place['label']} seed={place['seed']}: {mixed.iloc[0]} different runs have this one name; "
            "tell them apart by a setting of their own, or report on each by itself"
        )


def sample(table: pd.DataFrame) -> tuple[Sample, pd.Series]:
    """The distinct runs of a frame that have an accuracy, and for each of its rows the place of its network
    among theirs.

    Arms that share a run are one network, so that the run counts once. Networks without a run have a place,
    too.
    """
    places: dict[str, int] = {}  # by run
    arms = table.groupby([*ARM, "cost"], sort=False)["run_id"].unique()
    for place, runs in enumerate(arms):
        known = next((places[run] for run in runs if run in places), place)
        places |= dict.fromkeys(runs, known)
    runs = table.drop_duplicates("run_id").dropna(subset="accuracy")
    networks = runs["run_id"].map(places).to_numpy(int)
    seeds = pd.factorize(runs["seed"])[0]
    accuracies = runs["accuracy"].to_numpy(float)
    found = Sample(accuracies, networks, seeds, len(arms), _images(runs))
    return found, table["run_id"].map(places)


def _images(runs: pd.DataFrame) -> Images | None:
    """What runs got right, None where none of them says."""
    if "answers" not in runs or runs["answers"].isna().all():
        return None
    answers = [each if isinstance(each, Mapping) else None for each in runs["answers"]]
    return Images.of([each and (each["images"], unpacked(each)) for each in answers])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: mean accuracy over seeds with a 95 % interval, n, and how many runs diverged or are
    missing.

    Intervals are those of statistics.Sample; low and high are NaN where one seed gives no variance. A
    diverged run counts with the accuracy it has. Intervals are cut at 0 and 1, beyond which no accuracy lies.
    """
    runs, places = sample(table)
    rows = []
    for _, group in table.groupby([*ARM, "phi", "cost"], sort=False, dropna=False):
        mean = runs.mean(places[group.index[0]])
        low, high = (float(np.clip(bound, 0, 1)) for bound in mean.bounds())
        statuses = group["status"].value_counts()
        fixed = group.iloc[0][[name for name in table.columns if name not in OF_A_RUN]].to_dict()
        counts = {name: int(statuses.get(name, 0)) for name in ("diverged", "missing")}
        rows.append(
            fixed | {"mean": float(mean.effect), "low": low, "high": high, "n": mean.n} | counts
        )
    return pd.DataFrame(rows)


def rules_of(summary: pd.DataFrame) -> list[str]:
    """Names of the rules of a study, without explicit coefficients; the single dimensions first."""
    named = [rule for rule in dict.fromkeys(summary["rule"]) if names_a_rule(rule)]
    singles = [rule for rule in SINGLE if rule in named]
    others = [rule for rule in named if rule not in SINGLE]
    return singles + others
