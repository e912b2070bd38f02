"""What figures show, in sentences made from their tables: means and gains with their 95 % intervals, and how these intervals lie.

A sentence says that an interval lies above another or above 0, or that it does not, and never that a network is better than another: what a
difference between the same seeds is worth is for the findings to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ablation.cost import TOLERANCE
from ablation.drawing import COSTS, panels
from ablation.figures import forest_rows, rules_of
from ablation.findings import VERDICTS
from ablation.scaling import SINGLE

Row = Any  # of a figure's table
ABOVE, BELOW, BETWEEN, UNKNOWN = "above", "below", "overlapping", "unknown"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def per_cent(row: Row) -> str:
    """`97.7 % (94.5 to 100.0)`, without the interval where there is none."""
    return f"{100 * row.mean:.1f} %" + (f" ({100 * row.low:.1f} to {100 * row.high:.1f})" if row.low == row.low else "")


def points(row: Row) -> str:
    """`+1.2 (-0.3 to +2.7)`, without the interval where there is none."""
    return f"{100 * row.mean:+.1f}" + (f" ({100 * row.low:+.1f} to {100 * row.high:+.1f})" if row.low == row.low else "")


def side(low: float, high: float, other_low: float, other_high: float) -> str:
    """How an interval lies to another one."""
    known = low == low and other_low == other_low
    return UNKNOWN if not known else ABOVE if low > other_high else BELOW if high < other_low else BETWEEN


def sides(found: Mapping[str, str], above: str, between: str, below: str) -> str:
    """Which of some intervals lie above, between or below, in these words: `lies above it for width, overlaps with it for depth`."""
    words = {ABOVE: above, BETWEEN: between, BELOW: below, UNKNOWN: "is unknown, for want of seeds,"}
    named = {word: [name for name, it in found.items() if it == kind] for kind, word in words.items()}
    return ", ".join(f"{word} for {listed(names)}" for word, names in named.items() if names)


def highest(named: Mapping[str, Row]) -> str:
    """How the interval of the highest of several means lies to those of the others."""
    (top, best), *others = sorted(named.items(), key=lambda item: -item[1].mean)
    lies = {name: side(best.low, best.high, row.low, row.high) for name, row in others}
    if UNKNOWN in lies.values():
        return "not every mean has an interval, so their order says nothing"
    level, one = [name for name, it in lies.items() if it == BETWEEN], len(lies) == 1
    if not level:
        return f"the highest interval, of {top}, lies above {'the other' if one else 'all others'}"
    if len(level) == len(lies):
        return f"the interval of the highest mean, of {top}, overlaps with {'the other' if one else 'each of the others'}"
    return f"the interval of the highest mean, of {top}, overlaps with {'that' if len(level) == 1 else 'those'} of {listed(level)}, not with the rest"


def ranked(named: Mapping[str, Row]) -> str:
    """How the interval of the highest mean lies, and all of them in order."""
    rows = sorted(named.items(), key=lambda item: -item[1].mean)
    text = ", ".join(f"{name} {per_cent(row)}" for name, row in rows)
    return f"{highest(named)}: {text}." if len(rows) > 1 else f"{text}."


def ends(lines: Mapping[str, tuple[Row, Row]], dimension: Mapping[str, str]) -> str:
    """How the intervals of the first and the last mean of each line lie, and both, by the coefficient that moves along it."""
    told = [
        "{} {} and {}".format(name, *(f"{per_cent(row)} at {SINGLE[dimension[name]]}={getattr(row, dimension[name]):.3g}" for row in line))
        for name, line in lines.items()
    ]
    lies = {name: side(last.low, last.high, first.low, first.high) for name, (first, last) in lines.items()}
    found = sides(lies, "lies above that of the smallest", "overlaps with that of the smallest", "lies below that of the smallest")
    return f"the interval of the largest network {found}: {'; '.join(told)}."


def headed(title: str, text: str) -> str:
    """A sentence, after the panel that it is about."""
    return f"{title}: {text}" if title else text[:1].upper() + text[1:]


def largest(part: pd.DataFrame) -> dict[str, Row]:
    """The costliest row of each rule."""
    return {str(rule): max(rows.itertuples(), key=lambda row: row.macs) for rule, rows in part.groupby("rule", sort=False)}


def _ends(rows: Iterable[Row]) -> tuple[Row, Row]:
    line = sorted(rows, key=lambda row: row.macs)
    return line[0], line[-1]


# ---------------------------------------------------------------- one for each figure


def single(table: pd.DataFrame) -> list[str]:
    """Of each dimension the smallest and the largest network."""
    found = []
    for title, part in panels(table):
        rows = {rule: part[part["rule"] == rule] for rule in rules_of(part)}
        lines = {rule: _ends(line.itertuples()) for rule, line in rows.items() if line["macs"].nunique() > 1}
        found += [headed(title, ends(lines, {rule: rule for rule in lines}))] if lines else []
    return found


def gain(table: pd.DataFrame) -> list[str]:
    """Of each rule the first step and the last, and on which side of 0 the last one's interval lies."""
    found = []
    for title, part in panels(table):
        steps = {rule: _ends(rows.itertuples()) for rule, rows in part.groupby("rule", sort=False)}
        told = [f"{rule} {' then '.join(points(row) for row in dict.fromkeys(line))}" for rule, line in steps.items()]
        lies = {rule: side(last.low, last.high, 0.0, 0.0) for rule, (_, last) in steps.items()}
        last = f"the interval of the last step {sides(lies, 'lies above 0', 'includes 0', 'lies below 0')}"
        found.append(headed(title, f"{last}; points per doubling of FLOPs, first step then last where there are two: {'; '.join(told)}."))
    return found


def balance(table: pd.DataFrame) -> list[str]:
    """Under each depth and resolution the narrowest and the widest network."""
    found = []
    for title, part in panels(table):
        places = part.groupby(["depth", "resolution"])
        lines = {f"d={depth:.3g} r={resolution:.3g}": _ends(rows.itertuples()) for (depth, resolution), rows in places}
        found.append(headed(title, ends(lines, dict.fromkeys(lines, "width"))))
    return found


def compound(table: pd.DataFrame) -> list[str]:
    """The largest network of each rule, with its cost where these differ."""
    found = []
    for title, part in panels(table):
        rows, least = largest(part), part["macs"].min()
        times = {rule: row.macs / least for rule, row in rows.items()}
        equal = max(times.values()) <= min(times.values()) * (1 + TOLERANCE) / (1 - TOLERANCE)
        named = rows if equal else {f"{rule} at {times[rule]:.3g} times": row for rule, row in rows.items()}
        where = f"{min(times.values()):.2g} times the FLOPs of the smallest network" if equal else "multiples of the smallest network's FLOPs"
        found.append(headed(title, f"at {where} {ranked(named)}"))
    return found


def axes(table: pd.DataFrame) -> list[str]:
    """How far the largest networks of the rules are apart on each axis."""
    _, part = panels(table)[0]
    rows, told = largest(part).items(), []
    for column in (column for column in COSTS if column in part and part[column].notna().all()):
        (cheap, least), (dear, most) = (pick(rows, key=lambda item: getattr(item[1], column)) for pick in (min, max))
        ratio = getattr(most, column) / getattr(least, column)
        told.append(f"{COSTS[column]} " + (f"{ratio:.2f} times ({dear} over {cheap})" if ratio >= 1.005 else "the same"))
    how = "counted, but time and memory, which are measured;" if "step_seconds" in part else "counted,"
    return [f"The costliest over the cheapest of the rules' largest networks: {', '.join(told)}; {how} without intervals."]


def settings(table: pd.DataFrame) -> list[str]:
    """The ranking under each setting."""
    return [f"{name}: {ranked(largest(rows))}" for name, rows in table.groupby("setting", sort=False)]


def findings(table: pd.DataFrame) -> list[str]:
    """How many findings there are of each verdict, and how many intervals exclude 0."""
    table = forest_rows(table)
    counts, known = table["verdict"].value_counts(), table.dropna(subset="low")
    aside = int(((known["low"] > 0) | (known["high"] < 0)).sum())
    verdicts = listed([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts])
    return [f"{len(table)} effects in points: {verdicts}. {aside} of {len(known)} intervals exclude 0, each by itself."]


def grid(table: pd.DataFrame) -> list[str]:
    """The highest mean of the last rung, and which others cannot be told from it."""
    last = table[table["rung"] == table["rung"].max()]
    best, others = last[last["best"]].iloc[0], last[last["behind"] > 0]
    highest = f"the highest mean is that of {best['rule']}, {100 * best['mean']:.1f} %"
    text = f"{len(last)} of {len(table)} candidates trained for {best['epochs']}; {highest}."
    if others.empty:
        return [text]
    after = next(others.sort_values("behind").itertuples())
    behind = f"{100 * after.behind:.1f} points behind ({100 * after.low:+.1f} to {100 * after.high:+.1f})"
    level = f"{int(others['region'].sum())} of the {len(others)} others of that rung are behind by intervals that include 0"
    return [f"{text} {level}; the next one, {after.rule}, is {behind}."]


def star(table: pd.DataFrame) -> list[str]:
    """The triple that follows from the fit."""
    return [f"{text[:1].upper()}{text[1:]}." for text in table.attrs["says"]]


# By the name of a drawing.
FOUND: Mapping[str, Callable[[pd.DataFrame], list[str]]] = {
    "single": single,
    "gain": gain,
    "balance": balance,
    "compound": compound,
    "axes": axes,
    "settings": settings,
    "findings": findings,
    "grid": grid,
    "star": star,
}
