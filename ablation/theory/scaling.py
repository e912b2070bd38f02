"""Scaling rules: how depth, width and resolution grow with phi, and how the results are rounded to integers.

Source of the law: Tan & Le 2019, "EfficientNet", section 3.3 (arXiv 1905.11946v5).
"""

import math
import operator
from dataclasses import dataclass

LEAST, MOST = 1e-3, 1e3  # of a coefficient
SINGLE = {"width": "w", "depth": "d", "resolution": "r"}  # the dimensions, with the paper's letters
DIMENSIONS = ("depth", "width", "resolution")  # in the order of coefficients


@dataclass(frozen=True)
class Coefficients:
    """Multipliers of a baseline: depth d, width w, resolution r; 1 leaves the dimension alone.

    Raises ValueError outside [0.001, 1000]: nobody builds such a network, and counting it would take for
    ever.
    """

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not LEAST <= value <= MOST:
                raise ValueError(
                    f"{name}={value:g}: a coefficient lies between {LEAST:g} and {MOST:g}, 1 leaves the "
                    "dimension alone"
                )


def direction(coefficients: Coefficients) -> tuple[float, float, float]:
    """Where coefficients lie from the baseline, in doublings of the cost that depth, width and resolution
    take: (log2 d, 2 log2 w, 2 log2 r)."""
    depth, width, resolution = (math.log2(getattr(coefficients, name)) for name in DIMENSIONS)
    return depth, 2 * width, 2 * resolution


def angle(one: Coefficients, other: Coefficients) -> float | None:
    """Degrees between the directions of two coefficients; None where one of them is the baseline's."""
    a, b = direction(one), direction(other)
    length = math.hypot(*a) * math.hypot(*b)
    if length == 0:
        return None
    cosine = sum(map(operator.mul, a, b)) / length
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


@dataclass(frozen=True)
class Rule:
    """An arm of the ablation: the triple (alpha, beta, gamma) of the law d = alpha^phi, w = beta^phi, r =
    gamma^phi."""

    name: str
    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"scaling.{name}={value:g}: each of the triple is a positive number, 1 for a fixed "
                    "dimension"
                )

    @property
    def product(self) -> float:
        """alpha * beta^2 * gamma^2, the nominal growth of cost per unit of phi (paper, equation 3: about
        2)."""
        return self.alpha * self.beta**2 * self.gamma**2

    def at(self, phi: float) -> Coefficients:
        """The coefficients at `phi`, any real number; raises ValueError where one leaves its range."""
        if not math.isfinite(phi):
            raise ValueError(f"phi={phi}: phi is a finite number, e.g. phi=1.5")
        try:
            return Coefficients(self.alpha**phi, self.beta**phi, self.gamma**phi)
        except (OverflowError, ValueError) as error:
            raise ValueError(
                f"scaling={self.name} phi={phi:g}: a coefficient leaves {LEAST:g} to {MOST:g}; take a phi "
                "nearer to 0"
            ) from error

    def exponent(self, phi: float) -> float:
        """The exponent at which the nominal cost is exactly 2^phi: phi * log 2 / log(product).

        Raises ValueError for a product of 1: such a triple moves along equal cost and reaches no other
        budget.
        """
        growth = math.log(self.product)
        if abs(growth) < 1e-9:
            raise ValueError(
                f"scaling={self.name} has alpha*beta^2*gamma^2 = {self.product:g}: it never changes the "
                "nominal cost, so cost=matched has "
                f"nothing to solve; take a triple whose product is not 1, or cost=nominal"
            )
        return phi * math.log(2) / growth


# The single dimensions, the paper's compound triple (section 4, step 1), the pairs that split the exponent
# evenly, and "fast" compound scaling d, w, r = s^.1, s^.4, s^.05 for a cost factor s (Dollar et al. 2021,
# arXiv 2103.06877, dWr).
RULES = {
    rule.name: rule
    for rule in (
        #    name          alpha      beta       gamma
        Rule("depth",      2.0,       1.0,       1.0),
        Rule("width",      1.0,       2**0.5,    1.0),
        Rule("resolution", 1.0,       1.0,       2**0.5),
        Rule("compound",   1.2,       1.1,       1.15),
        Rule("dw",         2**0.5,    2**0.25,   1.0),
        Rule("dr",         2**0.5,    1.0,       2**0.25),
        Rule("wr",         1.0,       2**0.25,   2**0.25),
        Rule("dWr",        2**0.1,    2**0.4,    2**0.05),
    )
}  # fmt: skip


def triples(step: float, product: float = 2.0) -> tuple[Rule, ...]:
    """The grid of the search for alpha, beta, gamma: alpha and beta from 1 up in steps, gamma solved from
    alpha * beta^2 * gamma^2 = product.

    The paper (section 4, step 1) states the constraint and alpha, beta, gamma >= 1, but neither step nor
    number of candidates. Raises ValueError for a step outside (0, 1].
    """
    if not 0 < step <= 1:
        raise ValueError(
            f"study.grid.step={step:g}: a step of alpha and beta lies above 0 and up to 1, e.g. 0.1"
        )
    found = []
    for beta in (
        1 + step * i for i in range(math.floor((math.sqrt(product) - 1) / step + 1e-9) + 1)
    ):
        for alpha in (
            1 + step * i for i in range(math.floor((product / beta**2 - 1) / step + 1e-9) + 1)
        ):
            gamma = math.sqrt(product / (alpha * beta**2))
            found.append(
                Rule(f"{alpha:.4g}/{beta:.4g}/{gamma:.4g}", round(alpha, 9), round(beta, 9), gamma)
            )
    return tuple(found)


@dataclass(frozen=True)
class Published:
    """One row of the released table: multipliers and input side in pixels."""

    width: float
    depth: float
    pixels: int

    @property
    def coefficients(self) -> Coefficients:
        """The row as multipliers of B0."""
        return Coefficients(self.depth, self.width, self.pixels / PUBLISHED["b0"].pixels)


# tensorflow/tpu models/official/efficientnet/efficientnet_builder.py, efficientnet_params(); Table 2 of the
# paper. These are not alpha^phi for any phi (tensorflow/tpu issue 390), hence a table of their own.
PUBLISHED = {
    "b0": Published(1.0, 1.0, 224),
    "b1": Published(1.0, 1.1, 240),
    "b2": Published(1.1, 1.2, 260),
    "b3": Published(1.2, 1.4, 300),
    "b4": Published(1.4, 1.8, 380),
    "b5": Published(1.6, 2.2, 456),
    "b6": Published(1.8, 2.6, 528),
    "b7": Published(2.0, 3.1, 600),
}


@dataclass(frozen=True)
class Rounding:
    """How real coefficients become integers; part of a baseline, because it decides what a network costs.

    channels: channels go to a multiple of this, halves up, never under `floor` of the target (released code:
    8, 0.9) depth: "ceil" rounds each stage up (released code); "nearest" rounds the total and apportions it
    over the stages resolution: the input side goes to a multiple of this, in pixels, halves up
    """

    channels: int = 8
    floor: float = 0.9
    depth: str = "ceil"
    resolution: int = 1

    def __post_init__(self) -> None:
        if self.depth not in ("ceil", "nearest"):
            raise ValueError(
                f"rounding.depth={self.depth}: choose ceil (each stage up, as released) or nearest (total "
                "number of blocks)"
            )
        if self.channels < 1 or self.resolution < 1:
            raise ValueError(
                f"rounding.channels={self.channels}, rounding.resolution={self.resolution}: steps are "
                "whole numbers from 1 up"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(
                f"rounding.floor={self.floor}: a fraction of the target between 0 and 1"
            )


# As the released code rounds (tensorflow/tpu models/official/efficientnet/efficientnet_model.py,
# round_filters and round_repeats).
RELEASED = Rounding(channels=8, floor=0.9, depth="ceil", resolution=1)


def round_channels(channels: int, width: float, rounding: Rounding) -> int:
    """`channels * width` to the rounding's multiple, never under its floor (released code: round_filters)."""
    step, target = rounding.channels, channels * width
    rounded = max(step, int(target + step / 2) // step * step)
    return rounded if rounded >= rounding.floor * target else rounded + step


def round_layers(layers: tuple[int, ...], depth: float, rounding: Rounding) -> tuple[int, ...]:
    """Blocks per stage at `depth`; every stage keeps at least one block."""
    # Released code: round_repeats; the slack absorbs 1.1 * 10 = 11.000000000000002.
    if rounding.depth == "ceil":
        return tuple(max(1, math.ceil(depth * n - 1e-9)) for n in layers)
    if not layers:
        return ()
    return apportion(layers, math.floor(depth * sum(layers) + 0.5 + 1e-9))


def apportion(layers: tuple[int, ...], total: int) -> tuple[int, ...]:
    """`total` blocks over the stages in proportion to `layers`: largest remainder, ties to the later stage,
    at least one each."""
    shares = [1] * len(layers)
    for _ in range(total - len(layers)):
        deficits = [
            total * n - share * sum(layers) for n, share in zip(layers, shares, strict=True)
        ]
        shares[max(range(len(layers)), key=lambda i: (deficits[i], i))] += 1
    return tuple(shares)


def round_pixels(pixels: int, resolution: float, rounding: Rounding) -> int:
    """Input side `pixels * resolution` to the rounding's step, halves up, at least one step."""
    step = rounding.resolution
    return max(step, math.floor(pixels * resolution / step + 0.5 + 1e-9) * step)
