"""What a budget buys: of each rule of a plan the trained networks within a limit, and the one beside them
that fills it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablation.runs.arms import Planned, names_a_rule
from ablation.runs.checks import within
from ablation.runs.config import Run
from ablation.theory.cost import cost
from ablation.theory.matching import TOLERANCE

# What can be limited, and its unit.
AXES = {
    "times": "times the baseline's FLOPs",
    "macs": "multiply-adds",
    "params": "parameters",
    "activations": "activations",
    "step_seconds": "seconds a training step",
}
# Of a rule's networks for a limit that is not of multiply-adds: how many are looked at in each doubling of
# cost, and up to how many doublings past its largest trained one.
STEPS, BEYOND = 8, 1.0

Measure = Callable[[Run], float]


@dataclass(frozen=True)
class Budget:
    """A limit on one of AXES. baseline, setting: of a study of several, which.

    Raises ValueError unless exactly one limit is set, above 0.
    """

    times: float | None = None
    macs: float | None = None
    params: float | None = None
    activations: float | None = None
    step_seconds: float | None = None
    baseline: str = ""
    setting: str = ""

    def __post_init__(self) -> None:
        given = [name for name in AXES if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} at once" if given else "no limit"
            ways = ", ".join(f"budget.{name}=..." for name in AXES)
            raise ValueError(f"budget: {said}; give one of {ways}")
        within(f"budget.{self.axis}", self.limit, 1e-9)

    @property
    def axis(self) -> str:
        """Which of AXES is limited."""
        return next(name for name in AXES if getattr(self, name) is not None)

    @property
    def limit(self) -> float:
        """The most of it."""
        return float(getattr(self, self.axis))

    @property
    def slack(self) -> float:
        """What counts as within: networks meet a budget of multiply-adds within matching.TOLERANCE, any other
        limit holds."""
        return self.limit * (1 + TOLERANCE) if self.axis in ("times", "macs") else self.limit


def measure(budget: Budget, baseline: int, step_seconds: Measure) -> Measure:
    """What a run takes of the budget's axis; baseline: multiply-adds of the baseline."""
    counted: Mapping[str, Measure] = {
        "times": lambda run: cost(run.network).macs / baseline,
        "macs": lambda run: cost(run.network).macs,
        "params": lambda run: cost(run.network).params,
        "activations": lambda run: cost(run.network).activations,
        "step_seconds": step_seconds,
    }
    return counted[budget.axis]


def baseline_macs(entry: Planned) -> int:
    """Multiply-adds of the baseline that a planned network was scaled from."""
    assert entry.origin is not None
    return cost(entry.origin.network).macs


def affordable(
    planned: Iterable[Planned], budget: Budget, step_seconds: Measure
) -> tuple[dict[str, list[Planned]], dict[str, str]]:
    """By rule the networks within the budget, those of these runs and one beside them where none of them
    fills it; and for each rule without one the reason. Networks of plain coefficients stand for themselves,
    by their labels."""
    rows: dict[str, dict[str, Planned]] = {}
    for entry in planned:
        name = entry.arm.name if names_a_rule(entry.arm.name) else entry.arm.label
        rows.setdefault(name, {}).setdefault(entry.arm.label, entry)
    found, absent = {}, {}
    for name, networks in rows.items():
        own = list(networks.values())
        spent = measure(budget, baseline_macs(own[0]), step_seconds)
        bought = [entry for entry in own if spent(entry.run) <= budget.slack]
        filled = any(spent(entry.run) >= budget.limit * (1 - TOLERANCE) for entry in bought)
        reason = "its networks take more"
        if not filled and own[0].arm.rule:
            built, reason = _filling(own, budget, spent)
            bought += [built] if built else []
        if bought:
            found[name] = bought
        else:
            absent[name] = reason
    return found, absent


def _filling(own: Sequence[Planned], budget: Budget, spent: Measure) -> tuple[Planned | None, str]:
    """The costliest network of a rule within the budget, or why there is none."""
    reason = "its networks take more"
    for times in _costs(own, budget):
        try:
            built = own[0].scaled(times)
        except ValueError as error:
            reason = str(error)
            continue
        if spent(built.run) <= budget.slack:
            return built, ""
    return None, reason


def _costs(own: Sequence[Planned], budget: Budget) -> list[float]:
    """Multiples of the baseline's cost at which a network may fill the budget, the largest first."""
    base = baseline_macs(own[0])
    if budget.axis == "times":
        return [budget.limit]
    if budget.axis == "macs":
        return [budget.limit / base]
    largest = max(cost(entry.run.network).macs for entry in own)
    most = math.log2(largest / base) + BEYOND
    return [2 ** (step / STEPS) for step in range(math.floor(most * STEPS), 0, -1)]
