"""What figures show, in sentences made from their tables: means and gains with their 95 % intervals, and how
these intervals lie.

A sentence says that an interval lies above another or above 0, or that it does not, and never that a network
is better than another: what a difference between the same seeds is worth is for the findings to say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from ablation.theory.scaling import SINGLE

Row = Any  # of a figure's table
ABOVE, BELOW, BETWEEN, UNKNOWN = "above", "below", "overlapping", "unknown"


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how what a spreadsheet computes begins
ONE = r"[-+]?[\d.,]+(e[-+]?\d+)?%?"
NUMBER = re.compile(rf"{ONE}( points| x| \({ONE} to {ONE}\)| to {ONE})?")
MARKDOWN = re.compile(r"([\\`*_|<\[\]~$&])")


def as_csv(table: pd.DataFrame, float_format: str | None = "%.6g") -> str:
    """A table as CSV, in which no text is a formula."""
    return table.map(_as_text).to_csv(index=False, float_format=float_format)


def _as_text(cell: Any) -> Any:
    """A cell with a mark before it where a spreadsheet would compute it."""
    if isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def as_markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table, in which names are text."""
    escaped = [{name: _in_markdown(cell) for name, cell in row.items()} for row in rows]
    return tabulate(escaped, headers="keys", tablefmt="github", disable_numparse=True)


def _in_markdown(cell: object) -> object:
    """A cell whose signs mean nothing."""
    return MARKDOWN.sub(r"\\\1", " ".join(cell.split())) if isinstance(cell, str) else cell


def as_latex(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a LaTeX table, in which names are text: tabulate leaves a bar, which some fonts show as a dash,
    and a row that would be read as an argument of the line break before it."""
    text = tabulate(rows, headers="keys", tablefmt="latex_booktabs", disable_numparse=True)
    text = text.replace("|", r"\textbar{}")
    return re.sub(r"^( *)(?=[*\[])", r"\1{}", text, flags=re.MULTILINE)


def legend(name: str) -> str:
    """A name in a legend, from which matplotlib leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def percent(share: Any) -> Any:
    """Accuracies are fractions of 1 in records and frames, and per cent or points where they are shown."""
    return 100 * share


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def per_cent(row: Row) -> str:
    """`97.7 % (94.5 to 100.0)`, without the interval where there is none."""
    mean = f"{percent(row.mean):.1f} %"
    if row.low != row.low:
        return mean
    return f"{mean} ({percent(row.low):.1f} to {percent(row.high):.1f})"


def in_points(row: Row) -> str:
    """`+1.2 (-0.3 to +2.7)`, without the interval where there is none."""
    mean = f"{percent(row.mean):+.1f}"
    if row.low != row.low:
        return mean
    return f"{mean} ({percent(row.low):+.1f} to {percent(row.high):+.1f})"


def side(low: float, high: float, other_low: float, other_high: float) -> str:
    """How an interval lies to another one."""
    known = low == low and other_low == other_low
    return (
        UNKNOWN
        if not known
        else ABOVE
        if low > other_high
        else BELOW
        if high < other_low
        else BETWEEN
    )


def sides(found: Mapping[str, str], above: str, between: str, below: str) -> str:
    """Which of some intervals lie above, between or below, in these words: `lies above it for width, overlaps
    with it for depth`."""
    words = {
        ABOVE: above,
        BETWEEN: between,
        BELOW: below,
        UNKNOWN: "is unknown, for want of seeds,",
    }
    told = []
    for kind, word in words.items():
        names = [name for name, lies in found.items() if lies == kind]
        if names:
            told.append(f"{word} for {listed(names)}")
    return ", ".join(told)


def highest(named: Mapping[str, Row]) -> str:
    """How the interval of the highest of several means lies to those of the others."""
    (top, best), *others = sorted(named.items(), key=lambda item: -item[1].mean)
    lies = {name: side(best.low, best.high, row.low, row.high) for name, row in others}
    if UNKNOWN in lies.values():
        return "not every mean has an interval, so their order says nothing"
    level = [name for name, it in lies.items() if it == BETWEEN]
    one = len(lies) == 1
    if not level:
        return f"the highest interval, of {top}, lies above {'the other' if one else 'all others'}"
    if len(level) == len(lies):
        return (
            f"the interval of the highest mean, of {top}, overlaps with "
            f"{'the other' if one else 'each of the others'}"
        )
    return (
        f"the interval of the highest mean, of {top}, overlaps with "
        f"{'that' if len(level) == 1 else 'those'} of {listed(level)}, not with the rest"
    )


def ranked(named: Mapping[str, Row]) -> str:
    """How the interval of the highest mean lies, and all of them in order."""
    rows = sorted(named.items(), key=lambda item: -item[1].mean)
    text = ", ".join(f"{name} {per_cent(row)}" for name, row in rows)
    return f"{highest(named)}: {text}." if len(rows) > 1 else f"{text}."


def ends(lines: Mapping[str, tuple[Row, Row]], dimension: Mapping[str, str]) -> str:
    """How the intervals of the first and the last mean of each line lie, and both, by the coefficient that
    moves along it."""
    told, lies = [], {}
    for name, (first, last) in lines.items():
        both = [_at(row, dimension[name]) for row in (first, last)]
        told.append(f"{name} {both[0]} and {both[1]}")
        lies[name] = side(last.low, last.high, first.low, first.high)
    smallest = "that of the smallest"
    found = sides(
        lies, f"lies above {smallest}", f"overlaps with {smallest}", f"lies below {smallest}"
    )
    return f"the interval of the largest network {found}: {'; '.join(told)}."


def _at(row: Row, dimension: str) -> str:
    """A mean, and the coefficient that it has."""
    return f"{per_cent(row)} at {SINGLE[dimension]}={getattr(row, dimension):.3g}"


def in_panel(title: str, text: str) -> str:
    """A sentence, after the panel that it is about."""
    return f"{title}: {text}" if title else text[:1].upper() + text[1:]


def largest(part: pd.DataFrame) -> dict[str, Row]:
    """The costliest row of each rule."""
    return {
        str(rule): max(rows.itertuples(), key=lambda row: row.macs)
        for rule, rows in part.groupby("rule", sort=False)
    }


def first_and_last(rows: Iterable[Row]) -> tuple[Row, Row]:
    """The cheapest and the costliest."""
    line = sorted(rows, key=lambda row: row.macs)
    return line[0], line[-1]
