"""A study becomes a list of runs: arms x phis x seeds, each with the network that its rule asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablation.baselines import Baseline
from ablation.config import Data, Recipe, Run
from ablation.cost import Point, cost, matched, nominal, training_flops
from ablation.records import Record
from ablation.scaling import Coefficients, Rule


@dataclass(frozen=True)
class Arm:
    """One request for a network: a rule at phi, at nominal or matched cost, or explicit coefficients (then phi is None)."""

    name: str
    cost: str
    rule: Rule | None = None
    phi: float | None = None
    coefficients: Coefficients | None = None

    def point(self, baseline: Baseline) -> Point:
        """The network this arm builds from `baseline`; raises ValueError where there is none."""
        if self.coefficients is not None:
            return nominal(baseline, self.coefficients)
        assert self.rule is not None and self.phi is not None
        return matched(baseline, self.rule, self.phi) if self.cost == "matched" else nominal(baseline, self.rule.at(self.phi), 2.0**self.phi)

    @property
    def label(self) -> str:
        """What people call it: `baseline`, `compound phi=2`, or the coefficients."""
        if self.coefficients is not None:
            c = self.coefficients
            return "baseline" if c == Coefficients() else f"{self.name} d={c.depth:.3g} w={c.width:.3g} r={c.resolution:.3g}"
        return "baseline" if self.phi == 0 else f"{self.name} phi={self.phi:g}"


@dataclass(frozen=True)
class Planned:
    """A run and its place in a study: the arm that asks for it and the network it got."""

    arm: Arm
    point: Point
    run: Run

    @property
    def label(self) -> str:
        return f"{self.arm.label} seed={self.run.seed}"

    @property
    def work(self) -> int:
        """Training FLOPs, the unit of progress."""
        images = self.run.data.train_size or 1
        return training_flops(self.run.network, images * self.run.recipe.epochs)

    def row(self) -> dict[str, Any]:
        """One row of a plan, in plain values."""
        counted, real, network = cost(self.run.network), self.point.realised, self.run.network
        return {
            "rule": self.arm.name,
            "phi": self.arm.phi,
            "cost": self.arm.cost,
            "depth": real.depth,
            "width": real.width,
            "resolution": real.resolution,
            "depths": list(network.layers),
            "widths": list(network.widths),
            "pixels": network.pixels,
            "macs": counted.macs,
            "params": counted.params,
            "activations": counted.activations,
            "budget": self.point.budget,
            "budget_error": self.point.budget_error,
            "seed": self.run.seed,
            "run_id": self.run.id,
        }


def expand(baseline: Baseline, arms: Iterable[Arm], recipe: Recipe, data: Data, seeds: Iterable[int], evaluate: bool = True) -> list[Planned]:
    """Every arm with every seed; equal networks share a run id. Raises ValueError for the first arm that cannot be built."""
    baseline = replace(baseline, network=replace(baseline.network, classes=data.classes))
    points = [(arm, arm.point(baseline)) for arm in arms]
    return [Planned(arm, point, Run(point.network, recipe, data, seed, evaluate)) for arm, point in points for seed in seeds]


def pending(planned: Iterable[Planned], done: Mapping[str, Record]) -> list[Planned]:
    """What is left to train: one entry per run id without a record, the costliest first so that none starts last."""
    left = {entry.run.id: entry for entry in reversed(list(planned)) if entry.run.id not in done}
    return sorted(left.values(), key=lambda entry: (-cost(entry.run.network).macs, entry.run.seed))


def twins(planned: Iterable[Planned]) -> list[tuple[str, ...]]:
    """Labels of different arms that build the same network; phi=0 is the same by definition and not named."""
    names: dict[str, dict[str, None]] = {}
    for entry in planned:
        names.setdefault(entry.run.id, {})[entry.arm.label] = None
    return sorted({tuple(labels) for labels in names.values() if len(labels) > 1})
