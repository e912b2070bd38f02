"""`shapes`: images made by the project, so that a study needs no download. A demonstration, never evidence
for the paper.

A class is a silhouette (circle with radial harmonic k = 2, 3 or 5) filled with a texture (stripes, checks,
rings, grid): telling the 12 classes apart takes the whole outline and the fine texture, so receptive field,
number of features and pixels all matter by design.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # raise when the same seed would give other images
HARMONICS = (2, 3, 5)
TEXTURES = ("stripes", "checks", "rings", "grid")
CLASSES = len(HARMONICS) * len(TEXTURES)
NAMES = tuple(f"{harmonic} lobes, {texture}" for harmonic in HARMONICS for texture in TEXTURES)
SIDE = 96  # native pixels
SIZES = {"train": 6000, "evaluation": 3000}
KINDS = ("an object on clutter",)
CHUNK = 120

# What makes an image hard, as (easy, hard): most images are drawn near easy, few near hard (see `skewed`), so
# that training starts quickly and no network reads every image.
RADIUS = (0.42, 0.28)  # of the object, in image sides
HARMONIC = (0.45, 0.28)  # amplitude of the outline's harmonic, in radii
CONTRAST = (1.0, 0.4)  # of the texture's two colours
CLUTTER = (0.02, 0.10)  # deviation of the 1/f noise behind the object
NOISE = (0.0, 0.10)  # deviation of the noise of each pixel

# The rest is uniform.
CYCLES = (2, 11)  # of the texture across the object, log-uniform
OFFSET = 0.05  # of its centre from the image's, in image sides
# Colour channels of the texture's two colours and of the ground.
DARK = (0.0, 0.35)
LIGHT = (0.65, 1.0)
GROUND = (0.3, 0.7)
LIGHTING = 0.15  # largest change of brightness from the centre to an edge

Floats = NDArray[np.float32]
Uniform = Callable[..., Floats]
Drawn = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, side, side, 3) and labels (N,)


def render(
    split: str, count: int, seed: int, side: int = SIDE
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images (count, side, side, 3) and labels (count,) of one split; the first n are the same
    whatever the count.

    Classes are balanced and come in random order. Each chunk of images has its own generator, seeded by
    (seed, split, chunk).
    """
    place = list(SIZES).index(split)
    return in_chunks(lambda chunk: _chunk((seed, place, chunk), side), CHUNK, count)


def in_chunks(draw: Callable[[int], Drawn], size: int, count: int) -> Drawn:
    """The first `count` images and labels of chunks 0, 1, ... of `size` images each: the first n are the same
    whatever the count."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images, labels = zip(*pool.map(draw, range(math.ceil(count / size))), strict=True)
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def _chunk(seed: tuple[int, ...], side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng([VERSION, *seed])
    labels = rng.permutation(CHUNK) % CLASSES
    harmonic = np.take(HARMONICS, labels // len(TEXTURES))
    texture = labels % len(TEXTURES)

    def uniform(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (CHUNK, *shape)).astype(np.float32)[..., None, None]

    def skewed(easy: float, hard: float) -> Floats:
        return easy + (hard - easy) * uniform(0, 1) ** 3

    radius = skewed(*RADIUS)
    x, y = _object_coordinates(uniform, radius, side)
    inside = _silhouette(uniform, x, y, radius, harmonic, skewed(*HARMONIC), side)
    pattern = _texture(uniform, x, y, texture)

    # (N, 1, 1, 3).
    dark, light, ground = (
        np.moveaxis(uniform(low, high, 3), 1, -1) for low, high in (DARK, LIGHT, GROUND)
    )
    contrast = skewed(*CONTRAST)[..., None]
    surface = (dark + light) / 2 + contrast * (light - dark) / 2 * pattern[..., None]
    clutter = skewed(*CLUTTER)[..., None] * _pink_noise(rng, side)[..., None]
    image = ground + clutter + inside[..., None] * (surface - ground - clutter)

    slope_x = uniform(-LIGHTING, LIGHTING)
    slope_y = uniform(-LIGHTING, LIGHTING)
    grid = np.linspace(-1, 1, side, dtype=np.float32)
    image *= (1 + slope_x * grid + slope_y * grid[:, None])[..., None]  # lighting
    image += skewed(*NOISE)[..., None] * rng.standard_normal(image.shape, dtype=np.float32)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), labels.astype(np.int64)


def _object_coordinates(uniform: Uniform, radius: Floats, side: int) -> tuple[Floats, Floats]:
    """x, y of every pixel in units of the object's mean radius, turned and shifted at random: two of (N,
    side, side)."""
    angle = uniform(0, 2 * math.pi)
    centre_x = uniform(-OFFSET, OFFSET)
    centre_y = uniform(-OFFSET, OFFSET)
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    u = (grid - centre_x) / radius
    v = (grid[:, None] - centre_y) / radius
    return np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u


def _silhouette(
    uniform: Uniform,
    x: Floats,
    y: Floats,
    radius: Floats,
    harmonic: NDArray[np.int64],
    amplitude: Floats,
    side: int,
) -> Floats:
    """1 inside, 0 outside, one pixel of ramp; the outline is 1 + a cos(k t) with a faint second harmonic as
    jitter."""
    t = np.arctan2(y, x)
    k = harmonic[:, None, None].astype(np.float32)
    outline = (
        1
        + amplitude * np.cos(k * t)
        + uniform(0, 0.05) * np.cos((k + 1) * t + uniform(0, 2 * math.pi))
    )
    return np.clip((outline - np.hypot(x, y)) * radius * side + 0.5, 0, 1)


def _texture(uniform: Uniform, x: Floats, y: Floats, texture: NDArray[np.int64]) -> Floats:
    """-1..1, soft-edged, 2 to 9 cycles across the object (log-uniform), turned and shifted at random."""
    cycles = CYCLES[0] * (CYCLES[1] / CYCLES[0]) ** uniform(0, 1)
    angle = uniform(0, math.pi)
    phase_u = uniform(0, 2 * math.pi)
    phase_v = uniform(0, 2 * math.pi)
    u = np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y) + phase_u
    v = np.pi * cycles * (np.cos(angle) * y - np.sin(angle) * x) + phase_v
    wave_u, wave_v = np.sin(u), np.sin(v)
    rings = np.sin(np.pi * cycles * np.hypot(x, y) + phase_u)
    choices = (wave_u, wave_u * wave_v * 2, rings, np.maximum(wave_u, wave_v) - 0.5)
    return np.tanh(3 * np.choose(texture[:, None, None], choices))


def _pink_noise(rng: np.random.Generator, side: int) -> Floats:
    """(N, side, side) of zero mean and unit deviation whose amplitude falls as 1 / frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    weight = (1 / frequency).astype(np.float32)
    white = rng.standard_normal((CHUNK, side, side), dtype=np.float32)
    pink = np.fft.irfft2(np.fft.rfft2(white) * weight, s=(side, side))
    return (pink / pink.std(axis=(1, 2), keepdims=True)).astype(np.float32)
