"""Tables that people read: means, runs, findings."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from ablation.judge import paper
from ablation.judge.contrasts import LEVEL
from ablation.judge.power import MOST_SEEDS
from ablation.judge.verdicts import Finding, between
from ablation.show.results import Results
from ablation.show.words import as_csv, as_markdown
from ablation.theory.blocks import Stage
from ablation.theory.network import Network


def runs_rows(results: Results) -> list[dict[str, str]]:
    """One row for each distinct run, as text; empty where there is no record."""
    distinct = results.frame.drop_duplicates("run_id")
    differing = [name for name in ("baseline", "setting") if distinct[name].nunique() > 1]
    accuracies = {"validation": "val_accuracy", "training": "train_accuracy"}
    if "evaluation" in set(distinct["split"]):
        accuracies = {"evaluation": "accuracy"} | accuracies
    rows = []
    for row in distinct.to_dict("records"):
        where = {name: row[name] for name in differing}
        rows.append(where | _run_row(row, accuracies))
    return rows


def _run_row(row: Mapping[str, Any], accuracies: Mapping[str, str]) -> dict[str, str]:
    """accuracies: columns of the frame by the name that the table gives them."""
    missing = row["status"] == "missing"
    shown = {
        "network": row["label"],
        "seed": str(row["seed"]),
        "px": str(row["pixels"]),
        "MMACs": f"{row['macs'] / 1e6:,.2f}",
        "k params": f"{row['params'] / 1e3:,.1f}",
        "k activations": f"{row['activations'] / 1e3:,.1f}",
    }
    for name, column in accuracies.items():
        shown[name] = "" if missing or math.isnan(row[column]) else f"{row[column]:.1%}"
    return shown | {
        "state": row["status"],
        "seconds": "" if missing else f"{row['seconds']:,.0f}",
        "images/s": "" if missing else f"{row['images_per_second']:,.0f}",
        "peak MB": "" if missing else f"{row['peak_memory'] / 1e6:,.0f}",
        "run": row["run_id"],
    }


# Of a run, what its CSV says.
RUN_COLUMNS = (
    *("run_id", "baseline", "setting", "rule", "phi", "cost", "label"),
    *("depth", "width", "resolution", "pixels", "macs", "params", "activations"),
    *("seed", "status", "split", "accuracy", "val_accuracy", "train_accuracy"),
    *("seconds", "images_per_second", "peak_memory", "device"),
)


def runs_csv(results: Results) -> str:
    """Every distinct run as CSV: network, cost, accuracies, time, throughput and peak memory in bytes."""
    return as_csv(results.frame.drop_duplicates("run_id")[list(RUN_COLUMNS)])


def networks_rows(results: Results) -> list[dict[str, object]]:
    """The means of `results_rows` with layers and channels of each stage, where stages are known."""
    rows = []
    summary = results.summary
    known = summary["depths"].map(len).max() > len("[]")
    for row, depths, widths in zip(
        results_rows(results), summary["depths"], summary["widths"], strict=True
    ):
        built = {"layers": _in_short(depths), "channels": _in_short(widths)} if known else {}
        rows.append(row | built)
    return rows


def _in_short(integers: str) -> str:
    """`[16, 24, 40]` as `16-24-40`."""
    return integers.strip("[]").replace(", ", "-")


def stage_rows(network: Network) -> list[dict[str, str]]:
    """The stage table of a network, its stem first and its head last, as the paper's Table 1 has them."""
    stem = {
        "operator": f"conv{network.stem_kernel}x{network.stem_kernel}",
        "stride": network.stem_stride,
    }
    rows = [stem | {"channels": network.stem, "layers": 1}]
    rows += map(stage_row, network.stages)
    if network.head:
        rows.append(
            {"operator": "conv1x1, pool, classifier", "channels": network.head, "layers": 1}
        )
    names = ("operator", "expand", "kernel", "stride", "channels", "layers")
    return [
        {"stage": str(place)} | {name: str(row.get(name, "")) for name in names}
        for place, row in enumerate(rows, 1)
    ]


def stage_row(stage: Stage) -> dict[str, Any]:
    """One stage in the columns of the paper's Table 1."""
    sizes = {"expand": f"{stage.expand:g}", "kernel": stage.kernel, "stride": stage.stride}
    counts = {"channels": stage.channels, "layers": stage.layers}
    return {"operator": stage.operator} | sizes | counts


def results_rows(results: Results) -> list[dict[str, object]]:
    """Means over seeds with 95 % intervals, one row per arm, as people read them."""
    differing = [name for name in ("baseline", "setting") if results.summary[name].nunique() > 1]
    printed = printed_rows(results.wanted.name)
    rows = []
    for row in results.summary.to_dict("records"):
        where = {name: row[name] for name in differing}
        shown = where | _arm_row(row)
        if printed:
            rule = "baseline" if row["label"] == "baseline" else row["rule"]
            own = printed.get((row["baseline"], rule))
            shown["paper GFLOPs"] = own.gflops if own else ""
            shown["paper top-1"] = own.top1 if own else ""
        rows.append(shown)
    return rows


def _arm_row(row: Mapping[str, Any]) -> dict[str, object]:
    """One arm: its coefficients, what it costs, and its mean."""
    return {
        "rule": row["rule"],
        "phi": "" if pd.isna(row["phi"]) else f"{row['phi']:.3g}",
        "cost": row["cost"],
        "d": f"{row['depth']:.2f}",
        "w": f"{row['width']:.2f}",
        "r": f"{row['resolution']:.2f}",
        "px": row["pixels"],
        "MMACs": f"{row['macs'] / 1e6:,.2f}",
        "off direction": "" if pd.isna(row["angle"]) else f"{row['angle']:.0f}°",
        "off budget": "" if pd.isna(row["budget_error"]) else f"{row['budget_error']:+.1%}",
        f"{row['split']} accuracy": f"{row['mean']:.1%}" if row["n"] else "-",
        "95 % interval": _interval(row),
        "n": _count(row),
    }


def _interval(row: Mapping[str, Any]) -> str:
    """The interval of a mean, or why there is none."""
    if not math.isnan(row["low"]):
        return f"{row['low']:.1%} to {row['high']:.1%}"
    return {0: "", 1: "one seed"}.get(row["n"], "no spread")


def _count(row: Mapping[str, Any]) -> object:
    """Runs of a mean, with those that diverged or are missing."""
    faults = [f"{row[name]} {name}" for name in ("diverged", "missing") if row[name]]
    return f"{row['n']} ({', '.join(faults)})" if faults else row["n"]


# Our small variants of the paper's networks.
SMALL = {
    "mobilenet-v1": "mini-mobilenet-v1",
    "mobilenet-v2": "mini-mobilenet-v2",
    "resnet-50": "mini-resnet",
}


def printed_rows(study: str) -> Mapping[tuple[str, str], paper.Row]:
    """The paper's own rows of its Table 3 or 7 by (baseline, rule), for our small variants of its networks,
    too; of other studies none."""
    if study == "table7":
        places = itertools.product(("b0", "mini"), paper.TABLE_7)
        return {(baseline, rule): paper.TABLE_7[rule] for baseline, rule in places}
    if study == "table3":
        small = {(SMALL[name], rule): row for (name, rule), row in paper.TABLE_3.items()}
        return paper.TABLE_3 | small
    return {}


def results_table(results: Results, style: str = "simple") -> str:
    """The rows of `results_rows` as text."""
    return tabulate(results_rows(results), headers="keys", tablefmt=style, disable_numparse=True)


def by_claim(findings: Sequence[Finding]) -> dict[str, list[dict[str, str]]]:
    """For each statement its findings in words and numbers, by the name of a column; baseline, setting and
    cost where there are several."""
    scoped = [name for name in ("baseline", "setting", "cost") if _several(findings, name)]
    images = any(finding.over == "seeds and images" for finding in findings)
    confirmed = any(finding.confirmed for finding in findings)
    expected = any(finding.expected for finding in findings)
    optional = ((OVER_SEEDS, images), (CONFIRMED, confirmed), (EXPECTED, expected))
    left_out = {name for name, said in optional if not said}
    found: dict[str, list[dict[str, str]]] = {}
    for finding in findings:
        where = {name: getattr(finding, name) for name in scoped}
        cells = {name: cell for name, cell in _cells(finding).items() if name not in left_out}
        found.setdefault(finding.statement, []).append(where | cells)
    return found


# Columns that only some studies have.
OVER_SEEDS = "over seeds alone"
CONFIRMED = "with fresh seeds"
EXPECTED = "expected"


def _several(findings: Sequence[Finding], name: str) -> bool:
    return len({getattr(finding, name) for finding in findings}) > 1


def tables(findings: Sequence[Finding], style: str = "github") -> str:
    """Each statement with its findings as a table of tabulate's style."""
    parts = []
    for statement, rows in by_claim(findings).items():
        parts += [
            f"**{statement}**" if style == "github" else statement,
            as_markdown(rows)
            if style == "github"
            else tabulate(rows, "keys", tablefmt=style, disable_numparse=True),
        ]
    return "\n\n".join(parts)


def _cells(row: Finding) -> dict[str, str]:
    """A finding in words and numbers, empty where there is nothing to say."""
    exact = row.unit == "x"
    return {
        "": row.subject,
        "effect": f"{_number(row.effect, '.2f' if exact else '+.2f')} {row.unit}"
        if row.effect == row.effect
        else "",
        f"{100 * LEVEL:.0f} % interval": between(row.low, row.high),
        OVER_SEEDS: between(row.seeds_low, row.seeds_high),
        "n": str(row.n or ""),
        CONFIRMED: row.confirmed,
        EXPECTED: row.expected,
        "df": _number(row.freedom, ".3g"),
        "adjusted p": _number(row.p, ".2g"),
        "verdict": row.verdict,
        "seeds to settle": _seeds(row),
        "note": row.note,
    }


def _seeds(row: Finding) -> str:
    """How many seeds would settle a finding, with the range of that."""
    if math.isnan(row.seeds):
        return ""
    fewest, most = (
        f"> {MOST_SEEDS}" if math.isinf(n) else f"{n:.0f}" for n in (row.fewest, row.most)
    )
    number = f"> {MOST_SEEDS}" if math.isinf(row.seeds) else f"{row.seeds:.0f}"
    return number if fewest == most else f"{number} ({fewest} to {most})"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
