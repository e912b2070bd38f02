"""The interactive chart, accuracy against a cost of the reader's choice, as a Vega-Lite specification: its controls are Vega's own."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablation.judge.frame import ARM, is_search, rules_of
from ablation.show.drawing import COSTS, look, panels

# matplotlib's markers as Vega's shapes; what Vega has not is an SVG path in a square from -1 to 1.
SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "D": "diamond",
    "P": "cross",
    "X": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "*": "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "d": "M0,-1L.6,0L0,1L-.6,0Z",
}
SPOKEN = """datum.network + ' (' + datum.coefficients + '), ' + datum.amount + ': mean ' + format(datum.mean, '.1f')
  + ' %, 95 % interval ' + datum.interval + ', seeds ' + datum.seeds"""  # a mean for who does not point at it
LOOSE = ("#7F7F7F", "circle")  # networks that lie on no line: explicit coefficients, the candidates of a search


def points(frame: pd.DataFrame, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """One row for each mean: where it lies, in per cent and in units of cost, and what is told of it."""
    seeds = {_key(key): rows for key, rows in frame.dropna(subset="accuracy").groupby([*ARM, "phi", "cost"], dropna=False)}
    known, rows = summary[summary["n"] > 0], []
    lines = [] if is_search(known) else rules_of(known)
    for panel, part in panels(known):
        for row in part.to_dict("records"):
            runs = seeds[_key(row[name] for name in (*ARM, "phi", "cost"))]
            costs = {name: row[name] for name in COSTS if name in row and not math.isnan(row[name])}
            rows.append({"panel": panel, "rule": row["rule"] if row["rule"] in lines else "networks"} | costs | told(row, runs))
    return rows


def _key(values: Any) -> tuple[Any, ...]:
    """A place of the summary that equals itself: NaN, the phi of explicit coefficients, does not."""
    return tuple(None if value != value else value for value in values)


def told(row: Mapping[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """A mean and what a reader sees who points at it."""
    interval = {} if math.isnan(row["low"]) else {"low": 100 * row["low"], "high": 100 * row["high"]}
    shape = f"d={row['depth']:.2f}, w={row['width']:.2f}, r={row['resolution']:.2f} ({row['pixels']} px), cost={row['cost']}"
    words = f"{interval['low']:.1f} to {interval['high']:.1f} %" if interval else "none"
    seeds = ", ".join(f"{run.seed}: {100 * run.accuracy:.1f} %" for run in runs.itertuples())
    return {"mean": 100 * row["mean"], **interval, "network": row["label"], "coefficients": shape, "interval": words, "seeds": seeds}


def chart(frame: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """The specification; what it binds to, `#axes` and `#rules`, are elements of the page."""
    rows = points(frame, summary)
    rules, names = list(dict.fromkeys(row["rule"] for row in rows)), list(dict.fromkeys(row["panel"] for row in rows))
    costs = {name: label for name, label in COSTS.items() if any(name in row for row in rows)}
    shown = {rule: f"rule_{index}" for index, rule in enumerate(rules)}
    axes = [_select("cost", "cost", costs), *([_select("panel", "part", dict(zip(names, names, strict=True)))] if len(names) > 1 else [])]
    switches = [{"name": shown[rule], "value": True, "bind": {"input": "checkbox", "name": rule, "element": "#rules"}} for rule in rules]
    chosen = f"({{{', '.join(f'{json.dumps(rule)}: {name}' for rule, name in shown.items())}}})[datum.rule]"
    scale = {"type": "log", "nice": False, "padding": 16}
    ticks = {name: doublings([row[name] for row in rows if name in row]) for name in costs}
    axis = {"values": {"expr": f"({json.dumps(ticks)})[cost]"}, "format": ".3s"}
    legend = {"orient": "top", "columns": {"expr": "max(1, floor(width / 120))"}}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Accuracy against the chosen cost; the table of networks holds the same numbers.",
        "width": "container",
        "height": 380,
        "title": {"text": {"expr": f"({json.dumps(costs)})[cost]"}, "orient": "bottom", "anchor": "middle", "fontWeight": "normal", "fontSize": 13},
        "params": [*axes, *(switches if len(rules) > 1 else [])],
        "data": {"values": rows},
        "transform": [
            *([{"filter": "datum.panel == panel"}] if len(names) > 1 else []),
            *([{"filter": chosen}] if len(rules) > 1 else []),
            {"calculate": "datum[cost]", "as": "x"},
            {"filter": "isValid(datum.x)"},
            {"calculate": "format(datum.x, '.3s')", "as": "amount"},
            {"calculate": SPOKEN, "as": "spoken"},
        ],
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": None, "scale": scale, "axis": axis},
            "y": {"type": "quantitative", "title": f"{summary['split'].iloc[0]} accuracy (%)", "scale": {"zero": False}},
            "color": {"field": "rule", "type": "nominal", "title": None, "scale": _scale(rules, 0), "legend": legend},
        },
        "layer": _layers(rules),
        "config": {"view": {"stroke": None}, "axis": {"labelFontSize": 12, "titleFontSize": 13}, "legend": {"labelFontSize": 13, "symbolSize": 110}},
    }


def doublings(values: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic cost: the least value times powers of 2, or of a root of 2, six at most."""
    least, span = min(values), math.log2(max(values) / min(values))
    step = next((step for step in (1 / 16, 1 / 4, 1) if span / step < 6), math.ceil(span / 5))
    return [least * 2 ** (step * index) for index in range(int(span / step + 0.15) + 1)]


def _select(name: str, label: str, options: Mapping[str, str]) -> dict[str, Any]:
    bind = {"input": "select", "options": list(options), "labels": list(options.values()), "name": label, "element": "#axes"}
    return {"name": name, "value": next(iter(options)), "bind": bind}


def _scale(rules: Sequence[str], which: int) -> dict[str, Any]:
    """Colours (0) or shapes (1) of the rules, those of every figure."""
    looks = {rule: LOOSE if rule == "networks" else (look(rule, rules)[0], SHAPES[look(rule, rules)[1]]) for rule in rules}
    return {"domain": list(looks), "range": [pair[which] for pair in looks.values()]}


def _layers(rules: Sequence[str]) -> list[dict[str, Any]]:
    """Lines, intervals with caps, means."""
    ends = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}
    fields = {"network": "network", "coefficients": "coefficients", "amount": "cost", "mean": "mean", "interval": "95 % interval", "seeds": "seeds"}
    tooltip = [{"field": field, "title": title} | ({"format": ".1f"} if field == "mean" else {}) for field, title in fields.items()]
    mean = {"y": {"field": "mean", "type": "quantitative"}}
    shape = {"field": "rule", "type": "nominal", "title": None, "scale": _scale(rules, 1)}
    return [
        {"mark": {"type": "line", "strokeWidth": 1.6}, "transform": [{"filter": "datum.rule != 'networks'"}], "encoding": mean},
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "transform": [{"filter": "isValid(datum.low)"}], "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": mean | {"shape": shape, "tooltip": tooltip, "description": {"field": "spoken"}},
        },
    ]
