"""The report as one HTML file, which needs nothing beside it: verdicts, figures with what they show, chart,
runs, audit, and how to repeat it."""

import base64
import dataclasses
import io
import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ablation.judge.contrasts import LEVEL
from ablation.judge.expected import tally
from ablation.judge.verdicts import MARGIN, VERDICTS
from ablation.runs.arms import starts
from ablation.runs.records import Record
from ablation.show import audit_page
from ablation.show.advice import at_largest
from ablation.show.answer import answer
from ablation.show.chart import chart
from ablation.show.drawing import Drawing
from ablation.show.results import Results, note
from ablation.show.tables import CONFIRMED, OVER_SEEDS, by_claim, results_rows, runs_rows
from ablation.show.words import listed


@dataclass(frozen=True)
class Shown:
    """A figure of the page. found: what it shows, in sentences; alt: its text alternative; image, csv: data
    URIs; numbers: what differs in its table."""

    drawing: Drawing
    found: Sequence[str]
    alt: str
    image: str
    csv: str
    numbers: Sequence[Mapping[str, str]]


def page(
    results: Results,
    drawn: Sequence[tuple[Drawing, pd.DataFrame]],
    photographs: Sequence[Path] = (),
) -> str:
    """The page of one plan with at least one record, from its figures, which lie in its folder as SVG, and
    photographs (PNG)."""
    figures = [shown(drawing, table, results.folder) for drawing, table in drawn]
    figures.sort(key=lambda figure: figure.drawing.place)
    claims = by_claim(results.findings)
    counts = Counter(finding.verdict for finding in results.findings)
    first = results.wanted.planned[0].run.data
    return template().render(
        results=results,
        wanted=results.wanted,
        about=about(results),
        starts=starts(results.wanted.planned),
        embedded=first.name if first.embedded else "",
        figures=figures,
        photographs=[photograph(path) for path in photographs],
        claims=claims,
        short=short(claims),
        aside=ASIDE,
        tally={name: counts[name] for name in VERDICTS if counts[name]},
        answer=answered(results, figures),
        advice=at_largest(results),
        over_images=any(finding.over == "seeds and images" for finding in results.findings),
        undiverged=undiverged(results),
        margin=MARGIN,
        level=LEVEL,
        chart=interactive(results),
        library=library,
        means=results_rows(results),
        runs=runs_rows(results),
        audit=audited(),
        facts=facts(results),
        commands=commands(results),
    )


def interactive(results: Results) -> dict[str, Any] | None:
    """The chart's specification; None for a page that goes without it."""
    if not results.wanted.interactive:
        return None
    return chart(results.frame, results.summary, results.wanted.search)


def answered(results: Results, figures: Sequence[Shown]) -> str:
    """The answer to the study's question: what its findings come to, or what its figure shows first."""
    claim = results.wanted.claim
    seen = [text for figure in figures if figure.drawing.name == claim for text in figure.found[:2]]
    said = answer(results.findings, claim) or " ".join(seen)
    expected = tally(results.findings)
    return f"{expected[0].upper()}{expected[1:]}. {said}" if expected else said


def undiverged(results: Results) -> str:
    """How often a network may diverge that did so in none of its few runs: the rate that as many runs without
    one leave at LEVEL; "" where there are many runs of each, or one diverged."""
    runs = int(results.summary["n"].min())
    if results.summary["diverged"].any() or not 0 < runs < MANY:
        return ""
    rate = 1 - (1 - LEVEL) ** (1 / runs)
    seen = f"{runs} run of a network leaves" if runs == 1 else f"{runs} runs of a network leave"
    return f"No run diverged; {seen} a rate of up to {rate:.0%} open."


# Columns that a phone has no room for: they stand in full below.
ASIDE = ("n", OVER_SEEDS, CONFIRMED)
MANY = 20  # runs of a network without a divergence leave less than 14 % open


def short(claims: Mapping[str, Sequence[Mapping[str, str]]]) -> list[str]:
    """Columns of a finding's line at the top: what is compared, the verdict, effect, intervals and n."""
    names = list(next(iter(claims.values()))[0]) if claims else ["", "df"]
    subject = names.index("") + 1
    return [*names[:subject], "verdict", *names[subject : names.index("df")]]


def about(results: Results) -> list[str]:
    """What kind of runs these are, in a few words each."""
    planned = results.wanted.planned
    runs = {entry.run.id for entry in planned}
    seeds = {entry.run.seed for entry in planned}
    return [
        f"{len(results.done)} of {len(runs)} runs",
        f"baseline {several(entry.baseline for entry in planned)}",
        note(results)[0],
        f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}",
    ]


@cache
def template() -> Any:
    """page.html.j2, which includes its style and its script."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


@cache
def library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script that no tag in it ends."""
    import vl_convert  # a second to load

    return Markup(vl_convert.javascript_bundle().replace("</script", r"<\/script"))


@cache
def audited() -> list[audit_page.Item]:
    """The audit is the same on every page."""
    return audit_page.items()


# Of ASCII, what stands for itself in an address within a page.
PLAIN = "".join(set(string.printable) - set(string.whitespace) - set("%#&<>'\"")) + " "


def uri(kind: str, text: str) -> str:
    """Text as an address of its own: a tenth shorter than in base 64."""
    return f"data:{kind};charset=utf-8,{quote(text, safe=PLAIN)}"


def dense(markup: str) -> str:
    """Markup without the space that means nothing between its tags."""
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", markup))


WIDE = 1000  # pixels of the page's column


def photograph(path: Path) -> str:
    """A PNG of images as a WebP as wide as the page, with an address of its own: a fraction of its size."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((WIDE, picture.height))
    compressed = io.BytesIO()
    picture.save(compressed, "WEBP", quality=50)
    return f"data:image/webp;base64,{base64.b64encode(compressed.getvalue()).decode()}"


# ---------------------------------------------------------------- figures


def shown(drawing: Drawing, table: pd.DataFrame, folder: Path) -> Shown:
    """A figure that has been written into a folder."""
    numbers = differing(table) if drawing.listed else []
    image = _image(drawing, folder)
    csv = uri("text/csv", (folder / f"{drawing.name}.csv").read_text())
    found = [text.replace(" %", "\N{NO-BREAK SPACE}%") for text in drawing.found(table)]
    words = alternative(drawing, table) + (" The numbers follow as a table." if numbers else "")
    return Shown(drawing, found, words, image, csv, numbers)


def _image(drawing: Drawing, folder: Path) -> str:
    """As lines, or as a photograph where it shows images."""
    if drawing.of_images:
        return photograph(folder / f"{drawing.name}.png")
    return uri("image/svg+xml", dense((folder / f"{drawing.name}.svg").read_text()))


def alternative(drawing: Drawing, table: pd.DataFrame) -> str:
    """What a figure is, in words, for who does not see it: what it is about, its rows and the ranges of its
    numbers."""
    names = list(dict.fromkeys(table["rule"].dropna())) if "rule" in table else []
    rules = f" of {listed(names)}" if 0 < len(names) < 9 else ""
    ranges = [
        f"{name} {_cell(table[name].min())} to {_cell(table[name].max())}"
        for name in ("macs", "mean", "effect")
        if name in table
    ]
    return f"{drawing.title}, {drawing.says} {len(table)} rows{rules}; {', '.join(ranges)}."


def differing(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of a figure's table as text, without columns that are the same or empty in all of them."""
    left_out = ("label", "depths", "widths", "budget_error")
    names = [name for name in table if table[name].nunique() > 1 and name not in left_out]
    return [_cells(row) for row in table[names].to_dict("records")]


def _cells(row: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    """A value as text: four digits, thousands apart, nothing for no number."""
    if isinstance(value, float):
        return "" if math.isnan(value) else _number(value)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_count else str(value)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


# ---------------------------------------------------------------- runs, and what it takes to repeat them


def facts(results: Results) -> dict[str, dict[str, str]]:
    """What the runs had in common, and the values where they differed: recipe, data, seeds, machine,
    versions."""
    runs = [entry.run for entry in results.wanted.planned]
    records = list(results.done.values())
    digest = several(record.data_digest for record in records)
    return {
        "Recipe": fields_of(run.recipe for run in runs),
        "Data": fields_of(run.data for run in runs) | {"digest": digest},
        "Seeds": {"seeds": several(run.seed for run in runs)},
        "Machine": _machine(records),
        "Versions": _versions(records),
    }


def _machine(records: Sequence[Record]) -> dict[str, str]:
    """Where and when the runs were trained."""
    finished = sorted(record.finished for record in records)
    hours = sum(record.total_seconds for record in records) / 3600
    return {
        "device": several(record.device for record in records),
        "threads": several(record.threads for record in records),
        "time of all runs": f"{hours:.2f} hours",
        "first finished": finished[0],
        "last finished": finished[-1],
    }


def _versions(records: Sequence[Record]) -> dict[str, str]:
    """Versions of what a result depends on, and the commits."""
    names = dict.fromkeys(itertools.chain.from_iterable(record.versions for record in records))
    found = {}
    for name in names:
        found[name] = several(record.versions.get(name) for record in records)
    return found | {"commit": several(record.commit or "unknown" for record in records)}


def fields_of(values: Iterable[Any]) -> dict[str, str]:
    """The fields of some dataclasses of one kind: each value, or all of them where they differ; None is left
    out."""
    rows = [dataclasses.asdict(value) for value in values]
    found = {}
    for name in rows[0]:
        if text := several(row[name] for row in rows):
            found[name] = text
    return found


def several(values: Iterable[Any]) -> str:
    """Distinct values in the order in which they come."""
    words = (
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in values
        if value is not None
    )
    return ", ".join(dict.fromkeys(words))


def commands(results: Results) -> list[str]:
    """What reproduces a page in a checkout, line by line."""
    wanted = results.wanted
    commits = {record.commit for record in results.done.values()}
    lines = []
    if len(commits) == 1 and (commit := commits.pop()) and not commit.endswith("+"):
        lines.append(f"git checkout {commit}")
    lines.append("make install")
    for words in wanted.after:
        lines += [f"python -m ablation.{door} {words}" for door in ("run", "report")]
    return [*lines, wanted.through("run"), wanted.through("report")]
