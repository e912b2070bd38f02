"""A study becomes a list of runs: arms x phis x seeds, each with the network that its rule asks for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablation.runs.checks import counted, one_of
from ablation.runs.config import Data, Recipe, Run
from ablation.runs.records import Record
from ablation.theory.baselines import Baseline
from ablation.theory.cost import cost, training_flops
from ablation.theory.matching import Point, matched, nominal
from ablation.theory.own import OwnBaseline
from ablation.theory.scaling import Coefficients, Rule


def names_a_rule(name: str) -> bool:
    """Whether an arm of this name follows a rule: explicit coefficients and released networks do not."""
    return name != "coefficients" and not name.startswith("published")


@dataclass(frozen=True)
class Arm:
    """One request for a network: a rule at phi, at nominal or matched cost, or explicit coefficients (then
    phi is None)."""

    name: str
    cost: str
    rule: Rule | None = None
    phi: float | None = None
    coefficients: Coefficients | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"scaling.name={self.name}: a rule needs a name; give it one")
        if self.rule and not names_a_rule(self.name):
            raise ValueError(
                f"scaling.name={self.name}: that is how networks without a rule are called; choose another"
            )

    def point(self, baseline: Baseline | OwnBaseline) -> Point:
        """The network this arm builds from `baseline`; raises ValueError where there is none."""
        if self.coefficients is not None:
            return nominal(baseline, self.coefficients)
        assert self.rule is not None and self.phi is not None
        return (
            matched(baseline, self.rule, self.phi)
            if self.cost == "matched"
            else nominal(baseline, self.rule.at(self.phi), 2.0**self.phi)
        )

    @property
    def exponent(self) -> float | None:
        """phi; of coefficients under a rule's name log2(d w^2 r^2), the phi that costs nominally as much;
        None for plain coefficients."""
        if self.coefficients is None or self.name == "coefficients":
            return self.phi
        c = self.coefficients
        return math.log2(c.depth * c.width**2 * c.resolution**2)

    @property
    def label(self) -> str:
        """What people call it: `baseline`, `compound phi=2`, or the coefficients."""
        if self.coefficients is not None:
            c = self.coefficients
            return (
                "baseline"
                if c == Coefficients()
                else f"{self.name} d={c.depth:.3g} w={c.width:.3g} r={c.resolution:.3g}"
            )
        return "baseline" if self.phi == 0 else f"{self.name} phi={self.phi:g}"


@dataclass(frozen=True)
class Planned:
    """A run and its place in a study: the arm that asks for it and the network it got from the named
    baseline.

    setting: how this part of the study differs from its others in recipe or data, "" where there is one part.
    origin: the baseline itself.
    """

    arm: Arm
    point: Point
    run: Run
    baseline: str
    setting: str = ""
    origin: Baseline | OwnBaseline | None = None

    def scaled(self, times: float) -> "Planned":
        """What its rule builds at so many times the baseline's multiply-adds, counted; raises ValueError
        where there is no such network, or it takes more pixels than the images have."""
        assert self.origin is not None
        arm = replace(self.arm, cost="matched", phi=math.log2(times))
        point = arm.point(self.origin)
        data = self.run.data.seen_at(point.network.pixels)
        run = replace(self.run, network=point.network, data=data)
        return replace(self, arm=arm, point=point, run=run)

    @property
    def label(self) -> str:
        """What people call it: arm, seed and setting."""
        return f"{self.arm.label} seed={self.run.seed}" + (
            f" ({self.setting})" if self.setting else ""
        )

    @property
    def rule(self) -> str:
        """The name of its rule; `baseline` where that has not begun, which every rule shares."""
        return "baseline" if self.arm.label == "baseline" else self.arm.name

    @property
    def work(self) -> int:
        """Training FLOPs, the unit of progress."""
        images = self.run.data.train_size or 1
        return training_flops(self.run.network, images * self.run.recipe.epochs)

    def row(self) -> dict[str, Any]:
        """One row of a plan, in plain values."""
        counted = cost(self.run.network)
        real = self.point.realised
        network = self.run.network
        rule = self.arm.rule
        return {
            "baseline": self.baseline,
            "setting": self.setting,
            "rule": self.arm.name,
            "phi": self.arm.phi,
            "cost": self.arm.cost,
            "alpha": rule and rule.alpha,
            "beta": rule and rule.beta,
            "gamma": rule and rule.gamma,
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
            "angle": self.point.angle,
            "seed": self.run.seed,
            "run_id": self.run.id,
            **({"start_share": self.run.init.share} if self.run.init else {}),
        }


def expand(
    baseline: Baseline | OwnBaseline,
    arms: Iterable[Arm],
    recipe: Recipe,
    data: Data,
    seeds: Iterable[int],
    evaluate: bool = True,
    equal: str = "epochs",
    setting: str = "",
) -> list[Planned]:
    """Every arm with every seed; equal networks share a run id.

    equal: what the arms spend alike, `epochs` or training `flops` (then a network of twice the MACs trains
    for half the epochs). Raises ValueError for the first arm that cannot be built, that equal FLOPs leave no
    time to train, or whose dropout grows beyond 1.
    """
    one_of("equal", equal, ("epochs", "flops"))
    baseline = baseline.of(data.classes)
    planned = []
    for arm, point in [(arm, arm.point(baseline)) for arm in arms]:
        ratio = cost(point.network).macs / cost(baseline.network).macs
        grown = _grown(recipe, ratio)
        own = grown if equal == "epochs" else _at_equal_flops(grown, ratio)
        runs = [
            Run(point.network, own, data.seen_at(point.network.pixels), seed, evaluate)
            for seed in seeds
        ]
        planned += [Planned(arm, point, run, baseline.name, setting, baseline) for run in runs]
    return planned


def _grown(recipe: Recipe, ratio: float) -> Recipe:
    """The recipe for a network of `ratio` times the baseline's MACs, its dropout stated: at one cost every
    rule has the same."""
    if not recipe.dropout_growth:
        return recipe
    dropout = max(0.0, round(recipe.dropout + recipe.dropout_growth * math.log2(ratio), 4))
    if dropout >= 1:
        raise ValueError(
            f"recipe.dropout_growth={recipe.dropout_growth:g}: makes a dropout of {dropout:g} at {ratio:.3g} "
            "times the baseline's MACs; take less"
        )
    return replace(recipe, dropout=dropout, dropout_growth=0.0)


def _at_equal_flops(recipe: Recipe, ratio: float) -> Recipe:
    """The recipe for a network of `ratio` times the baseline's MACs: as many training FLOPs, in whole
    epochs."""
    epochs = round(recipe.epochs / ratio)
    if epochs <= recipe.warmup_epochs:
        raise ValueError(
            f"equal=flops: recipe.epochs={recipe.epochs} of the baseline make {counted(epochs, 'epoch')} at "
            f"{ratio:.3g} times its MACs, not more than the "
            f"warm-up of {recipe.warmup_epochs:g}; take more epochs or a smaller phi"
        )
    return replace(recipe, epochs=epochs)


def grows(planned: Iterable[Planned]) -> bool:
    """Whether dropout differs between networks of one baseline and setting, so that arms differ in recipe."""
    rates = {(entry.baseline, entry.setting, entry.run.recipe.dropout) for entry in planned}
    return len(rates) > len({(baseline, setting) for baseline, setting, _ in rates})


def pending(planned: Iterable[Planned], done: Mapping[str, Record]) -> list[Planned]:
    """What is left to train: one entry per run id without a record, the costliest first so that none starts
    last."""
    left = {entry.run.id: entry for entry in reversed(list(planned)) if entry.run.id not in done}
    return sorted(left.values(), key=lambda entry: (-cost(entry.run.network).macs, entry.run.seed))


def twins(planned: Iterable[Planned]) -> list[tuple[str, ...]]:
    """Labels of different arms that build the same network; phi=0 is the same by definition and not named."""
    names: dict[str, dict[str, None]] = {}
    for entry in planned:
        names.setdefault(entry.run.id, {})[entry.arm.label] = None
    return sorted({tuple(labels) for labels in names.values() if len(labels) > 1})


def starts(planned: Sequence[Planned]) -> list[str]:
    """What networks start from where that is not drawn, in a sentence for each file and setting; it says so
    where arms do not start alike."""
    groups: dict[tuple[str, str, str], list[Planned]] = {}
    for entry in planned:
        if entry.run.init:
            place = (entry.baseline, entry.setting, entry.run.init.digest)
            groups.setdefault(place, []).append(entry)
    several = len({(entry.baseline, entry.setting) for entry in planned}) > 1
    return [
        (f"{baseline}, {setting}: " if several else "") + _started(entries)
        for (baseline, setting, _), entries in groups.items()
    ]


def _started(entries: Sequence[Planned]) -> str:
    """What the networks of one file and setting hold of it."""
    inits = [entry.run.init for entry in entries if entry.run.init]
    source = f"{inits[0].source} (SHA-256 {inits[0].digest[:12]})"
    seeds = "seeds do not vary these weights, so intervals speak of them alone"
    if all(init.whole for init in inits):
        drawn = "" if all(init.classifier for init in inits) else " but for their classifiers"
        return f"all networks start from {source}{drawn}; {seeds}"
    shares: dict[str, list[float]] = {}
    for entry, init in zip(entries, inits, strict=True):
        shares.setdefault(entry.rule, []).append(init.share)
    told = ", ".join(f"{name} {_range(found)}" for name, found in shares.items())
    return (
        f"networks start from {source} with so much of their parameters: {told}; the rest is drawn. They "
        f"do not start alike: findings compare their starts as well as their rules; {seeds}"
    )


def _range(shares: Sequence[float]) -> str:
    low, high = (f"{share:.1%}" for share in (min(shares), max(shares)))
    return low if low == high else f"{low} to {high}"
