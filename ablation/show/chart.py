"""The interactive chart, accuracy against a cost of the reader's choice, as a Vega-Lite specification: its
controls are Vega's own.

An axis is always linear for Vega, which has no way to change that in a drawn chart; a logarithmic one holds
logarithms to base 2, and its labels their values.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from ablation.judge.frame import ARM, rules_of
from ablation.judge.paper import FIGURE_3, FIGURE_8
from ablation.show.drawing import COSTS, GREY, look, moved, panels
from ablation.show.embedding import dark
from ablation.show.words import percent

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
    "8": "M-.38,-.92L.38,-.92L.92,-.38L.92,.38L.38,.92L-.38,.92L-.92,.38L-.92,-.38Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
    "H": "M-1,0L-.5,-.87L.5,-.87L1,0L.5,.87L-.5,.87Z",
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "d": "M0,-1L.6,0L0,1L-.6,0Z",
}
# A mean for who does not point at it.
SPOKEN = (
    "datum.network + ' (' + datum.coefficients + '), ' + datum.amount + ': mean ' "
    "+ format(datum.mean, '.1f')\n"
    "  + ' %, 95 % interval ' + datum.interval + ', seeds ' + datum.seeds"
)
ON_AXIS = "axis == 'logarithmic' ? log(datum[cost]) / LN2 : datum[cost]"
# Of a cost, what its amounts are of.
UNITS = {
    "macs": "multiply-adds",
    "activations": "elements",
    "params": "parameters",
    "step_bytes": "bytes",
    "step_seconds": "s",
}
BESIDE = {"size": 18, "opacity": 0.6, "xOffset": 7}  # how a seed lies at its mean
AXES = {"logarithmic": "logarithmic", "linear": "linear"}  # of the cost
LOG = "axis == 'logarithmic'"
THE_PAPER = "the paper, ImageNet, its baseline on ours"
# Networks that lie on no line: explicit coefficients, the candidates of a search.
LOOSE = (
    "#7F7F7F",
    "circle",
)


MEAN = [*ARM, "phi", "cost"]  # columns that tell one mean from another


def points(
    frame: pd.DataFrame, summary: pd.DataFrame, search: bool = False
) -> list[dict[str, Any]]:
    """One row for each mean: where it lies, in per cent and in units of cost, and what is told of it."""
    known = summary[summary["n"] > 0]
    lines = [] if search else rules_of(known)
    runs_of = _runs_of_means(frame)
    rows = []
    for panel, part in panels(known):
        for row in part.to_dict("records"):
            rule = row["rule"] if row["rule"] in lines else "networks"
            runs = runs_of[_key(row[name] for name in MEAN)]
            about = {"panel": panel, "rule": rule, "line": row["rule"] in lines}
            about["runs"] = [round(percent(each), 4) for each in runs["accuracy"]]
            rows.append(about | _costs(row) | told(row, runs))
    return rows


def printed(summary: pd.DataFrame, search: bool = False) -> list[dict[str, Any]]:
    """The paper's points of each rule that it has a line of, moved so that its baseline lies on ours, as far
    as our own networks go."""
    known = summary[summary["n"] > 0]
    rules = [] if search else rules_of(known)
    lines = FIGURE_8 if "compound" in rules else FIGURE_3
    rows = []
    for panel, part in panels(known):
        for rule in rules:
            own = part[part["rule"] == rule]
            if rule in lines and len(own) > 1:
                x, y = moved(lines[rule], own)
                ends = _as_far_as(x, y, float(own["macs"].max()))
                place = {"panel": panel, "rule": rule}
                rows += [place | {"macs": macs, "mean": mean} for macs, mean in ends]
    return rows


def _as_far_as(x: Sequence[float], y: Sequence[float], most: float) -> list[tuple[float, float]]:
    """A line's points up to a cost, and the one there, straight in the logarithm of cost."""
    inside = [point for point in zip(x, y, strict=True) if point[0] <= most]
    if not inside or len(inside) == len(x):
        return inside
    end = float(np.interp(math.log(most), np.log(x), y))
    return [*inside, (most, end)] if most > inside[-1][0] else inside


def _runs_of_means(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The runs with an accuracy, by what tells one mean from another."""
    groups = frame.dropna(subset="accuracy").groupby(MEAN, dropna=False)
    return {_key(key): rows for key, rows in groups}


def _costs(row: Mapping[str, Any]) -> dict[str, float]:
    """What is known of what a network costs."""
    return {name: row[name] for name in COSTS if name in row and not math.isnan(row[name])}


def _key(values: Any) -> tuple[Any, ...]:
    """A place of the summary that equals itself: NaN, the phi of explicit coefficients, does not."""
    return tuple(None if value != value else value for value in values)


def told(row: Mapping[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """A mean and what a reader sees who points at it."""
    interval = (
        {} if math.isnan(row["low"]) else {"low": percent(row["low"]), "high": percent(row["high"])}
    )
    shape = (
        f"d={row['depth']:.2f}, w={row['width']:.2f}, r={row['resolution']:.2f} ({row['pixels']} px), "
        f"cost={row['cost']}"
    )
    words = f"{interval['low']:.1f} to {interval['high']:.1f} %" if interval else "none"
    seeds = ", ".join(f"{run.seed}: {percent(run.accuracy):.1f} %" for run in runs.itertuples())
    return {
        "mean": percent(row["mean"]),
        "height": f"{percent(row['mean']):.1f} %",
        **interval,
        "network": row["label"],
        "coefficients": shape,
        "interval": words,
        "seeds": seeds,
    }


def chart(frame: pd.DataFrame, summary: pd.DataFrame, search: bool = False) -> dict[str, Any]:
    """The specification; what it binds to, `#axes` and `#rules`, are elements of the page. search: of a grid
    search, whose candidates are no lines."""
    means = points(frame, summary, search)
    rules = list(dict.fromkeys(row["rule"] for row in means))
    rows = [row | {"switch": rules.index(row["rule"])} for row in means]
    panels_ = list(dict.fromkeys(row["panel"] for row in rows))
    costs = {name: label for name, label in COSTS.items() if _known(rows, name)}
    names = {rule: f"rule_{index}" for index, rule in enumerate(rules)}
    papers = [row | {"switch": rules.index(row["rule"])} for row in printed(summary, search)]
    params = [_select("cost", "cost", costs), _select("axis", "axis", AXES)]
    filters = []
    if len(panels_) > 1:
        params.append(_select("panel", "part", dict(zip(panels_, panels_, strict=True))))
        filters.append({"filter": "datum.panel == panel"})
    if len(rules) > 1:
        params += [_switch(rule, name) for rule, name in names.items()]
        # No name in an expression: there are some, such as `constructor`, that Vega makes something else of.
        filters.append({"filter": f"[{', '.join(names.values())}][datum.switch]"})
    if papers:
        params.append(_switch(THE_PAPER, "paper"))
    layers = [*_layers(rules), *([_paper_layer(papers, filters)] if papers else [])]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Accuracy against the chosen cost; the table of networks holds the same numbers.",
        "width": "container",
        "height": 380,
        "title": {
            "text": {"expr": f"({json.dumps(costs)})[cost]"},
            "orient": "bottom",
            "anchor": "middle",
            "fontWeight": "normal",
            "fontSize": 13,
        },
        "params": params,
        "data": {"values": rows},
        "transform": [
            *filters,
            {"filter": "isValid(datum[cost])"},
            {"calculate": ON_AXIS, "as": "x"},
            {
                "calculate": f"format(datum[cost], '.3s') + ' ' + ({json.dumps(UNITS)})[cost]",
                "as": "amount",
            },
            {"calculate": SPOKEN, "as": "spoken"},
        ],
        "encoding": _encoding(rows, rules, costs, summary["split"].iloc[0]),
        "layer": layers,
        "usermeta": {"dark": _by_night(rules)},
        "config": {
            "view": {"stroke": None},
            "axis": {"labelFontSize": 12, "titleFontSize": 13},
            "legend": {"labelFontSize": 13, "symbolSize": 110, "symbolOpacity": 1},
        },
    }


def _known(rows: Sequence[Mapping[str, Any]], cost: str) -> bool:
    return any(cost in row for row in rows)


def _switch(rule: str, name: str) -> dict[str, Any]:
    """A box that shows a rule or hides it."""
    bind = {"input": "checkbox", "name": rule, "element": "#rules"}
    return {"name": name, "value": True, "bind": bind}


def _encoding(
    rows: Sequence[Mapping[str, Any]], rules: Sequence[str], costs: Iterable[str], split: str
) -> dict[str, Any]:
    """Axes and colours."""
    logs, plain = {}, {}
    for name in costs:
        values = [row[name] for row in rows if name in row]
        logs[name] = [math.log2(tick) for tick in doublings(values)]
        plain[name] = round_values(values)
    ticks = f"({LOG} ? {json.dumps(logs)} : {json.dumps(plain)})[cost]"
    label = f"format({LOG} ? pow(2, datum.value) : datum.value, '.3s')"
    x = {
        "field": "x",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False, "nice": False, "padding": 16},
        "axis": {"values": {"expr": ticks}, "labelExpr": label},
    }
    y = {"type": "quantitative", "title": f"{split} accuracy (%)", "scale": {"zero": False}}
    color = {
        "field": "rule",
        "type": "nominal",
        "title": None,
        "scale": _scale(rules, 0),
        "legend": {"orient": "top", "columns": {"expr": "max(1, floor(width / 120))"}},
    }
    return {"x": x, "y": y, "color": color}


def doublings(values: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic cost: the least value times powers of 2, or of a root of 2, six at most."""
    least = min(values)
    span = math.log2(max(values) / min(values))
    step = next((step for step in (1 / 16, 1 / 4, 1) if span / step < 6), math.ceil(span / 5))
    return [least * 2 ** (step * index) for index in range(int(span / step + 0.15) + 1)]


def round_values(values: Sequence[float]) -> list[float]:
    """Ticks of a linear cost: round numbers within its range, six at most."""
    ticks = MaxNLocator(6).tick_values(min(values), max(values))
    return [float(tick) for tick in ticks if min(values) <= tick <= max(values)]


def _select(name: str, label: str, options: Mapping[str, str]) -> dict[str, Any]:
    bind = {
        "input": "select",
        "options": list(options),
        "labels": list(options.values()),
        "name": label,
        "element": "#axes",
    }
    return {"name": name, "value": next(iter(options)), "bind": bind}


def _scale(rules: Sequence[str], which: int) -> dict[str, Any]:
    """Colours (0) or shapes (1) of the rules, those of every figure."""
    looks = {
        rule: LOOSE if rule == "networks" else (look(rule, rules)[0], SHAPES[look(rule, rules)[1]])
        for rule in rules
    }
    return {"domain": list(looks), "range": [pair[which] for pair in looks.values()]}


def _layers(rules: Sequence[str]) -> list[dict[str, Any]]:
    """Lines, intervals, seeds, means."""
    ends = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}
    fields = {
        "network": "network",
        "coefficients": "coefficients",
        "amount": "cost",
        "height": "mean",
        "interval": "95 % interval",
        "seeds": "seeds",
    }
    tooltip = [{"field": field, "title": title} for field, title in fields.items()]
    mean = {"y": {"field": "mean", "type": "quantitative"}}
    shape = {"field": "rule", "type": "nominal", "title": None, "scale": _scale(rules, 1)}
    return [
        {
            "mark": {"type": "line", "strokeWidth": 1.6},
            "transform": [{"filter": "datum.line"}],
            "encoding": mean,
        },
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "transform": [{"filter": "isValid(datum.low)"}],
            "encoding": ends,
        },
        {
            "mark": {"type": "point", "filled": True, "aria": False} | BESIDE,
            "transform": [{"flatten": ["runs"], "as": ["one"]}],
            "encoding": {"y": {"field": "one", "type": "quantitative"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": mean
            | {"shape": shape, "tooltip": tooltip, "description": {"field": "spoken"}},
        },
    ]


def _paper_layer(
    rows: Sequence[Mapping[str, Any]], filters: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """The paper's lines in grey, against FLOPs alone, which it states."""
    return {
        "data": {"values": list(rows)},
        "transform": [
            *filters,
            {"filter": "paper && cost == 'macs'"},
            {"calculate": ON_AXIS, "as": "x"},
        ],
        "mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.2, "aria": False},
        "encoding": {
            "y": {"field": "mean", "type": "quantitative"},
            "detail": {"field": "rule", "type": "nominal"},
            "color": {"value": _grey(GREY)},
        },
    }


def _grey(share: str) -> str:
    """A grey of matplotlib's as #rrggbb."""
    part = f"{round(255 * float(share)):02x}"
    return f"#{part}{part}{part}"


def _by_night(rules: Sequence[str]) -> dict[str, str]:
    """Of each colour of the chart that which a dark screen shows."""
    colours = [*_scale(rules, 0)["range"], _grey(GREY)]
    return {colour: dark(colour) for colour in colours}
