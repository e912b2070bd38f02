"""RandAugment, mixup and cutmix: each operation is Pillow's, each share is counted, and an epoch is the same
however it is drawn."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from ablation.images.augment import (
    BITS,
    ENHANCE,
    GREY,
    OPERATIONS,
    SHIFT,
    augmented,
    draw_mixes,
    draw_operations,
    mixed,
    partners,
    warped,
)
from ablation.images.batches import Batches
from ablation.images.splits import Images
from ablation.runs.config import Recipe
from ablation.train.classifier import Classifier

STRONG = Recipe(
    epochs=2, batch_size=16, learning_rate=0.1, randaugment=2, magnitude=9, mixup=0.8, cutmix=1.0
)
SIDE = 24


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """uint8 (8, SIDE, SIDE, 3): smooth, noisy, dark, of one colour."""
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 255, SIDE)[:, None, None] * np.linspace(0.3, 1, SIDE)[:, None]
    noise = rng.integers(0, 256, (5, SIDE, SIDE, 3))
    some = [
        np.broadcast_to(smooth, (SIDE, SIDE, 3)),
        *noise,
        noise[0] // 4,
        np.full_like(noise[0], 77),
    ]
    return torch.from_numpy(np.stack(some).astype(np.uint8))


def enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[..., Image.Image]:
    return lambda picture, strength: kind(picture).enhance(1 + ENHANCE * strength)


PILLOWS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda picture, strength: picture,
    "autocontrast": lambda picture, strength: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength: ImageOps.equalize(picture),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, 256 * (1 - abs(strength))),
    "posterize": lambda picture, strength: ImageOps.posterize(
        picture, 8 - round(BITS * abs(strength))
    ),
    "brightness": enhanced(ImageEnhance.Brightness),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}


def operate(name: str, images: Tensor, strength: float) -> Tensor:
    """uint8 (N, side, side, 3) after one operation."""
    planes = images.permute(0, 3, 1, 2)
    signed = torch.full((len(images),), strength)
    return OPERATIONS[name](planes, signed).permute(0, 2, 3, 1)


@pytest.mark.parametrize("strength", [-0.9, -0.3, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", PILLOWS)
def test_an_operation_on_values_is_pillows(name: str, strength: float, photographs: Tensor) -> None:
    """To a level, where a fraction falls on the other side; and no operation at strength 0 that is one of
    strength."""
    found = operate(name, photographs, strength)
    for image, ours in zip(photographs, found, strict=True):
        theirs = np.asarray(PILLOWS[name](Image.fromarray(image.numpy()), strength), np.int16)
        assert np.abs(theirs - ours.numpy()).max() <= 1
    if strength == 0 and name not in ("autocontrast", "equalize"):
        assert (found.int() - photographs.int()).abs().max() == 0


@pytest.mark.parametrize("name", ["shear x", "shear y", "rotate", "translate x", "translate y"])
def test_an_operation_on_places_goes_both_ways_and_leaves_grey(
    name: str, photographs: Tensor
) -> None:
    away = operate(name, photographs, 0.9)
    assert torch.equal(operate(name, photographs, 0.0), photographs)
    back = operate(name, photographs, -0.9)
    corners = [
        each[:, row, column] for each in (away, back) for row in (0, -1) for column in (0, -1)
    ]
    assert any((corner == GREY).all() for corner in corners)
    upside_down = operate(name, photographs.flip(1, 2), 0.9).flip(1, 2)
    about_the_centre = back if name.startswith("translate") else away
    assert (upside_down.int() - about_the_centre.int()).abs().max() <= 1


def test_a_turn_of_90_degrees_and_a_shift_of_pixels_are_exact(photographs: Tensor) -> None:
    planes, one = photographs.permute(0, 3, 1, 2), torch.ones(len(photographs))
    assert torch.equal(warped(planes, [0, one, 0, -one, 0, 0]), planes.rot90(-1, (2, 3)))
    moved = warped(planes, [one, 0, 2 * 3 / SIDE, 0, 1, 0])
    assert torch.equal(moved[..., :-3], planes[..., 3:]) and (moved[..., -3:] == GREY).all()


def test_a_rotation_is_pillows(photographs: Tensor) -> None:
    """Where no pixel comes from beyond the edges."""
    found = operate("rotate", photographs[:1], 1.0)[0].numpy()
    theirs = np.asarray(
        Image.fromarray(photographs[0].numpy()).rotate(-30, Image.Resampling.BILINEAR), np.int16
    )
    inside = np.hypot(*(np.indices((SIDE, SIDE)) - (SIDE - 1) / 2)) < SIDE / 2 - 1
    assert np.abs(theirs - found)[inside].max() <= 1


def test_images_get_their_own_operations_one_after_the_other(photographs: Tensor) -> None:
    names = list(OPERATIONS)
    bright, shifted = names.index("brightness"), names.index("translate x")
    drawn = torch.tensor([[0, 0], [bright, shifted], [bright + len(names), 0]])
    found = augmented(photographs[1:4], drawn, 6)
    assert torch.equal(found[0], photographs[1])
    twice = operate("translate x", operate("brightness", photographs[2:3], 0.6), 0.6)
    assert torch.equal(found[1], twice[0])
    assert torch.equal(found[2], operate("brightness", photographs[3:4], -0.6)[0])
    assert (found[1, :, -int(SHIFT * 0.6 * SIDE) :] == GREY).all()


def test_every_operation_is_drawn_as_often_both_ways() -> None:
    drawn = draw_operations(7000, 2, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn.flatten(), minlength=2 * len(OPERATIONS))
    assert len(OPERATIONS) == 14 and len(counts) == 28
    assert counts.min() > 400 and counts.max() < 600


def test_mixup_takes_a_share_everywhere_and_cutmix_all_of_a_box() -> None:
    images = torch.rand(4, 3, 8, 8)
    rows = torch.tensor([[0.25, 0, 1, 0, 1], [1.0, 0.25, 0.5, 0, 0.5]]).repeat_interleave(2, 0)
    found, shares = mixed(images, rows)
    assert torch.allclose(found[0], 0.75 * images[0] + 0.25 * images[1])
    assert torch.allclose(found[1], 0.75 * images[1] + 0.25 * images[0])
    wanted = images[2].clone()
    wanted[:, 2:4, :4] = images[3][:, 2:4, :4]
    assert torch.equal(found[2], wanted)
    assert torch.equal(shares, torch.tensor([0.25, 0.25, 2 * 4 / 64, 2 * 4 / 64]))
    assert partners(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.parametrize(
    ("mixup", "cutmix", "boxes"), [(0.8, 0.0, 0.0), (0.0, 1.0, 1.0), (0.8, 1.0, 0.5)]
)
def test_shares_are_drawn_from_their_beta(mixup: float, cutmix: float, boxes: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of mixup's; a box of cutmix is cut at the edges."""
    rows = draw_mixes(20_000, mixup, cutmix, np.random.default_rng(0))
    assert torch.equal(rows[::2], rows[1::2])
    whole = (rows[:, 1:] == torch.tensor([0.0, 1.0, 0.0, 1.0])).all(1)
    assert (~whole).float().mean().item() == pytest.approx(boxes, abs=0.02)
    if mixup:
        shares = rows[whole, 0]
        assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
        assert shares.var().item() == pytest.approx(1 / (4 * (2 * mixup + 1)), abs=0.01)
    cut = rows[~whole]
    assert (cut[:, 0] == 1).all()
    assert ((cut[:, 1:] >= 0) & (cut[:, 1:] <= 1)).all()
    assert (cut[:, 1] <= cut[:, 2]).all() and (cut[:, 3] <= cut[:, 4]).all()


def test_the_loss_of_a_mixed_image_is_that_of_soft_labels() -> None:
    torch.manual_seed(0)
    logits, labels, shares = torch.randn(6, 5), torch.tensor([0, 1, 2, 2, 4, 3]), torch.rand(6)
    module = Classifier(torch.nn.Identity(), dataclasses.replace(STRONG, label_smoothing=0.1), 1, 0)
    one_hot = F.one_hot(labels, 5).float()
    soft = one_hot.lerp(partners(one_hot), shares[:, None])
    wanted = F.cross_entropy(logits, soft, label_smoothing=0.1)
    torch.testing.assert_close(module._loss(logits, labels, shares), wanted)


def epoch(
    recipe: Recipe, number: int = 1, rank: int = 0, ranks: int = 1
) -> list[tuple[Tensor, ...]]:
    pixels = torch.randint(
        0, 255, (64, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    images = Images(pixels, torch.arange(64))
    return list(Batches(images, recipe, 3, lambda: number, rank, ranks))


def test_an_epoch_is_drawn_again_and_another_differs() -> None:
    first, again, other = epoch(STRONG), epoch(STRONG), epoch(STRONG, 2)
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("recipe", [STRONG, dataclasses.replace(STRONG, accumulate=2)])
def test_processes_share_an_epoch_whose_pairs_stay_together(recipe: Recipe) -> None:
    whole = epoch(recipe)
    halves = [epoch(recipe, rank=rank, ranks=2) for rank in (0, 1)]
    for parts in zip(whole, *halves, strict=True):
        for all_, *each in zip(*parts, strict=True):
            assert torch.equal(all_, torch.cat(each))


def test_what_is_drawn_beside_does_not_move_order_and_flips() -> None:
    """Labels of a plain recipe come in the order of a strong one, so seeds pair across them."""
    plain = dataclasses.replace(STRONG, randaugment=0, magnitude=0, mixup=0, cutmix=0)
    assert torch.equal(epoch(plain)[0][1], epoch(STRONG)[0][1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixup": -1.0}, "recipe.mixup=-1.0: must be at least 0"),
        ({"magnitude": 11}, "recipe.magnitude=11: must be from 0 to 10"),
        ({"magnitude": 0}, "recipe.randaugment=2 recipe.magnitude=0: one is nothing without"),
        ({"randaugment": 0}, "recipe.randaugment=0 recipe.magnitude=9: one is nothing without"),
        ({"crop": 0.5}, "recipe.randaugment=2: .*add recipe.crop_from=stored"),
        ({"batch_size": 15}, "recipe.mixup=0.8 recipe.cutmix=1: .* 15 are seen at once"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STRONG, **values)


def test_a_pair_is_not_split_over_devices() -> None:
    with pytest.raises(
        ValueError, match="devices=16: images are mixed in pairs, and 1 are on each"
    ):
        STRONG.check_split(16)
