"""The star fit recovers a known truth, and its closed form is the optimum that a search finds."""

import numpy as np
import pytest
from scipy.optimize import minimize

from ablation.judge.star import COST, PowerLaws, fit_star, neighbours
from ablation.theory.scaling import Coefficients

TRUTH = PowerLaws(0.05, (0.10, 0.15, 0.08), (1.0, 0.7, 1.5))
CENTRE = (1.5, 1.25, 1.25)
STAR = np.array(
    [[*CENTRE[:k], x, *CENTRE[k + 1 :]] for k in range(3) for x in np.geomspace(0.75, 4, 6)]
)


def test_exact_errors_give_the_truth_back() -> None:
    fit = fit_star(
        STAR, TRUTH(STAR), np.full(len(STAR), 1e-5), np.random.default_rng(0), replicates=20
    )
    assert fit.laws.parameters == pytest.approx(TRUTH.parameters, rel=1e-3)
    assert fit.unidentified == ()
    assert fit.interval("alpha")[0] <= TRUTH.rule.alpha <= fit.interval("alpha")[1]


@pytest.mark.parametrize("budget", [2.0, 4.0, 16.0])
def test_the_closed_form_is_the_optimum(budget: float) -> None:
    found = minimize(
        lambda x: TRUTH(np.exp(x)[None])[0],
        np.zeros(3),
        constraints={"type": "eq", "fun": lambda x: COST @ x - np.log(budget)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    ours = TRUTH.optimum(budget)
    assert (ours.depth, ours.width, ours.resolution) == pytest.approx(np.exp(found.x), rel=1e-3)
    assert ours.depth * ours.width**2 * ours.resolution**2 == pytest.approx(budget)


def test_the_rule_is_the_step_from_one_optimum_to_the_next() -> None:
    one, two = TRUTH.optimum(4), TRUTH.optimum(8)
    rule = TRUTH.rule
    assert rule.product == pytest.approx(2)
    steps = (two.depth / one.depth, two.width / one.width, two.resolution / one.resolution)
    assert (rule.alpha, rule.beta, rule.gamma) == pytest.approx(steps)


def test_a_flat_dimension_is_called_unidentified() -> None:
    flat = PowerLaws(0.05, (0.10, 1e-6, 0.08), (1.0, 1.0, 1.5))
    fit = fit_star(
        STAR, flat(STAR), np.full(len(STAR), 2e-3), np.random.default_rng(0), replicates=40
    )
    assert "b" in fit.unidentified or "B" in fit.unidentified


def test_intervals_widen_with_noise() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for deviation in (5e-4, 5e-3):
        fit = fit_star(
            STAR,
            TRUTH(STAR) + deviation * rng.standard_normal(len(STAR)),
            np.full(len(STAR), deviation),
            rng,
            replicates=40,
        )
        low, high = fit.interval("alpha")
        widths.append(high - low)
    assert widths[1] > widths[0] > 0
    low, high = fit.band(STAR)
    assert (low <= high).all()


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="needs more than 5 networks"):
        fit_star(STAR[:5], TRUTH(STAR[:5]), np.full(5, 0.01), np.random.default_rng(0))


def test_neighbours_cost_the_same_and_surround_the_optimum() -> None:
    rules = neighbours(Coefficients(2.0, 1.2, 1.2), 4.0, 0.5)
    points = {name: rule.at(2.0) for name, rule in rules.items()}
    assert points["optimum"].depth == pytest.approx(2.0)
    for name, rule in rules.items():
        assert rule.product**2 == pytest.approx(2.0 * 1.2**4)
        word, _, dimension = name.partition(" ")
        if dimension:
            ratio = getattr(points[name], dimension) / getattr(points["optimum"], dimension)
            assert ratio == pytest.approx(2**0.5 if word == "more" else 2**-0.5)
    assert len(rules) == 7
