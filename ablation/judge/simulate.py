"""Test the judge on studies drawn from a known truth: what its intervals cover, how often it is wrong, what
it can see. Trains nothing.

python -m ablation.judge.simulate

Four rules at 1, 2 and 4 times the baseline's cost. In most worlds accuracies are drawn, and the unit is the
standard deviation over seeds of the largest networks; in those with images every answer to every image is,
and the unit is the point.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from ablation.judge.claims import CLAIMS, COMPOUND, Claim
from ablation.judge.contrasts import Floats, Images, covariances
from ablation.judge.questions import Scope, scopes
from ablation.judge.verdicts import EQUIVALENT, SUPPORTED, TOLD, verdict_together, verdicts
from ablation.theory.scaling import SINGLE

REPLICATES = 4000
SEEDS = (3, 5, 10)
MARGIN = 3.0  # of equivalence, so wide that so few seeds can show it
LEAD = 2.5  # of compound, where the chance to see it is asked for
STUDIES = 1000  # with images, of which each takes a thousand times as many draws
IMAGES = 3925  # of the evaluation split of Imagenette


@dataclass(frozen=True)
class World:
    """How runs vary. spread: standard deviation of the baseline over that of the largest networks; shift:
    that of what a seed does to all networks alike; gaps: whether one run in ten is missing; own: whether
    every rule has its own seeds. excess: with images, by how much more often runs of two networks disagree on
    an image than two runs of one; None without images."""

    name: str
    spread: float = 1.0
    shift: float = 0.0
    gaps: bool = False
    own: bool = False
    excess: float | None = None


WORLDS = (
    World("equal variances"),
    World("a seed shifts all networks", shift=1.0),
    World("deviations 2 to 1", spread=2.0),
    World("deviations 2 to 1, shifts", spread=2.0, shift=1.0),
    World("deviations 10 to 1", spread=10.0),
    World("one run in ten missing", gaps=True),
    World("no seeds in common", own=True),
    World("images, excess 0", excess=0.0),
    World("images, excess 0.02", excess=0.02),
    World("images, excess 0.04", excess=0.04),
)

# How hard images are: the chance that a network gets one right is drawn from this beta distribution, most of
# it near 0 and 1, as networks agree on most images.
EASY, HARD = 0.4, 0.2
MEAN = 100 * EASY / (EASY + HARD)  # points
SPREAD = EASY * HARD / (EASY + HARD) / (EASY + HARD + 1)  # the mean of chance x (1 - chance)
VARIANCE = SPREAD / (EASY + HARD)  # of the chance
DEVIATION = 0.5  # points, of what a seed does to one network on all images


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
        angle=0.0,
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
    if world.excess is not None:
        return _answered(scope, world.excess, truth, rng, replicates)
    sample = scope.sample
    deviations = np.ones(sample.count)
    for arm in scope.arms:
        deviations[arm.place] = world.spread ** (1 - arm.phi / 2)
    noise = rng.normal(size=(replicates, len(sample.networks))) * deviations[sample.networks]
    shifts = world.shift * rng.normal(size=(replicates, sample.seeds.max() + 1))
    values = truth[sample.networks] + noise + shifts[:, sample.seeds]
    return _with(scope, values, None)


def _answered(
    scope: Scope, excess: float, truth: Floats, rng: np.random.Generator, replicates: int
) -> Scope:
    """The scope with answers to images that are drawn anew in each replicate.

    A network has its own chance of a share of the images and the common one of all others, so that chances of
    two networks differ by `excess` in mean square. A network and a seed move every chance p by a multiple of
    p (1 - p), which leaves the mean over all images exactly known.
    """
    sample = scope.sample
    runs = len(sample.networks)
    own = 1 - (1 - excess / (2 * VARIANCE)) ** 0.5
    values = np.empty((replicates, runs))
    between = np.empty((replicates, runs, runs))
    for number in range(replicates):
        chance = np.tile(rng.beta(EASY, HARD, IMAGES), (sample.count, 1))
        alone = rng.random(chance.shape) < own
        chance[alone] = rng.beta(EASY, HARD, alone.sum())
        chance = _moved(chance, truth)[sample.networks].astype(np.float32)
        chance = _moved(chance, DEVIATION * rng.uniform(-(3**0.5), 3**0.5, runs))
        right = (rng.random(chance.shape, np.float32) < chance).astype(np.float32)
        values[number] = 100 * right.mean(-1)
        between[number] = 1e4 * covariances(right)
    return _with(scope, values, Images(between, np.full(runs, IMAGES)))


def _moved(chances: Floats, points: Floats) -> Floats:
    """Chances (n, images) whose mean over all images is so many points (n,) higher."""
    slopes = (points / 100 / SPREAD).astype(chances.dtype)
    return chances + slopes[:, None] * chances * (1 - chances)


def _with(scope: Scope, values: Floats, images: Images | None) -> Scope:
    """The scope with accuracies in points; their logarithms are not drawn."""
    points = replace(scope.sample, values=values, images=images)
    return replace(scope, sample=points, log_errors=points)


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
    """Verdicts (replicates, findings) on a claim: its questions, then what holds together."""
    asked = claim.ask(scope)
    family = [question.estimate(scope.sample) for question in asked.questions]
    _, judged = verdicts(family, claim.signed, margin, asked.chains)
    together = [verdict_together(judged[:, list(places)]) for places in asked.together.values()]
    return np.column_stack([judged, *together])


def measured(
    world: World, seeds: int, rng: np.random.Generator, replicates: int = REPLICATES
) -> tuple[dict[str, float], dict[str, float]]:
    """Of one world: coverage, on average and of the worst contrast; and errors and power. All are shares.

    false: studies in which any question of a claim gets a verdict where all networks are equal, and in which
    any of any claim does, on a whole page. equivalence: studies in which compound leads by just the margin
    and any question calls that equivalent. power: questions that see compound ahead by LEAD, and studies that
    see it ahead of all at the largest cost.
    """
    [scope] = scopes(study(seeds, world))
    # Beyond three deviations chances of images would leave 0 to 1.
    truth = np.clip(rng.normal(0, 2.5, scope.sample.count), -7.5, 7.5)
    flat = np.zeros(scope.sample.count)
    ahead = np.zeros(scope.sample.count)
    ahead[[arm.place for arm in scope.points("compound")]] = 1.0
    base = 0.0 if world.excess is None else MEAN
    covered = {}
    for kind, shares in coverage(drawn(scope, world, truth, rng, replicates), base + truth).items():
        covered |= {kind: float(np.mean(shares)), f"{kind}, worst": min(shares)}
    null = drawn(scope, world, flat, rng, replicates)
    covered["own variances"] = float(null.sample.unequal.mean())
    judged, page = {}, np.zeros(replicates, bool)
    for claim in (claim for claim in CLAIMS if claim.ask(scope).questions):
        told = np.isin(verdicts_on(claim, null), TOLD).any(-1)
        judged[f"false {claim.key}"] = float(told.mean())
        page |= told
    judged["false, page"] = float(page.mean())
    edge = verdicts_on(COMPOUND, drawn(scope, world, MARGIN * ahead, rng, replicates)) == EQUIVALENT
    lead = verdicts_on(COMPOUND, drawn(scope, world, LEAD * ahead, rng, replicates)) == SUPPORTED
    questions = len(COMPOUND.ask(scope).questions)
    judged["false equivalence"] = float(edge[:, :questions].any(-1).mean())
    return covered, judged | {
        "power": float(lead[:, :questions].mean()),
        "power, all": float(lead[:, -1].mean()),
    }


def tables(
    worlds: Sequence[World] = WORLDS,
    seeds: Sequence[int] = SEEDS,
    replicates: int = REPLICATES,
    studies: int = STUDIES,
) -> str:
    """Coverage, then errors and power: one line for each world and number of seeds, in per cent."""
    rng = np.random.default_rng(0)
    coverages, errors = [], []
    for world, k in itertools.product(worlds, seeds):
        drawn_here = replicates if world.excess is None else studies
        place = {"world": world.name, "seeds": k, "studies": drawn_here}
        covered, judged = measured(world, k, rng, drawn_here)
        coverages.append(place | _in_per_cent(covered))
        errors.append(place | _in_per_cent(judged))
    doubt = [
        f"{_two_errors(count):.1f} % of {count}" for count in dict.fromkeys((replicates, studies))
    ]
    parts = [
        "95 % intervals that hold the truth, in per cent",
        tabulate(coverages, headers="keys", floatfmt=".1f"),
        "Verdicts, in per cent of studies (power: of questions)",
        tabulate(errors, headers="keys", floatfmt=".1f"),
        f"two standard errors of 5 % are {' and '.join(doubt)} studies",
    ]
    return "\n\n".join(parts)


def _two_errors(studies: int) -> float:
    """Of a rate of 5 %, in per cent."""
    return 200 * (0.05 * 0.95 / studies) ** 0.5


def _in_per_cent(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def main() -> None:
    """Entry point."""
    started = time.perf_counter()
    print(f"{tables()}; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
