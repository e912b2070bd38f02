"""Tables that people read: means, runs, findings."""

import itertools
import math
from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from ablation.judge import paper
from ablation.judge.contrasts import LEVEL, MOST_SEEDS
from ablation.judge.findings import Finding
from ablation.show.results import Results


def runs_rows(results: Results) -> list[dict[str, str]]:
    """One row for each distinct run, as text; empty where there is no record."""
    distinct = results.frame.drop_duplicates("run_id")
    several = [name for name in ("baseline", "setting") if distinct[name].nunique() > 1]
    split = {"evaluation": "accuracy"} if "evaluation" in set(distinct["split"]) else {}
    accuracies = split | {"validation": "val_accuracy", "training": "train_accuracy"}
    return [
        {name: row[name] for name in several}
        | {"network": row["label"], "seed": str(row["seed"]), "px": str(row["pixels"])}
        | {"MMACs": f"{row['macs'] / 1e6:,.2f}", "k params": f"{row['params'] / 1e3:,.1f}", "k activations": f"{row['activations'] / 1e3:,.1f}"}
        | {name: f"{row[column]:.1%}" if row[column] == row[column] and row["status"] != "missing" else "" for name, column in accuracies.items()}
        | {"state": row["status"], "seconds": "" if row["status"] == "missing" else f"{row['seconds']:,.0f}", "run": row["run_id"]}
        for row in distinct.to_dict("records")
    ]


def results_rows(results: Results) -> list[dict[str, object]]:
    """Means over seeds with 95 % intervals, one row per arm, as people read them."""
    differing = [name for name in ("baseline", "setting") if results.summary[name].nunique() > 1]
    printed = printed_rows(results.wanted.name)
    rows = []
    for row in results.summary.to_dict("records"):
        known = row["n"] > 0
        flags = ", ".join(f"{row[name]} {name}" for name in ("diverged", "missing") if row[name])
        values = {name: row[name] for name in differing} | {
            "rule": row["rule"],
            "phi": "" if pd.isna(row["phi"]) else f"{row['phi']:.3g}",
            "cost": row["cost"],
            "d": f"{row['depth']:.2f}",
            "w": f"{row['width']:.2f}",
            "r": f"{row['resolution']:.2f}",
            "px": row["pixels"],
            "MMACs": f"{row['macs'] / 1e6:,.2f}",
            "off budget": "" if pd.isna(row["budget_error"]) else f"{row['budget_error']:+.1%}",
            f"{row['split']} accuracy": f"{row['mean']:.1%}" if known else "-",
            "95 % interval": ""
            if not known
            else ("one seed" if row["n"] == 1 else "no spread")
            if pd.isna(row["low"])
            else f"{row['low']:.1%} to {row['high']:.1%}",
            "n": f"{row['n']} ({flags})" if flags else row["n"],
        }
        if printed:
            paper = printed.get((row["baseline"], "baseline" if row["label"] == "baseline" else row["rule"]))
            values |= {"paper GFLOPs": paper.gflops if paper else "", "paper top-1": paper.top1 if paper else ""}
        rows.append(values)
    return rows


def printed_rows(study: str) -> Mapping[tuple[str, str], paper.Row]:
    """The paper's own rows of its Table 3 or 7 by (baseline, rule), for our small variants of its networks, too; of other studies none."""
    if study == "table7":
        return {(baseline, rule): row for rule, row in paper.TABLE_7.items() for baseline in ("b0", "mini")}
    small = {"mobilenet-v1": "mini-mobilenet-v1", "mobilenet-v2": "mini-mobilenet-v2", "resnet-50": "mini-resnet"}
    ours = {(small[name], rule): row for (name, rule), row in paper.TABLE_3.items()}
    return paper.TABLE_3 | ours if study == "table3" else {}


def results_table(results: Results, style: str = "simple") -> str:
    """The rows of `results_rows` as text."""
    return tabulate(results_rows(results), headers="keys", tablefmt=style, disable_numparse=True)


def by_claim(findings: Sequence[Finding]) -> dict[str, list[dict[str, str]]]:
    """For each statement its findings in words and numbers, by the name of a column; baseline, setting and cost where there are several."""
    scoped = [name for name in ("baseline", "setting", "cost") if len({getattr(finding, name) for finding in findings}) > 1]
    groups = itertools.groupby(findings, lambda finding: finding.statement)
    return {statement: [{name: getattr(row, name) for name in scoped} | _cells(row) for row in rows] for statement, rows in groups}


def tables(findings: Sequence[Finding], style: str = "github") -> str:
    """Each statement with its findings as a table of tabulate's style."""
    parts = []
    for statement, rows in by_claim(findings).items():
        parts += [f"**{statement}**" if style == "github" else statement, tabulate(rows, "keys", tablefmt=style, disable_numparse=True)]
    return "\n\n".join(parts)


def _cells(row: Finding) -> dict[str, str]:
    """A finding in words and numbers, empty where there is nothing to say."""
    exact = row.unit == "x"
    return {
        "": row.subject,
        "effect": f"{_number(row.effect, '.2f' if exact else '+.2f')} {row.unit}" if row.effect == row.effect else "",
        f"{100 * LEVEL:.0f} % interval": f"{row.low:+.2f} to {row.high:+.2f}" if row.low == row.low else "",
        "n": str(row.n or ""),
        "df": _number(row.freedom, ".3g"),
        "p": _number(row.p, ".2g"),
        "verdict": row.verdict,
        "seeds to settle": f"more than {MOST_SEEDS}" if math.isinf(row.seeds) else _number(row.seeds, ".0f"),
        "note": row.note,
    }


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
