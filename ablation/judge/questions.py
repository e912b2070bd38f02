"""What is asked of a study: quantities and questions as weights on the mean accuracies of its networks, and
the scopes, one baseline in one setting, that answer them.

Accuracies are in points, hundredths.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ablation.judge.contrasts import Estimate, Floats, Sample
from ablation.judge.frame import ARM, sample
from ablation.runs.arms import names_a_rule

# A network farther from its rule's direction, in degrees, is not that rule's: at 15 a quarter of its growth
# goes across. The smallest compound networks are 20 to 30 off, where a block or a few pixels are all that
# fits.
MOST_ANGLE = 15.0


@dataclass(frozen=True)
class Entrant:
    """A network as one arm of the study asks for it: a row of the frame without its seed.

    phi and budget are NaN where there is none, step_seconds and step_bytes where nobody measured them alone.
    angle: degrees between what was asked for and what was built (theory.matching.Point). detail: side in
    pixels that its images were reduced to, NaN where they were not. place: of its network in the sample.
    diverged, missing: counts of its runs. alike: what networks share that differ in nothing but their number
    of epochs. learning: whether the same is told to do better with twice the epochs. chance: the accuracy
    that labels without meaning leave, a fraction; NaN where they have one.
    """

    baseline: str
    setting: str
    rule: str
    label: str
    cost: str
    phi: float
    budget: float
    depth: float
    width: float
    resolution: float
    depths: str
    widths: str
    pixels: int
    macs: int
    activations: int
    place: int
    diverged: int
    missing: int
    angle: float = math.nan
    detail: float = math.nan
    epochs: float = math.nan
    alike: str = ""
    learning: bool = False
    chance: float = math.nan
    step_seconds: float = math.nan
    step_bytes: float = math.nan
    step_device: str = ""
    params: int = 0

    @property
    def off_direction(self) -> bool:
        """Whether rounding to whole layers, channels and pixels made another rule's network of it."""
        return names_a_rule(self.rule) and self.angle > MOST_ANGLE

    @property
    def built(self) -> tuple[str, str, int, int, int]:
        """What tells one built network from another; of a function's the stages are not known."""
        return self.depths, self.widths, self.pixels, self.macs, self.activations


@dataclass(frozen=True)
class Quantity:
    """A sum of weights (networks,) x mean accuracies, and its name: a mean, or a gain, whose weights sum to
    0."""

    name: str
    weights: Floats

    def told(self, sample: Sample) -> str:
        """Name and value, means in per cent and gains in points."""
        value = self.value(sample)
        if math.isnan(value):
            return f"{self.name}: no run"
        is_mean = self.weights.sum() > 0.5
        return f"{self.name}: {value:.1f} %" if is_mean else f"{self.name}: {value:+.2f}"

    def value(self, sample: Sample) -> float:
        """NaN where a network has no run."""
        return float(sample.contrast(self.weights).effect)


@dataclass(frozen=True)
class Known:
    """A number that nobody has to measure, in points."""

    name: str
    number: float

    @property
    def weights(self) -> float:
        """On mean accuracies, of which it depends on none."""
        return 0.0

    def told(self, sample: Sample) -> str:
        """Name and value."""
        return f"{self.name}: {self.number:.1f} %"

    def taken_from(self, estimate: Estimate) -> Estimate:
        """How far an estimate lies above it."""
        return replace(estimate, effect=estimate.effect - self.number)


@dataclass(frozen=True)
class Question:
    """By how much does one quantity exceed another, or a known number? caution: what a reader of the answer
    should know. directed: whether it is about rules, so that a network off its rule's direction cannot answer
    it."""

    subject: str
    one: Quantity
    other: Quantity | Known
    caution: str = ""
    directed: bool = True

    @property
    def weights(self) -> Floats:
        """One minus the other."""
        return self.one.weights - self.other.weights

    def estimate(self, sample: Sample) -> Estimate:
        """The difference."""
        found = sample.contrast(self.weights)
        return found if isinstance(self.other, Quantity) else self.other.taken_from(found)

    def uses(self, place: int) -> bool:
        """Whether the network at this place of the sample is compared."""
        uses = [
            each.weights[place] for each in (self.one, self.other) if isinstance(each, Quantity)
        ]
        return any(uses)


@dataclass(frozen=True)
class Asked:
    """What a claim asks of a scope.

    questions: a family. chains: their places, each chain in the order in which it is tested; none: every
    question is one. together: by subject the places of questions that the claim says hold together.
    impossible: comparisons that the frame cannot make, with the reason.
    """

    questions: Sequence[Question]
    chains: Sequence[Sequence[int]] = ()
    together: Mapping[str, Sequence[int]] = field(default_factory=dict)
    impossible: Mapping[str, str] = field(default_factory=dict)

    @property
    def largest(self) -> Sequence[Question]:
        """The questions of the last that hold together, at the largest cost."""
        places = list(self.together.values())[-1] if self.together else []
        return [self.questions[place] for place in places]


@dataclass(frozen=True, eq=False)
class Scope:
    """The arms of one baseline in one setting and at one kind of cost, and the sample of the whole study in
    points; log_errors: the same as minus the natural logarithm of the error; validation: the accuracies on
    validation images, in points, which say what is chosen and never what is judged."""

    baseline: str
    setting: str
    cost: str
    arms: Sequence[Entrant]
    sample: Sample
    log_errors: Sample
    validation: Sample

    @cached_property
    def base(self) -> Entrant | None:
        """The baseline; None where the study leaves it out."""
        return next((arm for arm in self.arms if arm.label == "baseline"), None)

    @property
    def has_runs(self) -> bool:
        """Whether any of its networks has one."""
        return any(self.sample.runs[arm.place] for arm in self.arms)

    def mean(self, arm: Entrant, name: str) -> Quantity:
        """An arm's mean accuracy."""
        return Quantity(name, np.eye(self.sample.count)[arm.place])

    def gain(self, small: Entrant, large: Entrant, name: str, doublings: float = 1.0) -> Quantity:
        """What one arm gains over another, in all or per doubling."""
        difference = self.mean(large, name).weights - self.mean(small, name).weights
        return Quantity(name, difference / doublings)

    def points(self, rule: str, beyond: float = 0.0) -> list[Entrant]:
        """A rule's arms beyond a phi, in order of cost."""
        own = [arm for arm in self.arms if arm.rule == rule and arm.phi > beyond]
        return sorted(own, key=macs_of)

    @property
    def rules(self) -> list[str]:
        """The rules that have points beyond the baseline, as the study names them."""
        return list(dict.fromkeys(arm.rule for arm in self.arms if arm.phi > 0))

    def at(self, arm: Entrant) -> str:
        """The cost of an arm in multiples of the baseline's: as promised where matched, else as counted; in
        MACs for want of a baseline."""
        base = self.base.macs if self.base else math.nan
        times = arm.budget if arm.cost == "matched" else arm.macs / base
        return f"at {arm.macs:.3g} MACs" if math.isnan(times) else f"at {times:.3g}x"


def macs_of(arm: Entrant) -> int:
    """Multiply-adds of an arm, by which arms are put in order."""
    return arm.macs


def scopes(frame: pd.DataFrame) -> list[Scope]:
    """The parts of a frame that are asked each by itself. The baseline belongs to both kinds of cost."""
    runs, places = sample(frame)
    points = in_points(runs)
    log_errors = in_log_errors(runs)
    on_validation, _ = sample(
        frame.assign(accuracy=frame.get("val_accuracy", math.nan), answers=None)
    )
    validation = in_points(on_validation)
    parts = []
    for (baseline, setting), rows in _arms(frame, places).groupby(
        ["baseline", "setting"], sort=False
    ):
        scaled = rows["label"] != "baseline"
        chosen = rows[scaled] if scaled.any() else rows
        for cost in chosen["cost"].unique():
            own = rows[~scaled | (rows["cost"] == cost)]
            parts.append(
                Scope(baseline, setting, cost, _entrants(own), points, log_errors, validation)
            )
    return parts


def in_points(runs: Sample) -> Sample:
    """Accuracies, fractions of 1, in hundredths."""
    images = runs.images and runs.images.scaled(np.full(len(runs.networks), 100.0))
    return replace(runs, values=100 * runs.values, images=images)


ASSUMED = 1000  # images behind an accuracy whose record does not say how many


def in_log_errors(runs: Sample) -> Sample:
    """Minus the natural logarithm of the error, (wrong + 1/2) / (images + 1), so that more is better here,
    too; over images by the slope of the logarithm."""
    counts = runs.images.counts if runs.images else np.zeros(len(runs.networks), int)
    counts = np.where(counts > 0, counts, ASSUMED)
    errors = ((1 - runs.values) * counts + 0.5) / (counts + 1)
    images = runs.images and runs.images.scaled(1 / errors)
    return replace(runs, values=-np.log(errors), images=images)


def _arms(frame: pd.DataFrame, places: pd.Series) -> pd.DataFrame:
    """One row for each arm, with the place of its network and its faults counted."""
    key = [*ARM, "cost"]
    columns = [frame[name] for name in key]
    counted = {
        fault: (frame["status"] == fault).groupby(columns).transform("sum")
        for fault in ("diverged", "missing")
    }
    arms = frame.assign(place=places, **counted).drop_duplicates(key)
    return arms.astype({"phi": float, "budget": float, "angle": float})


def _entrants(rows: pd.DataFrame) -> list[Entrant]:
    names = [field.name for field in fields(Entrant) if field.name in rows]
    return [Entrant(**row) for row in rows[names].to_dict("records")]
