"""What the paper printed: Tan & Le 2019, "EfficientNet", arXiv 1905.11946v5. Its numbers only, each with its
place; nothing is computed here.

Every number is one run without seeds or error bars. Figures 3, 4 and 8 are vector graphics: their points were
read from the paths in the PDF, which are the same in v3 and v5. "FLOPs" are multiply-adds.
"""

from dataclasses import dataclass

# Figures: line -> points (coefficient of the moving dimension, None where it is not printed; FLOPs in 10^9;
# ImageNet top-1 in per cent).
Line = tuple[tuple[float | None, float, float], ...]

# fmt: off
# Figure 3: one dimension of a baseline scaled at a time, labels as printed.
FIGURE_3: dict[str, Line] = {
    "width": (
        (1, 0.5002, 76.10), (1.4, 0.7834, 77.49), (1.8, 1.1475, 78.51), (2.6, 2.2578, 79.46),
        (3.8, 4.8817, 79.99), (5, 8.2508, 80.30),
    ),
    "depth": (
        (1, 0.5004, 76.10), (2, 0.9502, 78.51), (3, 1.3999, 78.84), (4, 1.8497, 78.99),
        (6, 2.7492, 80.00), (8, 3.6487, 80.00),
    ),
    "resolution": (
        (1, 0.5004, 76.10), (1.3, 0.9355, 77.68), (1.5, 1.1404, 78.11), (1.7, 1.4543, 78.78),
        (1.9, 1.9444, 79.07), (2.2, 2.5513, 79.54), (2.5, 3.1154, 79.68),
    ),
}

# Figure 4: width scaled under other (depth, resolution). Widths are not printed; those given follow from the
# FLOPs of Figure 3.
FIGURE_4: dict[tuple[float, float], Line] = {
    (1, 1): (
        (1, 0.5002, 76.10), (1.4, 0.7834, 77.49), (1.8, 1.1475, 78.51), (2.2, 1.6648, 79.06),
        (2.6, 2.2578, 79.46), (3.4, 3.9389, 79.87), (3.8, 4.8817, 79.99), (4, 5.3337, 80.04),
        (5, 8.2508, 80.30), (6, 11.9257, 80.39), (7, 16.1530, 80.46),
    ),
    (1, 1.3): (
        (1, 0.9351, 78.21), (1.4, 1.4793, 79.42), (1.8, 2.1782, 80.04), (2.2, 3.1672, 80.66),
        (2.6, 4.2966, 80.85), (None, 7.2866, 81.33), (None, 12.2846, 81.42), (5, 15.7180, 81.43),
        (6, 22.7140, 81.71),
    ),
    (2, 1): (
        (1, 0.9497, 78.74), (1.4, 1.5436, 79.56), (2.2, 3.4132, 80.16), (2.6, 4.6201, 80.37),
        (None, 6.2067, 80.51), (3.8, 9.9478, 80.68), (6, 24.4219, 80.72),
    ),
    (2, 1.3): (
        (1, 1.7875, 79.69), (1.4, 2.9325, 80.69), (None, 4.4266, 81.32), (2.6, 8.8308, 81.54),
        (None, 11.8623, 81.65), (None, 15.3400, 81.79), (3.8, 19.0082, 82.02),
    ),
}

# Figure 8: single dimensions against compound. All lines start at B0's FLOPs; the single dimensions go on
# with those of Figure 3.
FIGURE_8: dict[str, Line] = {
    "width": (
        (None, 0.3900, 76.10), (None, 0.7834, 77.49), (None, 1.1475, 78.51), (None, 2.2578, 79.46),
        (None, 4.8817, 79.99), (None, 5.2097, 80.02),
    ),
    "depth": (
        (None, 0.3900, 76.10), (None, 0.9502, 78.51), (None, 1.3999, 78.84), (None, 1.8497, 78.99),
        (None, 2.7492, 80.00), (None, 3.6487, 80.00),
    ),
    "resolution": (
        (None, 0.3900, 76.10), (None, 0.9355, 77.68), (None, 1.1404, 78.11), (None, 1.4543, 78.78),
        (None, 1.9444, 79.07), (None, 2.5513, 79.54), (None, 3.1154, 79.68),
    ),
    "compound": (
        (None, 0.3900, 76.10), (None, 0.7000, 78.80), (None, 1.0000, 79.80), (None, 1.8000, 81.10),
        (None, 4.2000, 82.60),
    ),
}


@dataclass(frozen=True)
class Row:
    """A printed row: multipliers (None where not stated), multiply-adds in 10^9, top-1 in per cent,
    parameters in 10^6 where printed."""

    depth: float | None
    width: float | None
    resolution: float | None
    gflops: float
    top1: float
    mparams: float | None = None


# Table 2, with the coefficients of the released code (scaling.PUBLISHED), which the paper does not print: B0
# to B7.
TABLE_2 = {
    #           depth width resolution GFLOPs top-1  Mparams
    "b0": Row(  1.0,  1.0,  224 / 224, 0.39,  77.1,  5.3),
    "b1": Row(  1.1,  1.0,  240 / 224, 0.70,  79.1,  7.8),
    "b2": Row(  1.2,  1.1,  260 / 224, 1.0,   80.1,  9.2),
    "b3": Row(  1.4,  1.2,  300 / 224, 1.8,   81.6,  12),
    "b4": Row(  1.8,  1.4,  380 / 224, 4.2,   82.9,  19),
    "b5": Row(  2.2,  1.6,  456 / 224, 9.9,   83.6,  30),
    "b6": Row(  2.6,  1.8,  528 / 224, 19,    84.0,  43),
    "b7": Row(  3.1,  2.0,  600 / 224, 37,    84.3,  66),
}

# Table 2 of v1 (28 May 2019), top-1 in per cent: the same models, trained before the recipe of later
# versions. Figure 8 plots these.
TABLE_2_V1 = {"b0": 76.3, "b1": 78.8, "b2": 79.8, "b3": 81.1, "b4": 82.6, "b5": 83.3, "b6": 84.0, "b7": 84.4}

# Table 3: scaling existing networks. Coefficients of the compound rows of MobileNetV2 and ResNet-50 are not
# stated.
TABLE_3 = {
    ("mobilenet-v1", "baseline"):   Row(1,    1,    1,    0.6,  70.6),
    ("mobilenet-v1", "width"):      Row(1,    2,    1,    2.2,  74.2),
    ("mobilenet-v1", "resolution"): Row(1,    1,    2,    2.2,  72.7),
    ("mobilenet-v1", "compound"):   Row(1.4,  1.2,  1.3,  2.3,  75.6),
    ("mobilenet-v2", "baseline"):   Row(1,    1,    1,    0.3,  72.0),
    ("mobilenet-v2", "depth"):      Row(4,    1,    1,    1.2,  76.8),
    ("mobilenet-v2", "width"):      Row(1,    2,    1,    1.1,  76.4),
    ("mobilenet-v2", "resolution"): Row(1,    1,    2,    1.2,  74.8),
    ("mobilenet-v2", "compound"):   Row(None, None, None, 1.3,  77.4),
    ("resnet-50", "baseline"):      Row(1,    1,    1,    4.1,  76.0),
    ("resnet-50", "depth"):         Row(4,    1,    1,    16.2, 78.1),
    ("resnet-50", "width"):         Row(1,    2,    1,    14.7, 77.7),
    ("resnet-50", "resolution"):    Row(1,    1,    2,    16.4, 77.5),
    ("resnet-50", "compound"):      Row(None, None, None, 16.7, 78.8),
}

# Table 7: the models of Figures 7 and 8's comparison. v1 prints 76.3 for the baseline, and the other rows as
# here.
TABLE_7 = {
    "baseline":   Row(1,   1,   1,   0.4, 77.3),
    "depth":      Row(4,   1,   1,   1.8, 79.0),
    "width":      Row(1,   2,   1,   1.8, 78.9),
    "resolution": Row(1,   1,   2,   1.9, 79.1),
    "compound":   Row(1.4, 1.2, 1.3, 1.8, 81.1),
}
# fmt: on

COMPOUND_LEAD = 2.5  # points, "by up to 2.5%" over any single dimension (section 6, on Figure 8)
