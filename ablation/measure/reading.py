"""How fast one core reads images: from each place where ours may lie, and what that is held against."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ablation.images.batches import Batches, random_draws
from ablation.images.encoded import Originals
from ablation.images.splits import Streamed, load_for
from ablation.measure.rivals import Pictures
from ablation.runs.config import Run

WIDTH, HEIGHT = 500, 375  # the commonest of ImageNet's
QUALITY = 90
CONTRAST = 45.0  # deviation of a pixel, of 255
SHARED = 0.9  # of it that the three channels have in common
CLASSES = ("a", "b")
LEAST = 0.08  # area of a crop, as in torchvision


def write_photographs(folder: Path, count: int) -> list[Path]:
    """`count` JPEG files to train on, and as few others as a plan needs, as split and class folders; noise
    whose amplitude falls as 1 / frequency, as that of photographs does. Returns those to train on."""
    splits = {"train": count, "test": len(CLASSES)}
    files = [
        folder / split / CLASSES[number % len(CLASSES)] / f"{number:05d}.jpg"
        for split, wanted in splits.items()
        for number in range(wanted)
    ]
    for seed, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        _photograph(np.random.default_rng(seed)).save(file, quality=QUALITY)
    return files[:count]


def _photograph(rng: np.random.Generator) -> Image.Image:
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((4, HEIGHT, WIDTH)))
    pink = np.fft.irfft2(white / frequency, s=(HEIGHT, WIDTH))
    pink /= pink.std(axis=(1, 2), keepdims=True)
    channels = SHARED * pink[3] + (1 - SHARED**2) ** 0.5 * pink[:3]
    pixels = (127.5 + CONTRAST * channels).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.moveaxis(pixels, 0, -1))


def views_rate(run: Run, cache: Path) -> float:
    """Images a second that one process decodes and cuts at random from the originals of a run."""
    train = load_for(run, cache, room=0).train
    assert isinstance(train, Streamed) and isinstance(train.file, Originals)
    draws = random_draws(len(train), run.recipe.crop, torch.Generator().manual_seed(0)).numpy()
    pieces = np.array_split(np.arange(len(train)), max(1, len(train) // run.recipe.batch_size))
    read = train.file
    return _rate(
        lambda: [read.views(train.rows[p], train.side, None, draws[p]) for p in pieces], train
    )


def batches_rate(run: Run, cache: Path, room: float) -> float:
    """Images a second that come as training batches, normalised and mirrored, from one reader process, or
    from memory where they take at most `room` bytes."""
    torch.set_num_threads(1)
    train = load_for(run, cache, room=room, readers=1).train
    return _after_the_first(Batches(train, run.recipe, 0, lambda: 0), run.recipe.batch_size)


def pillow_rate(files: Sequence[Path]) -> float:
    """Images a second that Pillow decodes whole, into an array."""
    return _rate(lambda: [_whole(file) for file in files], files)


def _whole(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)


def turbo_rate(files: Sequence[Path]) -> float:
    """As pillow_rate, by simplejpeg; raises ImportError where it is not installed."""
    from simplejpeg import decode_jpeg

    return _rate(lambda: [decode_jpeg(file.read_bytes()) for file in files], files)


def datasets_rate(folder: Path, cache: Path) -> float:
    """Images a second that Hugging Face `datasets` decodes while it is iterated over."""
    import datasets

    datasets.disable_progress_bars()
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(cache))[
        "train"
    ]
    return _rate(lambda: [np.asarray(row["image"]) for row in found], found)


def loader_rate(files: Sequence[Path], side: int, batch: int) -> float:
    """Images a second of torch's DataLoader with one worker and the transforms of torchvision's ImageNet
    script: RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures = Crops(files, side)
    return _after_the_first(DataLoader(pictures, batch, True, num_workers=1, drop_last=True), batch)


class Crops(Pictures):
    """Pictures of which a random box is cut and resized, as torchvision's RandomResizedCrop does."""

    def shaped(self, picture: Image.Image) -> Image.Image:
        """The box, bilinear at the side."""
        box = _torchvisions_box(*picture.size)
        return picture.crop(box).resize((self.side, self.side), Image.Resampling.BILINEAR)


def _torchvisions_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, upper, right, lower: ten tries, then the centre."""
    for _ in range(10):
        area = width * height * torch.empty(1).uniform_(LEAST, 1).item()
        aspect = torch.exp(torch.empty(1).uniform_(np.log(3 / 4), np.log(4 / 3))).item()
        wide, high = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < wide <= width and 0 < high <= height:
            left = int(torch.randint(0, width - wide + 1, (1,)))
            upper = int(torch.randint(0, height - high + 1, (1,)))
            return left, upper, left + wide, upper + high
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def _rate(read: Callable[[], object], images: Sequence[object] | Streamed) -> float:
    started = time.perf_counter()
    read()
    return len(images) / (time.perf_counter() - started)


def _after_the_first(batches: Iterable[tuple[Tensor, Tensor]], size: int) -> float:
    """Images a second from the end of the first batch on, so without the start of a reader."""
    count = 0
    started = time.perf_counter()
    for count, _ in enumerate(batches):
        if count == 0:
            started = time.perf_counter()
    return count * size / (time.perf_counter() - started)
