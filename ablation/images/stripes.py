"""`stripes`: images made by the project as a positive control: a set on which each dimension must matter,
because it was made so. Never evidence for the paper.

Which way do the stripes run? An image shows stripes at one of six angles, a class each, and is of one of
three kinds, which take turns. Each kind has an error of its own, drawn from easy to hard, so that it falls
with diminishing returns:

fine: more cycles than a small network has pixels for; only resolution brings them back.
faint: wide stripes of little contrast in coarse noise; a deeper or a wider network reads more of them.
crowded: stripes of all six angles, one of them the strongest; here, too, depth and width each help.

Faint and crowded stripes are grey: what reads stripes of any colour takes several times the filters, and a
small network then learns them in jumps, so that its seeds differ.

All is computed in double precision and rounded to eight bits once, so that another processor renders the same
images.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ablation.images.chunks import in_chunks

VERSION = 2  # raise when the same seed would give other images; it is part of the data's identity
CLASSES = 6
SIDE = 96  # native pixels
SIZES = {"train": 18_000, "evaluation": 3000}
CHUNK = 144  # images with a generator of their own: as many of each kind, and in it of each class

# Of all kinds.
GROUND = (0.3, 0.7)  # colour channels of the ground
TURN = 0.25  # most that stripes are turned away from their class's angle, in steps between classes

# Cycles across the image; contrasts as amplitudes of a colour's length; noise as the deviation of a channel;
# (from, to), drawn evenly where nothing else is said.
FINE_CYCLES = (8, 14.5)  # log-evenly in the power of a draw, so that more are fine than coarse
FINE_POWER = 0.8
FINE_CONTRAST = (0.2, 0.4)
FINE_RADIUS = (0.32, 0.48)  # of the patch, in image sides
FINE_OFFSET = 0.12  # of its centre
FINE_NOISE = 0.12

FAINT_CYCLES = (0.6, 2.5)  # log-evenly
FAINT_CONTRAST = (0.008, 0.08)  # log-evenly
FAINT_NOISE = 0.03
# Of the noise across the image: so coarse that more pixels do not bring more of it.
FAINT_GRAINS = 24

CROWDED_CYCLES = (2.6, 3.4)  # log-evenly, of each
CROWDED_CONTRAST = 0.12  # of each
CROWDED_LEAD = (0.2, 0.9)  # log-evenly: by how much of it the strongest exceeds the others
CROWDED_NOISE = 0.05

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

# Centres of pixels, in image sides from the image's centre.
GRID: Floats = (np.arange(SIDE) + 0.5) / SIDE - 0.5
GREY: Floats = np.ones((1, 3))  # direction of colour space


def render(split: str, count: int, seed: int) -> tuple[NDArray[np.uint8], Labels]:
    """`count` images (count, SIDE, SIDE, 3) and labels (count,) of one split; the first n are the same
    whatever the count.

    Image i is of the kind KINDS[i % 3]. Each chunk of images has its own generator, seeded by (seed, split,
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
    radius = rng.uniform(*FINE_RADIUS, (count, 1, 1))
    x, y = rng.uniform(-FINE_OFFSET, FINE_OFFSET, (2, count, 1))
    distance = np.sqrt((GRID - x)[:, None, :] ** 2 + (GRID - y)[:, :, None] ** 2)
    patch = np.clip((radius - distance) * SIDE / 10 + 0.5, 0, 1)  # ten pixels of ramp
    contrast = rng.uniform(*FINE_CONTRAST, (count, 1, 1))
    colours = rng.standard_normal((count, 3))
    pattern = _coloured(contrast * patch * wave, colours)
    return pattern + FINE_NOISE * rng.standard_normal(pattern.shape)


def _faint(rng: np.random.Generator, classes: Labels) -> Floats:
    count = len(classes)
    cycles = _between(FAINT_CYCLES, rng.uniform(size=count))
    contrast = _between(FAINT_CONTRAST, rng.uniform(size=(count, 1, 1)))
    wave = _wave(rng, cycles, _angle(rng, classes))
    grains = FAINT_NOISE * rng.standard_normal((count, FAINT_GRAINS, FAINT_GRAINS, 3))
    grain = SIDE // FAINT_GRAINS
    return _coloured(contrast * wave, GREY) + grains.repeat(grain, 1).repeat(grain, 2)


def _crowded(rng: np.random.Generator, classes: Labels) -> Floats:
    count = len(classes)
    lead = _between(CROWDED_LEAD, rng.uniform(size=count))
    crowd = np.zeros((count, SIDE, SIDE))
    for other in range(CLASSES):
        cycles = _between(CROWDED_CYCLES, rng.uniform(size=count))
        wave = _wave(rng, cycles, _angle(rng, np.full(count, other)))
        # The sum of contrasts tells nothing about the lead.
        share = (1 + lead * (classes == other)) / (1 + lead / CLASSES)
        crowd += CROWDED_CONTRAST * share[:, None, None] * wave
    pattern = _coloured(crowd, GREY)
    return pattern + CROWDED_NOISE * rng.standard_normal(pattern.shape)


# What each draws, (N, SIDE, SIDE, 3) around 0.
KINDS: Mapping[str, Callable[[np.random.Generator, Labels], Floats]] = {
    "fine": _fine,
    "faint": _faint,
    "crowded": _crowded,
}


def _between(ends: tuple[float, float], place: Floats) -> Floats:
    """Log-even between the ends, where place runs from 0 to 1."""
    low, high = ends
    return low * (high / low) ** place


def _angle(rng: np.random.Generator, classes: Labels) -> Floats:
    """Of the stripes, in radians."""
    return (classes + rng.uniform(-TURN, TURN, len(classes))) * math.pi / CLASSES


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


def _coloured(pattern: Floats, colours: Floats) -> Floats:
    """(N, SIDE, SIDE, 3): patterns (N, SIDE, SIDE) along directions of colour space (N, 3), whose length does
    not matter."""
    directions = colours / np.sqrt((colours**2).sum(1, keepdims=True))
    return pattern[..., None] * directions[:, None, None, :]
