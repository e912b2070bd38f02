"""A network that a function of the user's builds: what planning knows of it, and how it scales.

There is no stage table: the function is asked for a depth, a width and a side in pixels, and what it returns
is counted by torch (train.own), which this room does not know.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ablation.theory.scaling import Coefficients, Rounding, round_pixels


@dataclass(frozen=True)
class Own:
    """One network of a function: networks are the same where digest, pixels and classes are, however they
    were asked for.

    digest: of what is built and of the files that build it (train.own). factory: package.module:function;
    depth, width: the multipliers that it was asked for. macs, params, activations, grouped, products: see
    theory.cost.Cost. sources: those files by the name of their module.
    """

    digest: str
    pixels: int
    classes: int
    factory: str = field(compare=False)
    depth: float = field(compare=False)
    width: float = field(compare=False)
    macs: int = field(compare=False)
    params: int = field(compare=False)
    activations: int = field(compare=False)
    grouped: int = field(compare=False)
    products: int = field(compare=False)
    sources: Mapping[str, str] = field(compare=False, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks per stage, of which a module does not tell."""
        return ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage: neither."""
        return ()


@dataclass(frozen=True)
class OwnBaseline:
    """A function of the user's as a baseline: depth and width 1 at `pixels`.

    step: between the multipliers of depth and of width that are tried at matched cost, counted from 1.
    step_pixels: between sides. ask: the network of (depth, width, pixels, classes).

    Raises ValueError for steps that do not meet the baseline.
    """

    name: str
    pixels: int
    step: float
    step_pixels: int
    ask: Callable[[float, float, int, int], Own] = field(repr=False)
    classes: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise ValueError(
                f"baseline.step={self.step:g}: between multipliers, above 0 and up to 1"
            )
        if self.step_pixels < 1 or self.pixels < 1 or self.pixels % self.step_pixels:
            raise ValueError(
                f"baseline.pixels={self.pixels} baseline.step_pixels={self.step_pixels}: the side is a "
                "multiple of its step, from 1 up; baseline.step_pixels=1 fits every side"
            )

    def of(self, classes: int) -> "OwnBaseline":
        """The same for data of so many classes; raises ValueError where width has no effect."""
        own = replace(self, classes=classes)
        if own.ask(1.0, 2.0, self.pixels, classes).params == own.network.params:
            raise ValueError(
                f"baseline.factory={self.name}: its parameters are {own.network.params:,} at width=1 and at "
                "width=2; multiply the channels by width"
            )
        return own

    @property
    def network(self) -> Own:
        """The baseline itself."""
        return self.ask(1.0, 1.0, self.pixels, self.classes)

    def scaled(self, coefficients: Coefficients) -> Own:
        """The network at these multipliers, its side rounded to the step."""
        rounding = Rounding(resolution=self.step_pixels)
        pixels = round_pixels(self.pixels, coefficients.resolution, rounding)
        return self.ask(coefficients.depth, coefficients.width, pixels, self.classes)

    def realised(self, network: Own, width: float) -> Coefficients:
        """The multipliers that the function was asked for: what it made of them is its own affair."""
        return Coefficients(network.depth, width, network.pixels / self.pixels)

    def depths(self, low: float, high: float) -> list[float]:
        """Whole steps from 1."""
        first = math.ceil((low - 1) / self.step - 1e-9)
        last = math.floor((high - 1) / self.step + 1e-9)
        steps = (round(1 + k * self.step, 9) for k in range(first, last + 1))
        return [step for step in steps if step > 0]

    def widths(self, low: float, high: float, intended: float) -> list[float]:
        """The same steps."""
        return self.depths(low, high)

    @property
    def least_pixels(self) -> int:
        """The smallest side that is tried."""
        return self.step_pixels
