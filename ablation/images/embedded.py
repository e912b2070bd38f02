"""The image sets that the project makes itself, by the name that data= takes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ablation.images import shapes, stripes
from ablation.runs.checks import one_of
from ablation.runs.config import Data


class Embedded(Protocol):
    """A module that renders one."""

    VERSION: int  # of its generator; raised when the same seed would give other images
    CLASSES: int
    NAMES: Sequence[str]  # of the classes
    SIDE: int  # native pixels
    SIZES: Mapping[str, int]  # images of each split
    # Of images, which take turns: image i is of the kind i modulo their number.
    KINDS: Collection[str]

    @staticmethod
    def render(split: str, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images (count, SIDE, SIDE, 3) and labels (count,)."""


EMBEDDED: Mapping[str, Embedded] = {"shapes": shapes, "stripes": stripes}


def embedded(data: Data) -> Embedded | None:
    """What renders these images; None for a set that comes from elsewhere.

    Raises ValueError for classes, pixels or a generator's version that it does not have.
    """
    if not data.embedded:
        if data.kind is not None:
            raise ValueError(
                f"data.kind={data.kind}: {data.name} is not made of kinds; leave it out, or take data=stripes"
            )
        return None
    made = EMBEDDED[data.name]
    if data.stored is not None:
        raise ValueError(
            f"data.stored={data.stored}: {data.name} is made, not decoded; leave it out"
        )
    if data.kind is not None:
        one_of("data.kind", data.kind, tuple(made.KINDS))
    stated = {"classes": data.classes, "native": data.native, "generator": data.generator or 1}
    found = {"classes": made.CLASSES, "native": made.SIDE, "generator": made.VERSION}
    for name, value in stated.items():
        if value != found[name]:
            raise ValueError(f"data.{name}={value}: {data.name} has {found[name]}")
    return made


def of_kind(data: Data, count: int) -> NDArray[np.intp]:
    """Which of so many images of a source a data set is about: all, or those of its kind."""
    made = embedded(data)
    if made is None or data.kind is None:
        return np.arange(count)
    return np.arange(list(made.KINDS).index(data.kind), count, len(made.KINDS))
