"""RandAugment and pairs of mixed images, in batches on the device; what is drawn comes from outside, so that
an epoch can be drawn again."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]

# What magnitude 10 means, as in the released code of AutoAugment and RandAugment (tensorflow/tpu,
# models/official/efficientnet/autoaugment.py); a translation of 100 px is one of an image of 224.
LARGEST = 10
SHEAR = 0.3
DEGREES = 30.0
SHIFT = 100 / 224
ENHANCE = 0.9  # more or less than the image itself
BITS = 4  # that posterize takes away
GREY = 128.0  # lies where nothing was
# Weights of red, green and blue in brightness, in 65,536ths: Pillow's, of ITU-R 601-2.
LUMA = (19595, 38470, 7471)


def augmented(pixels: Tensor, drawn: Tensor, magnitude: float) -> Tensor:
    """uint8 (B, side, side, 3) after RandAugment (Cubuk et al. 2020): operations drawn for each image, one
    after the other.

    drawn: int64 (B, N) on the CPU, see draw_operations. magnitude: of all, 0 to 10.
    """
    images = pixels.permute(0, 3, 1, 2)
    for layer in drawn.T:
        images = _one_each(images, layer, magnitude / LARGEST)
    return images.permute(0, 2, 3, 1)


def draw_operations(count: int, layers: int, draw: torch.Generator) -> Tensor:
    """(count, layers): which operation, and beyond their number the same in the other direction."""
    return torch.randint(2 * len(OPERATIONS), (count, layers), generator=draw)


def _one_each(images: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """Each image after the operation that was drawn for it; all with the same one at once."""
    out = images.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        rows = (drawn % len(OPERATIONS) == number).nonzero()[:, 0]
        if len(rows):
            back = drawn[rows] >= len(OPERATIONS)
            signed = torch.where(back, -strength, strength).to(images.device)
            place = rows.to(images.device)
            out[place] = operation(images[place], signed)
    return out


def _identity(images: Tensor, signed: Tensor) -> Tensor:
    return images


def _shear_x(images: Tensor, signed: Tensor) -> Tensor:
    return warped(images, [1, SHEAR * signed, 0, 0, 1, 0])


def _shear_y(images: Tensor, signed: Tensor) -> Tensor:
    return warped(images, [1, 0, 0, SHEAR * signed, 1, 0])


def _translate_x(images: Tensor, signed: Tensor) -> Tensor:
    return warped(images, [1, 0, 2 * SHIFT * signed, 0, 1, 0])


def _translate_y(images: Tensor, signed: Tensor) -> Tensor:
    return warped(images, [1, 0, 0, 0, 1, 2 * SHIFT * signed])


def _rotate(images: Tensor, signed: Tensor) -> Tensor:
    turn = torch.deg2rad(DEGREES * signed)
    return warped(images, [turn.cos(), turn.sin(), 0, -turn.sin(), turn.cos(), 0])


def warped(images: Tensor, rows: list[Tensor | float]) -> Tensor:
    """uint8 (n, 3, side, side): at (x, y) what lay at (ax + by + c, dx + ey + f), bilinear, grey beyond the
    edges.

    rows: a to f, numbers or (n,); x and y run from -1 to 1.
    """
    zero = next(torch.zeros_like(each) for each in rows if isinstance(each, Tensor))
    where = torch.stack([zero + each for each in rows], 1).view(-1, 2, 3)
    grid = F.affine_grid(where, list(images.shape), align_corners=False)
    beside_grey = images.float() - GREY
    moved = F.grid_sample(beside_grey, grid, mode="bilinear", align_corners=False)
    return (moved + GREY).round().to(torch.uint8)


def _brightness(images: Tensor, signed: Tensor) -> Tensor:
    return _away_from(torch.zeros_like(images), images, signed)


def _colour(images: Tensor, signed: Tensor) -> Tensor:
    return _away_from(_grey(images), images, signed)


def _contrast(images: Tensor, signed: Tensor) -> Tensor:
    mean = _grey(images).float().mean((1, 2, 3), keepdim=True)
    return _away_from((mean + 0.5).floor(), images, signed)


def _sharpness(images: Tensor, signed: Tensor) -> Tensor:
    smooth = images.float()
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(smooth, kernel / 13, groups=3).add(0.5).floor()
    return _away_from(smooth, images, signed)


def _grey(images: Tensor) -> Tensor:
    """Brightness, uint8 (n, 1, side, side)."""
    parts = torch.tensor(LUMA, device=images.device)[:, None, None]
    return ((images * parts).sum(1, keepdim=True) + 2**15 >> 16).to(torch.uint8)


def _away_from(less: Tensor, images: Tensor, signed: Tensor) -> Tensor:
    """Images blended with what has less of something, or moved away from it; fractions are cut off, as Pillow
    does."""
    factor = (1 + ENHANCE * signed)[:, None, None, None]
    return torch.lerp(less.float(), images.float(), factor).clamp(0, 255).to(torch.uint8)


def _posterize(images: Tensor, signed: Tensor) -> Tensor:
    taken = (BITS * signed.abs()).round().to(torch.uint8)[:, None, None, None]
    return images >> taken << taken


def _solarize(images: Tensor, signed: Tensor) -> Tensor:
    threshold = (256 * (1 - signed.abs()))[:, None, None, None]
    return torch.where(images < threshold, images, 255 - images)


def _autocontrast(images: Tensor, signed: Tensor) -> Tensor:
    """Each channel stretched over the whole range; one of a single value stays."""
    values = images.long()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    stretched = (values - low) * 255 // (high - low).clamp(min=1)
    return torch.where(high > low, stretched, values).to(torch.uint8)


def _equalize(images: Tensor, signed: Tensor) -> Tensor:
    """Each channel's histogram made even, by Pillow's rule."""
    values = images.flatten(2).long()
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    before = counts.cumsum(2) - counts
    even = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, even.gather(2, values), values).to(torch.uint8).view(images.shape)


# RandAugment's fourteen (section 3 of its paper). Each grows with the magnitude: in the released code three
# of them shrink.
OPERATIONS: Mapping[str, Operation] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    "colour": _colour,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear x": _shear_x,
    "shear y": _shear_y,
    "translate x": _translate_x,
    "translate y": _translate_y,
}


def draw_mixes(count: int, mixup: float, cutmix: float, rng: np.random.Generator) -> Tensor:
    """(count, 5), equal for both images of a pair: how much of its partner an image takes, and where: top,
    bottom, left and right in image units.

    mixup (Zhang et al. 2018): a share from Beta(mixup, mixup), everywhere. cutmix (Yun et al. 2019): all, in
    a box whose area is drawn from Beta(cutmix, cutmix) and whose centre lies anywhere. With both, one or the
    other.
    """
    pairs = count // 2
    chance = 0.5 if mixup and cutmix else float(cutmix > 0)
    cuts = rng.random(pairs) < chance
    area, share = (rng.beta(alpha or 1, alpha or 1, pairs) for alpha in (cutmix, mixup))
    much = np.where(cuts, 1, share)
    half, centres = np.sqrt(area) / 2, rng.random((2, pairs))
    low = np.where(cuts, (centres - half).clip(min=0), 0)
    high = np.where(cuts, (centres + half).clip(max=1), 1)
    rows = np.stack([much, low[0], high[0], low[1], high[1]], 1)
    return torch.from_numpy(rows.repeat(2, 0).astype(np.float32))


def mixed(images: Tensor, mixes: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, side, side) with their partners, image 2i with 2i + 1; and the share (B,) that the partner has
    of each.

    mixes: (B, 5), see draw_mixes.
    """
    side = images.shape[2]
    middles = (torch.arange(side, device=images.device) + 0.5) / side
    much, top, bottom, left, right = (each[:, None] for each in mixes.T)
    rows, columns = (
        (low <= middles) & (middles < high) for low, high in ((top, bottom), (left, right))
    )
    weight = much[:, :, None] * (rows[:, :, None] & columns[:, None, :])
    return images.lerp(partners(images), weight[:, None]), weight.mean((1, 2))


def partners(each: Tensor) -> Tensor:
    """Of (B, ...) the rows in which those of a pair have changed places."""
    return each[torch.arange(len(each), device=each.device) ^ 1]
