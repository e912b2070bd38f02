"""The star fit: error as a floor plus one power law for each dimension, the optimum at each cost that follows
in closed form, and networks that the fit does not see, which move several dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ablation.judge.frame import sample
from ablation.theory.scaling import DIMENSIONS, LEAST, MOST, Coefficients, Rule

Floats = NDArray[np.float64]

COST = np.array([1.0, 2.0, 2.0])  # nominal cost grows as d^1 w^2 r^2
# Bounds of an exponent: beyond them a power law is a step, or a constant.
STEEPEST = 8.0
FLATTEST = 0.05
NAMES = ("floor", "A", "B", "C", "a", "b", "c")


@dataclass(frozen=True)
class PowerLaws:
    """error(d, w, r) = floor + A d^-a + B w^-b + C r^-c, errors as fractions; scales = (A, B, C), exponents =
    (a, b, c).

    The functional form of Alabdulmohsin et al. 2023 (arXiv 2305.13035, equation 2) at one duration of
    training.
    """

    floor: float
    scales: tuple[float, float, float]
    exponents: tuple[float, float, float]

    @property
    def parameters(self) -> Floats:
        """(7,) in the order of NAMES."""
        return np.array([self.floor, *self.scales, *self.exponents])

    def __call__(self, coefficients: Floats) -> Floats:
        """Errors (n,) at coefficients (n, 3): depth, width, resolution."""
        return _errors(self.parameters, np.asarray(coefficients, float))

    def optimum(self, budget: float) -> Coefficients:
        """The coefficients of least predicted error with d w^2 r^2 = budget.

        At the optimum a marginal unit of cost buys the same in every dimension: a A d^-a = lambda, b B w^-b =
        2 lambda, c C r^-c = 2 lambda, so each coefficient is (a_k A_k / (c_k lambda))^(1 / a_k), and lambda
        follows from the budget.
        """
        return Coefficients(*(float(x) for x in _optima(self.parameters[None], budget)[0]))

    @property
    def rule(self) -> Rule:
        """The direction in which the optimum moves, as a triple with alpha beta^2 gamma^2 = 2: log2 alpha =
        (1/a) / (1/a + 2/b + 2/c)."""
        power = 1 / np.array(self.exponents)
        return Rule("star", *(float(x) for x in 2 ** (power / (COST * power).sum())))


@dataclass(frozen=True)
class StarFit:
    """A fit and its parametric bootstrap. replicates (B, 7): parameters in the order of NAMES; triples (B,
    3): alpha, beta, gamma.

    chi_square: the sum of squared residuals in standard errors, misfits (B,): that of each replicate;
    degrees: networks less parameters. unidentified: names of parameters of which a twentieth of the
    replicates or more lie on a bound: the data do not say what they are.
    """

    laws: PowerLaws
    chi_square: float
    degrees: int
    misfits: Floats
    replicates: Floats
    triples: Floats
    unidentified: tuple[str, ...]

    @property
    def residual(self) -> float:
        """The root mean square residual in standard errors, about 1 where the fit is good."""
        return float(np.sqrt(self.chi_square / self.degrees))

    @property
    def p(self) -> float:
        """The chance of so large a chi-square were the laws true: the share of replicates with one at least
        as large.

        Neither an F nor a chi-square distribution serves: a parameter on a bound fits nothing, and a standard
        error with two degrees of freedom behind it may be far too small.
        """
        larger = int((self.misfits >= self.chi_square).sum())
        return (1 + larger) / (1 + len(self.misfits))

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a parameter (see NAMES) or of alpha, beta, gamma."""
        values = (
            self.triples[:, ("alpha", "beta", "gamma").index(name)]
            if name in ("alpha", "beta", "gamma")
            else self.replicates[:, NAMES.index(name)]
        )
        low, high = np.quantile(values, _tails(level))
        return float(low), float(high)

    def band(self, coefficients: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
        """Percentile band of the fitted errors at coefficients (n, 3): two of (n,)."""
        low, high = np.quantile(self.curves(coefficients), _tails(level), axis=0)
        return low, high

    def curves(self, coefficients: Floats) -> Floats:
        """Errors at coefficients (n, 3) by every replicate: (B, n)."""
        points = np.asarray(coefficients, float)
        return np.array([_errors(row, points) for row in self.replicates])

    def optima(self, budget: float, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """Depth, width and resolution (3,) of least predicted error at a budget, and percentile bounds of
        each."""
        best = _optima(self.laws.parameters[None], budget)[0]
        low, high = np.quantile(_optima(self.replicates, budget), _tails(level), axis=0)
        return best, low, high

    def gains(self, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """Points of accuracy (3,) that a doubling of cost spent on depth, width or resolution alone gains at
        the baseline, d = w = r = 1, by the slope there; and percentile bounds of each."""
        gained = _gains(self.laws.parameters[None])[0]
        low, high = np.quantile(_gains(self.replicates), _tails(level), axis=0)
        return gained, low, high

    def ahead(self, level: float = 0.95) -> str:
        """The dimension whose gain at the baseline is above both others' in all but a few replicates; "" for
        none."""
        gains = _gains(self.replicates)
        first = int(_gains(self.laws.parameters[None])[0].argmax())
        certain = (gains.argmax(1) == first).mean() >= (1 + level) / 2
        return DIMENSIONS[first] if certain else ""


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]


def _optima(parameters: Floats, budget: float) -> Floats:
    """The closed form of PowerLaws.optimum for rows of parameters (B, 7): (B, 3)."""
    scales, exponents = parameters[:, 1:4], parameters[:, 4:]
    power = 1 / exponents
    worth = np.log(exponents * scales / COST)
    total = (COST * power).sum(1)
    log_lambda = ((COST * power * worth).sum(1) - np.log(budget)) / total
    # A flat dimension has its optimum anywhere; nobody builds what lies beyond these.
    return np.clip(np.exp(power * (worth - log_lambda[:, None])), LEAST, MOST)


def _gains(parameters: Floats) -> Floats:
    """Slopes of accuracy in log2 of cost along each dimension at the baseline (B, 3), in points."""
    return 100 * np.log(2) * parameters[:, 1:4] * parameters[:, 4:] / COST


def fit_star(
    coefficients: Floats,
    errors: Floats,
    deviations: Floats,
    rng: np.random.Generator,
    replicates: int = 200,
    starts: int = 20,
    freedoms: Floats | None = None,
) -> StarFit:
    """Weighted least squares from several starts, bounded; then the same on `replicates` draws from the
    fitted means.

    coefficients (n, 3); errors (n,): means over seeds; deviations (n,): their standard errors, from the seed
    variance pooled over the study; freedoms (n,): their degrees of freedom, by which the bootstrap draws them
    anew, too; None where they are known. It is parametric: three to five seeds are too few to resample.
    Raises ValueError for fewer than 8 networks.
    """
    coefficients, errors, deviations = (
        np.asarray(values, float) for values in (coefficients, errors, deviations)
    )
    if len(errors) < len(NAMES) + 1:
        raise ValueError(
            f"the star fit has {len(NAMES)} parameters and needs more than {len(errors)} networks; train "
            "more of study=star"
        )
    first = [
        np.array([errors.min() / 2, *rng.uniform(0.01, errors.max(), 3), *rng.uniform(0.2, 3, 3)])
        for _ in range(starts)
    ]
    best, cost = _least_squares(coefficients, errors, deviations, first)
    drawn, misfits = [], []
    for number in range(replicates):
        simulated = _errors(best, coefficients) + deviations * rng.standard_normal(len(errors))
        estimated = _drawn_anew(deviations, freedoms, rng)
        start = [best, first[number % starts]]
        found, half = _least_squares(coefficients, simulated, estimated, start)
        drawn.append(found)
        misfits.append(2 * half)
    laws = [PowerLaws(row[0], tuple(row[1:4]), tuple(row[4:])) for row in drawn]
    triples = np.array([[law.rule.alpha, law.rule.beta, law.rule.gamma] for law in laws])
    low, high = _bounds()
    on_bound = (np.isclose(drawn, low, atol=1e-4) | np.isclose(drawn, high, rtol=1e-3)).mean(
        axis=0
    ) >= 0.05
    unidentified = tuple(name for name, stuck in zip(NAMES, on_bound, strict=True) if stuck)
    return StarFit(
        PowerLaws(best[0], tuple(best[1:4]), tuple(best[4:])),
        2 * cost,
        len(errors) - len(NAMES),
        np.array(misfits),
        np.array(drawn),
        triples,
        unidentified,
    )


def _drawn_anew(deviations: Floats, freedoms: Floats | None, rng: np.random.Generator) -> Floats:
    """Standard errors as other seeds would estimate them, none below the median."""
    if freedoms is None:
        return deviations
    drawn = deviations * np.sqrt(rng.chisquare(freedoms) / freedoms)
    return np.fmax(drawn, np.median(drawn))


def _errors(parameters: Floats, coefficients: Floats) -> Floats:
    return parameters[0] + (parameters[1:4] * coefficients ** -parameters[4:]).sum(axis=1)


def _jacobian(parameters: Floats, coefficients: Floats) -> Floats:
    powers = coefficients ** -parameters[4:]
    return np.hstack(
        [np.ones((len(coefficients), 1)), powers, -parameters[1:4] * powers * np.log(coefficients)]
    )


def _bounds() -> tuple[Floats, Floats]:
    return np.array([0.0] + [1e-6] * 3 + [FLATTEST] * 3), np.array(
        [1.0] + [1.0] * 3 + [STEEPEST] * 3
    )


def _least_squares(
    coefficients: Floats, errors: Floats, deviations: Floats, starts: Sequence[Floats]
) -> tuple[Floats, float]:
    """(parameters, cost) of the best of several starts; residuals in units of their standard error."""
    low, high = _bounds()
    found = [
        least_squares(
            lambda x: (_errors(x, coefficients) - errors) / deviations,
            np.clip(start, low + 1e-9, high - 1e-9),
            jac=lambda x: _jacobian(x, coefficients) / deviations[:, None],
            bounds=(low, high),
            x_scale="jac",
        )
        for start in starts
    ]
    best = min(found, key=lambda result: result.cost)
    return best.x, float(best.cost)


def neighbours(optimum: Coefficients, budget: float, step: float) -> dict[str, Rule]:
    """The predicted optimum at a budget as a rule, and six more of the same nominal cost.

    Each dimension is grown or shrunk by 2^step, the other two pay for it in proportion to their share of the
    cost. Every rule reaches its coefficients at phi = log2(budget).
    """
    centre = np.log2([optimum.depth, optimum.width, optimum.resolution])
    phi = float(np.log2(budget))
    rules = {"optimum": _through("optimum", centre, phi)}
    for index, dimension in enumerate(DIMENSIONS):
        others = [k for k in range(3) if k != index]
        for word, sign in (("more", 1.0), ("less", -1.0)):
            moved = centre.copy()
            moved[index] += sign * step
            moved[others] -= sign * step * COST[index] / COST[others].sum()
            name = f"{word} {dimension}"
            rules[name] = _through(name, moved, phi)
    return rules


def _through(name: str, point: Floats, phi: float) -> Rule:
    """The rule that reaches a point, logarithms of coefficients, at phi."""
    alpha, beta, gamma = (float(2 ** (value / phi)) for value in point)
    return Rule(name, alpha, beta, gamma)


SEED = 0  # of the bootstrap behind the star fit's intervals


@dataclass(frozen=True)
class Measured:
    """Networks of a star: coefficients (n, 3), mean errors (n,), their standard errors and the degrees of
    freedom of each (n,), and which of them move more than one dimension off the centre (n,)."""

    coefficients: Floats
    errors: Floats
    deviations: Floats
    freedoms: Floats
    crossed: NDArray[np.bool_]

    def fit(self, replicates: int = 200) -> StarFit:
        """The fit to the networks that move one dimension at most."""
        own = ~self.crossed
        parts = (self.coefficients[own], self.errors[own], self.deviations[own])
        rng = np.random.default_rng(SEED)
        return fit_star(*parts, rng, replicates, freedoms=self.freedoms[own])

    def together(self, fit: StarFit, level: float = 0.95) -> tuple[float, float, float]:
        """By how many points crossed networks are better than their dimensions added up, on average, with a
        percentile interval over seeds and fits; there must be some."""
        points = self.coefficients[self.crossed]
        measured = self.errors[self.crossed]
        noise = np.random.default_rng(SEED).standard_normal((len(fit.replicates), len(points)))
        drawn = fit.curves(points) - measured - noise * self.deviations[self.crossed]
        better = 100 * float((fit.laws(points) - measured).mean())
        low, high = np.quantile(100 * drawn.mean(1), _tails(level))
        return better, float(low), float(high)


def measured(frame: pd.DataFrame) -> Measured:
    """The networks of a frame: errors are means over seeds, with standard errors from contrasts.Sample, none
    below the median network's: that few seeds happen to agree does not make a mean exact, nor should one
    network carry the fit.

    Raises ValueError for one seed, which gives no standard error.
    """
    runs, places = sample(frame)
    means = {place: runs.mean(place) for place in np.flatnonzero(runs.runs)}
    spread = (
        np.nanmedian([float(mean.seeds[0]) for mean in means.values()])
        if (runs.runs > 1).any()
        else np.nan
    )
    if np.isnan(spread):
        raise ValueError(
            "the star fit needs two seeds or more of some network: study.seeds=[0,1,2]"
        )
    networks = frame.groupby(places, sort=False)[[*DIMENSIONS]].first()
    networks = networks[runs.runs[networks.index] > 0]
    errors = np.array([1 - float(means[place].effect) for place in networks.index])
    deviations = np.array(
        [np.fmax(float(means[place].seeds[0]), spread) for place in networks.index]
    )
    coefficients = networks.to_numpy(float)
    freedoms = np.array([float(means[place].seeds[1]) for place in networks.index])
    freedoms = np.where(np.isnan(freedoms), np.nanmedian(freedoms), freedoms)
    return Measured(coefficients, errors, deviations, freedoms, moved(coefficients) > 1)


def moved(coefficients: Floats) -> NDArray[np.intp]:
    """In how many dimensions each row (n, 3) differs from the most common value of each (n,)."""
    table = pd.DataFrame(coefficients)
    centre = [table[column].mode()[0] for column in table]
    return (~np.isclose(coefficients, centre)).sum(axis=1)


def star(frame: pd.DataFrame) -> StarFit:
    """The star fit of a frame; see `measured`. Raises ValueError for fewer networks than the fit needs."""
    return measured(frame).fit()


def star_neighbours(frame: pd.DataFrame, budget: float, step: float) -> dict[str, Rule]:
    """The optimum that the star fit predicts at a budget and its neighbours at the same cost; see
    `neighbours`."""
    return neighbours(star(frame).laws.optimum(budget), budget, step)
