"""`stripes`: images made by the project as a positive control: a set on which each dimension must matter,
because it was made so. Never evidence for the paper.

Which way do the stripes run? An image shows a patch of stripes at one of six angles, a class each. Half of
the images are fine and half faint; each kind has an error of its own, drawn from easy to hard:

fine: more cycles than a small network has pixels for; only resolution brings them back.
faint: wide stripes of little contrast in coarse noise. A small network reads the clearer ones; a deeper or a
wider one reads more, until what is left is lost in the noise for any network.

So depth and width remove one part of the error and resolution the other, each until nothing is left of its
part, and only a network that grows in all of them removes both.

Three faint images in ten are clear, and colours are muted, so that every network learns: what has learned
clear stripes soon learns faint ones, and stripes of colours as far apart as they can be are learned in jumps.

All is computed in double precision and rounded to eight bits once, so that another processor renders the same
images.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ablation.images.shapes import in_chunks

VERSION = 3  # raise when the same seed would give other images; it is part of the data's identity
CLASSES = 6
# By the direction across the stripes.
NAMES = tuple(f"{180 * number // CLASSES} degrees" for number in range(CLASSES))
SIDE = 96  # native pixels
SIZES = {"train": 18_000, "evaluation": 3000}
CHUNK = 144  # images with a generator of their own: as many of each kind, and in it of each class

# Of all kinds.
GROUND = (0.3, 0.7)  # colour channels of the ground
TURN = 0.25  # most that stripes are turned away from their class's angle, in steps between classes

# Cycles across the image; contrasts as amplitudes of a colour's length; colours as the deviation of a channel
# from grey; noise as that of a channel of a pixel; radii of patches and offsets of their centres in image
# sides. (from, to), drawn evenly where nothing else is said.
FINE_CYCLES = (8.5, 15.0)  # log-evenly in the power of a draw, so that more are fine than coarse
FINE_POWER = 0.8
FINE_CONTRAST = (0.2, 0.4)
FINE_COLOUR = 1.0
FINE_RADIUS = (0.32, 0.48)
FINE_NOISE = 0.12

FAINT_CYCLES = (1.5, 3.0)  # log-evenly
FAINT_CONTRAST = (0.0045, 0.027)  # log-evenly, as those of clear ones
CLEAR_CONTRAST = (0.06, 0.4)
CLEAR = 0.3  # share of faint images that are clear
FAINT_COLOUR = 0.4
FAINT_RADIUS = (0.36, 0.46)
FAINT_NOISE = 0.03
# Of the noise across the image: so coarse that more pixels do not bring more of it.
FAINT_GRAINS = 24

OFFSET = 0.12
RAMP = 10  # native pixels over which a patch ends

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

# Centres of pixels, in image sides from the image's centre.
GRID: Floats = (np.arange(SIDE) + 0.5) / SIDE - 0.5


def render(split: str, count: int, seed: int) -> tuple[NDArray[np.uint8], Labels]:
    """`count` images (count, SIDE, SIDE, 3) and labels (count,) of one split; the first n are the same
    whatever the count.

    Image i is of the kind KINDS[i % 2]. Each chunk of images has its own generator, seeded by (seed, split,
    chunk), and classes as often as each other.
    """
    place = list(SIZES).index(split)
    return in_chunks(lambda chunk: _chunk((seed, place, chunk)), CHUNK, count)


def _chunk(seed: tuple[int, ...]) -> tuple[NDArray[np.uint8], Labels]:
    rng = np.random.default_rng([VERSION, *seed])
    count = CHUNK // len(KINDS)
    images = np.empty((CHUNK, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(CHUNK, np.int64)
    for kind, draw in enumerate(KINDS.values()):
        classes = rng.permutation(count) % CLASSES
        ground = rng.uniform(*GROUND, (count, 1, 1, 3))
        image = ground + draw(rng, classes)
        images[kind :: len(KINDS)] = np.round(np.clip(image, 0, 1) * 255)
        labels[kind :: len(KINDS)] = classes
    return images, labels


def _fine(rng: np.random.Generator, classes: Labels) -> Floats:
    count = len(classes)
    cycles = _between(FINE_CYCLES, rng.uniform(size=count) ** FINE_POWER)
    wave = _wave(rng, cycles, _angle(rng, classes))
    patch = _patch(rng, count, FINE_RADIUS)
    contrast = rng.uniform(*FINE_CONTRAST, (count, 1, 1))
    noise = FINE_NOISE * rng.standard_normal((count, SIDE, SIDE, 3))
    return _coloured(rng, FINE_COLOUR, contrast * patch * wave) + noise


def _faint(rng: np.random.Generator, classes: Labels) -> Floats:
    count = len(classes)
    cycles = _between(FAINT_CYCLES, rng.uniform(size=count))
    wave = _wave(rng, cycles, _angle(rng, classes))
    patch = _patch(rng, count, FAINT_RADIUS)
    clear = rng.uniform(size=(count, 1, 1)) < CLEAR
    place = rng.uniform(size=(count, 1, 1))
    contrast = np.where(clear, _between(CLEAR_CONTRAST, place), _between(FAINT_CONTRAST, place))
    grains = FAINT_NOISE * rng.standard_normal((count, FAINT_GRAINS, FAINT_GRAINS, 3))
    grain = SIDE // FAINT_GRAINS
    noise = grains.repeat(grain, 1).repeat(grain, 2)
    return _coloured(rng, FAINT_COLOUR, contrast * patch * wave) + noise


# What each draws, (N, SIDE, SIDE, 3) around 0.
KINDS: Mapping[str, Callable[[np.random.Generator, Labels], Floats]] = {
    "fine": _fine,
    "faint": _faint,
}


def _between(ends: tuple[float, float], place: Floats) -> Floats:
    """Log-even between the ends, where place runs from 0 to 1."""
    low, high = ends
    return low * (high / low) ** place


def _angle(rng: np.random.Generator, classes: Labels) -> Floats:
    """Of the stripes, in radians."""
    return (classes + rng.uniform(-TURN, TURN, len(classes))) * math.pi / CLASSES


def _patch(rng: np.random.Generator, count: int, radii: tuple[float, float]) -> Floats:
    """(count, SIDE, SIDE): discs of 1 on 0 about the middle."""
    radius = rng.uniform(*radii, (count, 1, 1))
    x, y = rng.uniform(-OFFSET, OFFSET, (2, count, 1))
    distance = np.sqrt((GRID - x)[:, None, :] ** 2 + (GRID - y)[:, :, None] ** 2)
    return np.clip((radius - distance) * SIDE / RAMP + 0.5, 0, 1)


def _wave(rng: np.random.Generator, cycles: Floats, angle: Floats) -> Floats:
    """(N, SIDE, SIDE) in -1..1: sin(a x + b y + phase), whose sines and cosines of rows and columns are all
    that has to be computed."""
    phase = rng.uniform(0, 2 * math.pi, len(cycles))
    across = 2 * math.pi * np.outer(cycles * np.cos(angle), GRID) + phase[:, None]
    down = 2 * math.pi * np.outer(cycles * np.sin(angle), GRID)
    return (
        np.cos(down)[:, :, None] * np.sin(across)[:, None, :]
        + np.sin(down)[:, :, None] * np.cos(across)[:, None, :]
    )


def _coloured(rng: np.random.Generator, colour: float, pattern: Floats) -> Floats:
    """(N, SIDE, SIDE, 3): patterns (N, SIDE, SIDE), each along a direction of colour space about grey."""
    shares = 1 + colour * rng.standard_normal((len(pattern), 3))
    directions = shares / np.sqrt((shares**2).sum(1, keepdims=True))
    return pattern[..., None] * directions[:, None, None, :]
