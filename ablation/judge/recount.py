"""The paper recounted: what it prints beside what the networks that it describes cost, one table for each of
its tables and figures.

Printed numbers come from `paper`, released coefficients from `scaling.PUBLISHED`; all else is counted here.
GFLOPs are 10^9 multiply-adds, top1 is ImageNet top-1 accuracy in per cent, ratios are counted over printed.
"""

import itertools
import math

import numpy as np
import pandas as pd

from ablation.judge.paper import FIGURE_3, FIGURE_4, FIGURE_8, TABLE_2, TABLE_2_V1, TABLE_3, TABLE_7
from ablation.theory.baselines import B0, BASELINES, Baseline
from ablation.theory.cost import Cost, cost
from ablation.theory.matching import nominal
from ablation.theory.scaling import PUBLISHED, RULES, Coefficients

SINGLE = ("width", "depth", "resolution")
AS_PRINTED, ON_B0, ABOVE_OWN = READINGS = ("as printed", "counted on B0", "above its own baseline")


def counted(baseline: Baseline, depth: float = 1, width: float = 1, resolution: float = 1) -> Cost:
    """Cost of a baseline scaled by the released rounding."""
    return cost(nominal(baseline, Coefficients(depth, width, resolution)).network)


def gflops(baseline: Baseline, depth: float = 1, width: float = 1, resolution: float = 1) -> float:
    """Counted multiply-adds in 10^9."""
    return counted(baseline, depth, width, resolution).macs / 1e9


def table_2() -> pd.DataFrame:
    """B0 to B7: FLOPs and parameters."""
    rows = []
    for name, row in TABLE_2.items():
        ours = counted(B0, row.depth, row.width, row.resolution)
        costs = {
            "printed": row.gflops,
            "counted": ours.macs / 1e9,
            "ratio": ours.macs / 1e9 / row.gflops,
        }
        params = {
            "printed_mparams": row.mparams,
            "counted_mparams": ours.params / 1e6,
            "params_ratio": ours.params / 1e6 / row.mparams,
        }
        rows.append({"model": name, **costs, **params})
    return pd.DataFrame(rows)


def implied_phi() -> pd.DataFrame:
    """Released coefficients against alpha^phi, beta^phi, gamma^phi.

    phi_depth, phi_width, phi_resolution: the phi that each coefficient implies; spread: the largest
    difference of these. phi_low, phi_high: between these depth and width both round to the released ones (one
    decimal), NaN where no phi does that; pixels_low, pixels_high: the input side there; on_rule: whether the
    released side lies between. nominal: d w^2 r^2, what the coefficients would cost without rounding to
    layers and channels; counted: multiples of B0's FLOPs.
    """
    rule, rows = RULES["compound"], []
    for name, row in PUBLISHED.items():
        triple = (
            (row.depth, rule.alpha),
            (row.width, rule.beta),
            (row.pixels / B0.network.pixels, rule.gamma),
        )
        phis = [_phi(value, base) for value, base in triple]
        low = max(_phi(value - 0.05, base) for value, base in triple[:2])
        high = min(_phi(value + 0.05, base) for value, base in triple[:2])
        low, high = (low, high) if low <= high else (math.nan, math.nan)
        sides = [B0.network.pixels * rule.gamma**phi for phi in (low, high)]
        resolution = row.pixels / B0.network.pixels
        rows.append(
            {"model": name, "depth": row.depth, "width": row.width, "pixels": row.pixels}
            | dict(zip(("phi_depth", "phi_width", "phi_resolution"), phis, strict=True))
            | {
                "spread": max(phis) - min(phis),
                "phi_low": low,
                "phi_high": high,
                "pixels_low": sides[0],
                "pixels_high": sides[1],
            }
            | {
                "on_rule": sides[0] <= row.pixels <= sides[1],
                "nominal": row.depth * row.width**2 * resolution**2,
            }
            | {"counted": gflops(B0, row.depth, row.width, resolution) / gflops(B0)}
        )
    return pd.DataFrame(rows)


def _phi(value: float, base: float) -> float:
    """The phi at which base^phi is `value`."""
    return math.log(value) / math.log(base)


def nominal_cost() -> pd.DataFrame:
    """The compound rule on B0 at phi 1 to 7: counted multiples of B0's FLOPs against the formula's (alpha
    beta^2 gamma^2)^phi and 2^phi."""
    rule, rows = RULES["compound"], []
    for phi in range(1, 8):
        at = rule.at(phi)
        ratio = gflops(B0, at.depth, at.width, at.resolution) / gflops(B0)
        side = nominal(B0, at).network.pixels
        costs = {
            "formula": rule.product**phi,
            "budget": 2**phi,
            "counted": ratio,
            "off_formula": ratio / rule.product**phi - 1,
        }
        rows.append(
            {
                "phi": phi,
                "depth": at.depth,
                "width": at.width,
                "pixels": side,
                **costs,
                "off_budget": ratio / 2**phi - 1,
            }
        )
    return pd.DataFrame(rows)


def table_3() -> pd.DataFrame:
    """MobileNetV1, MobileNetV2 and ResNet-50 scaled: FLOPs; counted is NaN where the paper states no
    coefficients."""
    rows = []
    for (name, rule), row in TABLE_3.items():
        ours = (
            math.nan
            if row.depth is None
            else gflops(BASELINES[name], row.depth, row.width, row.resolution)
        )
        rows.append(
            {
                "baseline": name,
                "rule": rule,
                "top1": row.top1,
                "printed": row.gflops,
                "counted": ours,
                "ratio": ours / row.gflops,
            }
        )
    return pd.DataFrame(rows)


def exchanges() -> pd.DataFrame:
    """Pairs of rows of one network in Table 3 whose printed FLOPs, exchanged, are both nearer to their
    counted ones."""
    rows = []
    for _, group in table_3().dropna().groupby("baseline", sort=False):
        for a, b in itertools.combinations(group.itertuples(), 2):
            exchanged = a.counted / b.printed, b.counted / a.printed
            if all(
                abs(math.log(new)) < abs(math.log(old))
                for new, old in zip(exchanged, (a.ratio, b.ratio), strict=True)
            ):
                pair = {
                    "baseline": a.baseline,
                    "first": a.rule,
                    "second": b.rule,
                    "ratio_first": a.ratio,
                    "ratio_second": b.ratio,
                }
                rows.append(
                    pair | {"exchanged_first": exchanged[0], "exchanged_second": exchanged[1]}
                )
    return pd.DataFrame(rows)


def table_7() -> pd.DataFrame:
    """Four ways to scale B0: FLOPs by the released rules, and what compound's excess over each rival is
    worth.

    excess: compound's counted FLOPs over the row's, minus 1; worth: points that the row's line in Figure 3
    gains over that factor; lead: compound's printed accuracy over the row's; lead_at_equal: without `worth`.
    """
    ours = {rule: gflops(B0, row.depth, row.width, row.resolution) for rule, row in TABLE_7.items()}
    rows = []
    for rule, row in TABLE_7.items():
        values = {
            "rule": rule,
            "top1": row.top1,
            "printed": row.gflops,
            "counted": ours[rule],
            "ratio": ours[rule] / row.gflops,
        }
        if rule in SINGLE:
            factor = ours["compound"] / ours[rule]
            before, after = (accuracy_at(rule, row.gflops * multiple) for multiple in (1, factor))
            lead = TABLE_7["compound"].top1 - row.top1
            values |= {
                "excess": factor - 1,
                "worth": after - before,
                "lead": lead,
                "lead_at_equal": lead - (after - before),
            }
        rows.append(values)
    return pd.DataFrame(rows)


def accuracy_at(rule: str, printed: float) -> float:
    """Accuracy of a line of Figure 3 at printed FLOPs, interpolated over their logarithm."""
    _, costs, top1 = zip(*FIGURE_3[rule], strict=True)
    return float(np.interp(math.log(printed), np.log(costs), top1))


def figure_3() -> pd.DataFrame:
    """Every point of Figure 3 with the FLOPs of the same coefficient on B0.

    gain: points per doubling of FLOPs since the point before, by printed and by counted FLOPs.
    """
    lines = []
    for rule, points in FIGURE_3.items():
        line = pd.DataFrame(
            [
                {"rule": rule, "coefficient": value, "top1": top1, "printed": printed}
                for value, printed, top1 in points
            ]
        )
        line["counted"] = [gflops(B0, **{rule: value}) for value in line["coefficient"]]
        line["ratio"] = line["counted"] / line["printed"]
        for name in ("printed", "counted"):
            line[f"gain_{name}"] = line["top1"].diff() / np.log2(line[name]).diff()
        lines.append(line)
    return pd.concat(lines, ignore_index=True)


def figure_8_points() -> pd.DataFrame:
    """The lines of Figure 8 in three readings: cost and value of each point.

    as printed: FLOPs and accuracy. counted on B0: every line's coefficients on one baseline, the accuracies
    as printed. above its own baseline: cost in multiples of the line's first point and points gained since,
    the single dimensions from Figure 3's baseline (its first point), compound from B0 (Table 2 of v1, which
    is where its accuracies come from).
    """
    rows = []
    for rule, line in FIGURE_8.items():
        rows += [(AS_PRINTED, rule, printed, top1) for _, printed, top1 in line]
    for rule, line in FIGURE_3.items():
        rows += [(ON_B0, rule, gflops(B0, **{rule: value}), top1) for value, _, top1 in line]
        rows += [
            (ABOVE_OWN, rule, printed / line[0][1], top1 - line[0][2]) for _, printed, top1 in line
        ]
    for (name, row), (_, _, top1) in zip(TABLE_2.items(), FIGURE_8["compound"], strict=False):
        rows.append((ON_B0, "compound", gflops(B0, row.depth, row.width, row.resolution), top1))
        rows.append(
            (
                ABOVE_OWN,
                "compound",
                row.gflops / TABLE_2["b0"].gflops,
                TABLE_2_V1[name] - TABLE_2_V1["b0"],
            )
        )
    return pd.DataFrame(rows, columns=["reading", "rule", "cost", "value"])


def figure_8() -> pd.DataFrame:
    """How far compound is ahead at B1 to B4, in each reading: lead over the best of the single dimensions at
    the same cost.

    A line is interpolated over the logarithm of cost; beyond its end it keeps its last value, since that
    network costs less.
    """
    rows = []
    for reading, points in figure_8_points().groupby("reading", sort=False):
        lines = {rule: line.sort_values("cost") for rule, line in points.groupby("rule")}
        for model, point in zip(TABLE_2, lines["compound"].itertuples(), strict=False):
            rivals = {
                rule: float(
                    np.interp(
                        math.log(point.cost), np.log(lines[rule]["cost"]), lines[rule]["value"]
                    )
                )
                for rule in SINGLE
            }
            best = max(rivals, key=rivals.__getitem__)
            row = {
                "reading": reading,
                "model": model,
                "cost": point.cost,
                "compound": point.value,
                "best": best,
                "best_value": rivals[best],
            }
            rows.append(row | {"lead": point.value - rivals[best]})
    table = pd.DataFrame(rows)
    return table[table["model"] != "b0"].reset_index(drop=True)


def repeated() -> pd.DataFrame:
    """Configurations that both Figure 3 and Figure 4 plot on lines of their own: printed FLOPs and accuracy
    in each.

    The width line of Figure 3 is a line of Figure 4, too, with the same points; it is left out.
    """
    first = {(depth, resolution): line[0] for (depth, resolution), line in FIGURE_4.items()}
    rows = []
    for rule in ("depth", "resolution"):
        for value, printed, top1 in FIGURE_3[rule]:
            depth, resolution = (value, 1) if rule == "depth" else (1, value)
            if value != 1 and (other := first.get((depth, resolution))):
                costs = {"figure_3_gflops": printed, "figure_4_gflops": other[1]}
                place = {"depth": depth, "width": 1, "resolution": resolution}
                rows.append(
                    place
                    | costs
                    | {
                        "figure_3_top1": top1,
                        "figure_4_top1": other[2],
                        "difference": other[2] - top1,
                    }
                )
    return pd.DataFrame(rows)


def printings() -> pd.DataFrame:
    """The accuracies printed for one and the same model: Figure 8, Table 2 of v1 and of v5, Table 7 (its
    baseline is B0, its compound B3)."""
    table_7 = {"b0": TABLE_7["baseline"].top1, "b3": TABLE_7["compound"].top1}
    rows = []
    for (name, row), (_, _, top1) in zip(TABLE_2.items(), FIGURE_8["compound"], strict=False):
        printed = {
            "figure_8": top1,
            "table_2_v1": TABLE_2_V1[name],
            "table_2_v5": row.top1,
            "table_7": table_7.get(name, math.nan),
        }
        known = [value for value in printed.values() if not math.isnan(value)]
        rows.append({"model": name, **printed, "range": max(known) - min(known)})
    return pd.DataFrame(rows)
