"""Embedded images drawn chunk by chunk, each with a generator of its own, on all processors."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Drawn = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, side, side, 3) and labels (N,)


def in_chunks(draw: Callable[[int], Drawn], size: int, count: int) -> Drawn:
    """The first `count` images and labels of chunks 0, 1, ... of `size` images each: the first n are the same
    whatever the count."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images, labels = zip(*pool.map(draw, range(math.ceil(count / size))), strict=True)
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]
