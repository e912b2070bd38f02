"""What the cost of runs grows with, and factors fitted to it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablation.images.cache import Sizes
from ablation.runs.config import Run
from ablation.theory.cost import cost
from ablation.theory.network import Network
from ablation.theory.own import Own


@lru_cache(maxsize=65536)
def work(network: Network | Own, images: int) -> tuple[float, ...]:
    """What the cost of a batch grows with: multiply-adds of its full and of its grouped convolutions,
    elements of its feature maps, and, whatever the batch, convolutions and parameters."""
    counted = cost(network)
    return (
        images * (counted.macs - counted.grouped),
        images * counted.grouped,
        images * counted.activations,
        counted.products,
        counted.params,
    )


def times(factors: Sequence[float], terms: Sequence[float]) -> float:
    """The sum of factors x terms."""
    return sum(factor * term for factor, term in zip(factors, terms, strict=True))


def evaluated(run: Run, sizes: Sizes) -> int:
    """Images that a run evaluates: validation every few epochs, and at its end, with as many training images
    and the evaluation split."""
    between = (run.recipe.epochs - 1) // run.recipe.validate_every
    final = (
        sizes.validation
        + min(sizes.validation, sizes.train)
        + (sizes.evaluation if run.evaluate else 0)
    )
    return between * sizes.validation + final


def fit(terms: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, ...]:
    """Factors of at least 0, by least squares of relative errors; terms (networks, kinds), values
    (networks,)."""
    from scipy import optimize  # slow to import

    scale = np.maximum(terms.max(0), np.finfo(float).tiny)
    factors, _ = optimize.nnls(terms / scale / values[:, None], np.ones(len(values)))
    return tuple((factors / scale).tolist())


def left_out_error(terms: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Median relative error, each value predicted from the others."""
    kept = [np.arange(len(values)) != left for left in range(len(values))]
    predicted = np.array(
        [terms[~others][0] @ fit(terms[others], values[others]) for others in kept]
    )
    return float(np.median(np.abs(predicted / values - 1)))
