"""Which images of a split a network got right: one bit each, in the order of the split's rows."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.runs.config import digest


def images_key(data_digest: str, rows: NDArray[np.integer]) -> str:
    """What tells one set of images from another: the digest of the decoded source, and which of its rows.

    Answers of two networks are compared image by image only where this is equal.
    """
    return digest([data_digest, rows.tolist()])


def packed(right: NDArray[np.bool_], images: str) -> dict[str, Any]:
    """Right or wrong (images,) as plain values for a record: eight images a byte, in base64."""
    bits = np.packbits(right).tobytes()
    return {"images": images, "count": len(right), "bits": base64.b64encode(bits).decode()}


def unpacked(answers: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The other way round; raises ValueError where there are fewer bits than images, or what is no bits."""
    encoded = base64.b64decode(answers["bits"], validate=True)
    bits = np.frombuffer(encoded, np.uint8)
    count = answers["count"]
    if len(bits) != -(-count // 8):
        raise ValueError(f"answers: {len(bits)} bytes for {count} images")
    return np.unpackbits(bits, count=count).astype(bool)
