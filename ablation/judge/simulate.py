"""Test the judge on studies drawn from a known truth: what its intervals cover, how often it is wrong, what
it can see. Trains nothing.

python -m ablation.judge.simulate

Four rules at 1, 2 and 4 times the baseline's cost; the unit is the standard deviation over seeds of the
largest networks.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from ablation.judge.claims import CLAIMS, COMPOUND, Claim, Scope, scopes
from ablation.judge.contrasts import Floats
from ablation.judge.findings import CONTRADICTED, EQUIVALENT, SUPPORTED, verdict_together, verdicts
from ablation.theory.scaling import SINGLE

REPLICATES = 4000
SEEDS = (3, 5, 10)
MARGIN = 3.0  # of equivalence, so wide that so few seeds can show it
LEAD = 2.5  # of compound, where the chance to see it is asked for


@dataclass(frozen=True)
class World:
    """How runs vary. spread: standard deviation of the baseline over that of the largest networks; shift:
    that of what a seed does to all networks alike; gaps: whether one run in ten is missing; own: whether
    every rule has its own seeds."""

    name: str
    spread: float = 1.0
    shift: float = 0.0
    gaps: bool = False
    own: bool = False


WORLDS = (
    World("equal variances"),
    World("a seed shifts all networks", shift=1.0),
    World("deviations 2 to 1", spread=2.0),
    World("deviations 2 to 1, shifts", spread=2.0, shift=1.0),
    World("deviations 10 to 1", spread=10.0),
    World("one run in ten missing", gaps=True),
    World("no seeds in common", own=True),
)


def study(seeds: int, world: World = WORLDS[0]) -> pd.DataFrame:
    """The frame of a study at matched cost that is yet to be given accuracies."""
    rows = []
    for place, rule in enumerate([*SINGLE, "compound"]):
        for phi, seed in np.ndindex(3, seeds):
            seed += place * seeds * world.own
            network = f"{rule} phi={phi}" if phi or world.own else "baseline"
            shares = {name: float(rule == name) if rule in SINGLE else 1 / 3 for name in SINGLE}
            coefficients = {
                name: 2.0 ** (phi * share / (1 if name == "depth" else 2))
                for name, share in shares.items()
            }
            cost = {
                "macs": 2**phi,
                "activations": 2**phi,
                "budget": 2.0**phi,
                "budget_error": 0.0,
                "widths": network,
            }
            rows.append(
                {
                    "rule": rule,
                    "phi": phi,
                    "label": network,
                    "seed": seed,
                    "run_id": f"{network} seed={seed}",
                }
                | coefficients
                | cost
            )
    frame = pd.DataFrame(rows).assign(
        baseline="simulated",
        setting="",
        cost="matched",
        depths="",
        pixels=0,
        accuracy=0.0,
        status="done",
    )
    gone = frame["run_id"].isin(frame["run_id"].unique()[4::10] if world.gaps else [])
    return frame.assign(
        accuracy=frame["accuracy"].mask(gone), status=frame["status"].mask(gone, "missing")
    )


def drawn(
    scope: Scope,
    world: World,
    truth: Floats,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Scope:
    """The scope with accuracies (replicates, runs) around the true means (networks,), in points."""
    sample = scope.sample
    deviations = np.ones(sample.count)
    for arm in scope.arms:
        deviations[arm.place] = world.spread ** (1 - arm.phi / 2)
    noise = rng.normal(size=(replicates, len(sample.networks))) * deviations[sample.networks]
    shifts = world.shift * rng.normal(size=(replicates, sample.seeds.max() + 1))
    return replace(
        scope,
        sample=replace(sample, values=truth[sample.networks] + noise + shifts[:, sample.seeds]),
    )


def coverage(scope: Scope, truth: Floats) -> dict[str, list[float]]:
    """The share of 95 % intervals that hold the true value, for each contrast of each kind."""
    asked = {claim.key: _weights(claim, scope) for claim in CLAIMS}
    kinds = {
        "means": list(np.eye(scope.sample.count)[np.unique(scope.sample.networks)]),
        "differences": asked["improves"] + asked["compound"],
        "second differences": asked["diminishing"],
    }
    covered: dict[str, list[float]] = {}
    for kind, contrasts in kinds.items():
        covered[kind] = [_covered(scope, weights, truth) for weights in contrasts]
    return covered


def _weights(claim: Claim, scope: Scope) -> list[Floats]:
    """Of each question of a claim."""
    return [question.weights for question in claim.ask(scope).questions]


def _covered(scope: Scope, weights: Floats, truth: Floats) -> float:
    low, high = scope.sample.contrast(weights).bounds()
    return float(np.mean((low <= weights @ truth) & (weights @ truth <= high)))


def verdicts_on(claim: Claim, scope: Scope, margin: float = MARGIN) -> NDArray[np.str_]:
    """Verdicts (replicates, findings) on a claim: its questions, then whether they hold together, where it
    says so."""
    asked = claim.ask(scope)
    family = [question.estimate(scope.sample) for question in asked.questions]
    together = [question.estimate(scope.sample) for question in asked.together]
    _, judged = verdicts(family, claim.signed, margin)
    if not together:
        return judged
    return np.column_stack([judged, verdict_together(together, margin)])


def measured(
    world: World, seeds: int, rng: np.random.Generator, replicates: int = REPLICATES
) -> tuple[dict[str, float], dict[str, float]]:
    """Of one world: coverage, on average and of the worst contrast; and errors and power. All are shares.

    false: studies in which any question of a claim gets a verdict where all networks are equal, and in which
    all together get one. equivalence: studies in which compound leads by just the margin and any question
    calls that equivalent. power: questions that see compound ahead by LEAD, and studies that see it ahead of
    all.
    """
    [scope] = scopes(study(seeds, world))
    truth = rng.normal(0, 5, scope.sample.count)
    flat = np.zeros(scope.sample.count)
    ahead = np.zeros(scope.sample.count)
    ahead[[arm.place for arm in scope.points("compound")]] = 1.0
    covered = {}
    for kind, shares in coverage(drawn(scope, world, truth, rng, replicates), truth).items():
        covered |= {kind: float(np.mean(shares)), f"{kind}, worst": min(shares)}
    null = drawn(scope, world, flat, rng, replicates)
    covered["own variances"] = float(null.sample.unequal.mean())
    judged = {}
    for claim in (claim for claim in CLAIMS if claim.ask(scope).together):
        told = np.isin(verdicts_on(claim, null), (SUPPORTED, CONTRADICTED))
        judged |= {
            f"false {claim.key}": float(told[:, :-1].any(-1).mean()),
            f"{claim.key}, all": float(told[:, -1].mean()),
        }
    edge = verdicts_on(COMPOUND, drawn(scope, world, MARGIN * ahead, rng, replicates)) == EQUIVALENT
    lead = verdicts_on(COMPOUND, drawn(scope, world, LEAD * ahead, rng, replicates)) == SUPPORTED
    judged["false equivalence"] = float(edge[:, :-1].any(-1).mean())
    return covered, judged | {
        "power": float(lead[:, :-1].mean()),
        "power, all": float(lead[:, -1].mean()),
    }


def tables(
    worlds: Sequence[World] = WORLDS, seeds: Sequence[int] = SEEDS, replicates: int = REPLICATES
) -> str:
    """Coverage, then errors and power: one line for each world and number of seeds, in per cent."""
    rng = np.random.default_rng(0)
    coverages, errors = [], []
    for world, k in itertools.product(worlds, seeds):
        place = {"world": world.name, "seeds": k}
        covered, judged = measured(world, k, rng, replicates)
        coverages.append(place | _in_per_cent(covered))
        errors.append(place | _in_per_cent(judged))
    two_errors = 200 * (0.05 * 0.95 / replicates) ** 0.5
    parts = [
        "95 % intervals that hold the truth, in per cent",
        tabulate(coverages, headers="keys", floatfmt=".1f"),
        "Verdicts, in per cent of studies (power: of questions)",
        tabulate(errors, headers="keys", floatfmt=".1f"),
        f"{replicates} studies each; two standard errors of 5 % are {two_errors:.1f} %",
    ]
    return "\n\n".join(parts)


def _in_per_cent(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def main() -> None:
    """Entry point."""
    print(tables())


if __name__ == "__main__":
    main()
