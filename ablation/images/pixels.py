"""From the bytes of an image file to a square of 8-bit pixels: raster formats alone, none of which starts
another program."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ablation.runs.config import Data

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    (
        *(
            ".avif",
            ".bmp",
            ".dib",
            ".gif",
            ".heic",
            ".heif",
            ".hif",
            ".j2k",
            ".jfif",
            ".jp2",
            ".jpe",
        ),
        *(".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm"),
        *(".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp"),
    )
)
RASTER = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX"),
    *("PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
# Brands of ISO base media files whose pictures are coded as HEVC.
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# How files of these formats begin, for those without a suffix.
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
LIMIT = Data.pixel_limit  # as in Pillow, which beyond it suspects a decompression bomb
GAP = 2  # sides that scaled decoding leaves, so that the resize after it decides what is seen

# Of more than 8 bits, by Pillow's mode: what white is in the range of the type.
WHITE = {"I": 65535.0, "F": 1.0}
DARK = (
    0.25  # of white: where the 99th percentile lies below, the range of the type leaves a set dark
)
SAMPLE = 512  # images, and
THINNED = 4096  # pixels of each, from which percentiles are taken

Levels = Mapping[str, tuple[float, float]]
Box = tuple[float, float, float, float]  # height, width, centre y and x, in image units
Cut = Callable[[int, int], Box]  # of an upright image of this width and height
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF, and where width and height change places


class Deep(ValueError):
    """An image of more than 8 bits whose levels are not known yet."""


def looks_like_image(path: Path) -> bool:
    """Whether a file without a suffix begins as an image does."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return webp or head.startswith(BEGINNINGS)


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """The raster formats that are installed; the limit of pixels is ours, which names the file."""
    from PIL import Image

    Image.init()
    Image.MAX_IMAGE_PIXELS = None
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass  # said where such an image is opened
    return tuple(name for name in RASTER if name in Image.OPEN)


def opened(encoded: bytes, limit: int = LIMIT) -> "Image.Image":
    """An image whose header has been read; raises ValueError for what is none, or has more than `limit`
    pixels."""
    from PIL import Image

    try:
        picture = Image.open(BytesIO(encoded), formats=_formats())
    except Image.UnidentifiedImageError:
        raise ValueError(_no_image(encoded)) from None
    width, height = picture.size
    if width * height > limit:
        raise ValueError(
            f"{width} x {height} px are more than data.pixel_limit={limit}; make it smaller, or raise that"
        )
    return picture


def _no_image(encoded: bytes) -> str:
    """Why these bytes are none."""
    if not encoded:
        return "an empty file"
    heic = encoded[4:8] == b"ftyp" and encoded[8:12] in HEIC
    if heic and "HEIF" not in _formats():
        return "HEIC needs pillow-heif, pip install pillow-heif"
    return "no whole image of a known format"


def square(
    encoded: bytes,
    side: int,
    background: str | None = None,
    limit: int = LIMIT,
    levels: Levels | None = None,
    scaled: bool = False,
) -> tuple[np.ndarray, int]:
    """A decoded image as uint8 (side, side, 3), shorter side resized to `side` and the centre cropped; and
    its shorter side as it came.

    background: what lies under transparent pixels; None drops transparency. levels: what becomes black and
    white, by mode, of images of more than 8 bits. scaled: decode a JPEG at its own scale, a half, a quarter
    or an eighth, as long as twice the side is left. Raises Deep for such an image without levels, ValueError
    for what is no image.
    """
    from PIL import Image, ImageOps

    with opened(encoded, limit) as stored:
        shorter = min(stored.size)
        if scaled:
            stored.draft(None, (GAP * side, GAP * side))
        upright = ImageOps.exif_transpose(stored)
        picture = _in_colour(_in_bytes(upright, levels), background)
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture), shorter


def view(
    encoded: bytes,
    side: int,
    cut: Cut,
    background: str | None = None,
    limit: int = LIMIT,
    levels: Levels | None = None,
    detail: int | None = None,
) -> tuple[np.ndarray, int]:
    """What is cut out of an image as it came, upright, by one resize: uint8 (side, side, 3), bicubic and
    antialiased; and the image's shorter side.

    A JPEG is decoded at a scale of its own that leaves twice the side of what is cut. detail: shorter side
    that the image is reduced to before. The rest, and what is raised: see `square`.
    """
    from PIL import Image, ImageOps

    with opened(encoded, limit) as stored:
        shorter = min(stored.size)
        size = _draft(stored, side, cut, detail)
        upright = ImageOps.exif_transpose(stored)
        picture = _in_colour(_in_bytes(upright, levels), background)
    box = cut(*(size or picture.size))
    if detail:
        picture = picture.resize(_reduced(picture.size, detail), Image.Resampling.BICUBIC)
    edges = edges_of(box, *picture.size)
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, edges)), shorter


def _draft(
    stored: "Image.Image", side: int, cut: Cut, detail: int | None
) -> tuple[int, int] | None:
    """Set the scale at which a JPEG will be decoded, and return its upright width and height; None for
    other formats, which have no scale and know how they stand once they are decoded."""
    if stored.format not in ("JPEG", "MPO"):
        return None
    turn = -1 if stored.getexif().get(ORIENTATION) in TURNED else 1
    width, height = stored.size[::turn]
    tall, wide, *_ = cut(width, height)
    shares = (1.0, 1.0) if detail else (wide, tall)
    needed = [math.ceil(GAP * (detail or side) / share) for share in shares]
    stored.draft(None, (needed[::turn][0], needed[::turn][1]))
    return width, height


def _reduced(size: tuple[int, int], detail: int) -> tuple[int, int]:
    """Width and height whose shorter one is `detail`."""
    width, height = (max(1, round(each * detail / min(size))) for each in size)
    return width, height


def edges_of(box: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge of a box in pixels of an image; what rounding puts beyond it is
    taken back."""
    tall, wide, centre_y, centre_x = box
    left = max(0.0, width * (centre_x - wide / 2))
    upper = max(0.0, height * (centre_y - tall / 2))
    return left, upper, min(width, left + width * wide), min(height, upper + height * tall)


def _in_bytes(picture: "Image.Image", levels: Levels | None) -> "Image.Image":
    """The image in 8 bits a channel, brought between its levels where it has more."""
    from PIL import Image

    kind = _kind(picture)
    if kind is None:
        return picture
    if levels is None:
        raise Deep
    black, white = levels[kind]
    values = np.nan_to_num(np.asarray(picture, np.float64), nan=black)
    share = (values - black) / (white - black)
    return Image.fromarray((255 * share.clip(0, 1)).round().astype(np.uint8))


def is_deep(picture: "Image.Image") -> bool:
    """Whether an image has more than 8 bits a channel."""
    return _kind(picture) is not None


def _kind(picture: "Image.Image") -> str | None:
    """I for integers of more than 8 bits, F for floats, None for the rest."""
    return picture.mode[0] if picture.mode[0] in WHITE else None


def _in_colour(picture: "Image.Image", background: str | None) -> "Image.Image":
    """As RGB, over the background where it is transparent."""
    from PIL import Image

    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if background:
            under = Image.new("RGBA", picture.size, background)
            picture = Image.alpha_composite(under, picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def deep_sample(encoded: bytes, limit: int = LIMIT) -> tuple[str, np.ndarray]:
    """The kind of an image of more than 8 bits, and finite values of some of its pixels."""
    with opened(encoded, limit) as picture:
        kind = _kind(picture)
        values = np.asarray(picture, np.float64).ravel()
    assert kind is not None
    thinned = values[:: max(1, len(values) // THINNED)]
    return kind, thinned[np.isfinite(thinned)]


def levels_of(samples: Sequence[tuple[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
    """What becomes black and white in each kind of deep image: the range of the type (65,535, or 1.0 for
    floats) or, where values leave it or it leaves them dark, the set's percentiles 0.1 and 99.9."""
    found = {}
    for kind in {kind for kind, _ in samples}:
        values = np.concatenate([each for other, each in samples if other == kind])
        found[kind] = _levels(values, WHITE[kind])
    return found


def _levels(values: np.ndarray, white: float) -> tuple[float, float]:
    if not len(values):
        return 0.0, white
    low, bright, high = np.percentile(values, [0.1, 99, 99.9])
    if low >= 0 and DARK * white <= bright and high <= white:
        return 0.0, white
    return float(low), float(high if high > low else low + 1)
