"""The report as one HTML file, which needs nothing beside it: verdicts, figures with what they show, chart,
runs, audit, and how to repeat it."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ablation.judge.contrasts import LEVEL
from ablation.judge.expected import tally
from ablation.judge.questions import MOST_ANGLE
from ablation.judge.verdicts import MARGIN, VERDICTS
from ablation.runs.arms import Planned, grows, starts
from ablation.runs.checks import counted
from ablation.runs.config import Data, Recipe
from ablation.show import audit_page
from ablation.show.advice import at_largest
from ablation.show.answer import answer, too_small
from ablation.show.chart import chart
from ablation.show.drawing import Drawing, style, svg
from ablation.show.embedding import folded, photograph, svg_uri, uri
from ablation.show.results import Results, commands, facts, needed, note, several
from ablation.show.tables import (
    CONFIRMED,
    OVER_SEEDS,
    by_claim,
    networks_rows,
    runs_csv,
    runs_rows,
    stage_rows,
)
from ablation.show.words import as_csv, as_markdown, listed
from ablation.theory.matching import TOLERANCE
from ablation.theory.own import Own


@dataclass(frozen=True)
class Shown:
    """A figure of the page. says: what a reader looks for in it; found: what it shows, in sentences; alt: its
    text alternative; image, csv: data URIs, "" for none; narrow: the same figure for a phone, "" where it
    scrolls there; numbers: what differs in its table; bright: whether it is light on a dark screen too."""

    name: str
    title: str
    says: str
    found: Sequence[str]
    alt: str
    image: str
    csv: str = ""
    narrow: str = ""
    numbers: Sequence[Mapping[str, str]] = ()
    bright: bool = False


@dataclass(frozen=True)
class Head:
    """What page and report.md begin with. answer: one sentence; advice: which network to build; small: why
    nothing can be told, and more: the command that would tell; tally: how many findings of each verdict;
    about: what kind of runs these are."""

    question: str
    answer: str
    advice: str
    small: str
    more: str
    tally: Mapping[str, int]
    about: Sequence[str]


def page(results: Results, figures: Sequence[Shown]) -> str:
    """The page of one plan with at least one record, from its figures in their order."""
    claims = own_first(results)
    first = results.wanted.planned[0].run.data
    return template().render(
        results=results,
        wanted=results.wanted,
        head=head(results, figures),
        starts=starts(results.wanted.planned),
        embedded=first.name if first.embedded else "",
        figures=figures,
        claims=claims,
        short=short(claims),
        aside=ASIDE,
        over_images=any(finding.over == "seeds and images" for finding in results.findings),
        undiverged=undiverged(results),
        margin=MARGIN,
        level=LEVEL,
        glossary=GLOSSARY,
        words=WORDS,
        paper=PAPER,
        home=home(),
        chart=interactive(results),
        library=library,
        trained=trained(results),
        baselines=stage_tables(results),
        means=networks_rows(results),
        means_csv=uri("text/csv", as_csv(results.summary)),
        runs=runs_rows(results),
        runs_csv=uri("text/csv", runs_csv(results)),
        audit=audited(),
        facts=facts(results),
        commands=commands(results),
        needed=needed(results),
    )


def in_order(
    results: Results,
    drawn: Sequence[tuple[Drawing, pd.DataFrame]],
    photographs: Sequence[Path] = (),
) -> list[Shown]:
    """The figures of a page, which lie in its folder as SVG, and photographs (PNG); that which the study
    asks for first."""
    ordered = sorted(drawn, key=lambda each: each[0].place)
    figures = [shown(drawing, table, results.folder) for drawing, table in ordered]
    figures += [of_activation(path) for path in photographs]
    return sorted(figures, key=lambda figure: figure.name != results.wanted.figure)


def own_first(results: Results) -> dict[str, list[dict[str, str]]]:
    """The findings by statement, those on the study's own claim first."""
    claim = results.wanted.claim
    return by_claim(sorted(results.findings, key=lambda finding: finding.claim != claim))


def head(results: Results, figures: Sequence[Shown]) -> Head:
    """What stands at the top."""
    counts = Counter(finding.verdict for finding in results.findings)
    small, more = too_small(results)
    return Head(
        question=results.wanted.question or results.wanted.command,
        answer=answered(results, figures),
        advice=at_largest(results),
        small=small,
        more=more,
        tally={name: counts[name] for name in VERDICTS if counts[name]},
        about=about(results),
    )


def interactive(results: Results) -> dict[str, Any] | None:
    """The chart's specification; None for a page that goes without it."""
    if not results.wanted.interactive:
        return None
    return chart(results.frame, results.summary, results.wanted.search)


def answered(results: Results, figures: Sequence[Shown]) -> str:
    """The answer to the study's question: what its findings come to, or what its figure shows first."""
    claim = results.wanted.claim
    seen = [text for figure in figures if figure.name == claim for text in figure.found[:2]]
    said = answer(results.findings, claim) or " ".join(seen)
    expected = tally(results.findings)
    return f"{_capital(expected)}. {_capital(said)}" if expected else said


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
        counted(len(seeds), "seed"),
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
    environment.filters["marked"] = marked
    return environment.get_template("page.html.j2")


def marked(text: str) -> Markup:
    """Text as HTML, in which what stands between backticks is code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


CODE = re.compile("`([^`]+)`")


@cache
def library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script that no tag in it ends."""
    import vl_convert  # a second to load

    return Markup(vl_convert.javascript_bundle().replace("</script", r"<\/script"))


@cache
def audited() -> list[audit_page.Item]:
    """The audit is the same on every page."""
    return audit_page.items()


# ---------------------------------------------------------------- figures


def shown(drawing: Drawing, table: pd.DataFrame, folder: Path) -> Shown:
    """A figure that has been written into a folder."""
    numbers = differing(table) if drawing.listed else []
    lines = "" if drawing.of_images else (folder / f"{drawing.name}.svg").read_text()
    words = alternative(drawing, table) + (" The numbers follow as a table." if numbers else "")
    return Shown(
        name=drawing.name,
        title=drawing.title,
        says=drawing.says,
        found=[text.replace(" %", "\N{NO-BREAK SPACE}%") for text in drawing.found(table)],
        alt=words,
        image=svg_uri(lines) if lines else photograph(folder / f"{drawing.name}.png"),
        csv=uri("text/csv", (folder / f"{drawing.name}.csv").read_text()) if numbers else "",
        narrow=narrow(drawing, table) if drawing.folds else "",
        numbers=numbers,
        bright=not lines or "<image" in lines,
    )


def narrow(drawing: Drawing, table: pd.DataFrame) -> str:
    """The same figure for a phone; "" where it has too many panels to stand one below the other."""
    with style():
        figure = drawing.draw(table)
        return svg_uri(svg(folded(figure))) if len(figure.axes) <= FOLDED else ""


FOLDED = 3  # panels


def of_activation(path: Path) -> Shown:
    """Photographs with what networks look at."""
    return Shown(
        name="activation",
        title="Class activation maps (Fig. 7)",
        says="where does each network look?",
        found=["Photographs, one a row, each beside the map of every network."],
        alt="Photographs, one a row, each beside its class activation map of every network.",
        image=photograph(path),
        bright=True,
    )


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


# ---------------------------------------------------------------- for who has only the page

PAPER = "https://arxiv.org/abs/1905.11946"
GLOSSARY = {
    "FLOPs": "multiply-adds of convolutions and the classifier, counted, as the paper counts them",
    "baseline": "the smallest network, from which every other one is scaled",
    "d, w, r": "how many times the baseline's layers (depth), channels (width) and pixels of a side"
    " (resolution) a network has, after rounding to whole ones",
    "rule": "a direction in which a network grows: d = alpha^phi, w = beta^phi, r = gamma^phi; compound is"
    " (1.2, 1.1, 1.15), the paper's triple",
    "phi": "how far a network goes along its rule: at phi it costs about 2^phi times the baseline's FLOPs",
    "matched": "of a network: its counted FLOPs are 2^phi times the baseline's, within"
    f" {TOLERANCE:.0%}; it is the one nearest to its rule's direction",
    "nominal": "of a network: what the paper's formula d w^2 r^2 gives, whose FLOPs rounding moves",
    "off budget": "how far the counted FLOPs of a matched network are from the FLOPs asked for",
    "off direction": "degrees between the growth that was asked for and what whole layers, channels and"
    f" pixels made of it; beyond {MOST_ANGLE:g} a network is not that rule's",
    "points": "hundredths of an accuracy: from 80 % to 82 % are 2 points",
    "n": "seeds: trainings of one network that differ in nothing but chance",
}


# Of a column, what its name means.
WORDS = {
    **GLOSSARY,
    "cost": f"matched, {GLOSSARY['matched']}; nominal, {GLOSSARY['nominal']}",
    **dict.fromkeys("dwr", GLOSSARY["d, w, r"]),
    "px": "side of the input in pixels",
    "MMACs": "millions of multiply-adds for one image",
    "layers": "blocks of each stage",
    "channels": "of the stem, each stage and the head",
}


@cache
def home() -> str:
    """The address of the project, where the installed package says one (`Homepage`, `Repository`); else
    ""."""
    try:
        said = metadata("ablation").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    addresses = dict(line.split(", ", 1) for line in said)
    return addresses.get("Homepage") or addresses.get("Repository") or ""


def trained(results: Results) -> dict[str, str]:
    """How the networks were trained, in words: images of each split, epochs, augmentation, optimizer."""
    runs = [entry.run for entry in results.wanted.planned]
    return {
        "images": several(_images(results, run.data) for run in runs),
        "epochs": f"{several(f'{run.recipe.epochs:,}' for run in runs)}, in batches of"
        f" {several(_batch(run.recipe) for run in runs)}",
        "augmentation": several(_augmented(run.recipe) for run in runs),
        **_dropped(results.wanted.planned),
        "optimizer": several(_optimized(run.recipe) for run in runs),
        "reported": "the last epoch, on "
        + several("evaluation" if run.evaluate else "validation" for run in runs)
        + " images, which no choice has seen"
        if all(run.evaluate for run in runs)
        else "the last epoch, on validation images; the evaluation split stayed closed",
    }


def _images(results: Results, data: Data) -> str:
    """Where images come from, and how many there are of each split, as far as records or the plan say."""
    sizes = results.wanted.sizes(data)
    stated = {"train": data.train_size, "validation": data.validation_size}
    told = []
    for name, split in SPLITS.items():
        count = getattr(sizes, name) if sizes else stated.get(name) or _answered(results, name)
        everything = "all others" if name == "train" else "all"
        told.append(f"{f'{count:,}' if count else everything} {split}")
    made = " (made by the project)" if data.embedded else ""
    shuffled = ", their labels shuffled" if data.permuted else ""
    less = f", reduced to {data.detail} px" if data.detail else ""
    return f"{data.name}{made}{shuffled}{less}: {', '.join(told)}; {data.classes} classes, {data.native} px"


def _answered(results: Results, split: str) -> int:
    """How many images of a split the records say something of."""
    answers = [record.answers for record in results.done.values()]
    return max((each[split]["count"] for each in answers if split in each), default=0)


SPLITS = {"train": "to train", "validation": "for validation", "evaluation": "to evaluate"}


def _batch(recipe: Recipe) -> str:
    """How many images a step takes, and how many at once."""
    return f"{recipe.batch_size}{f', {recipe.part} at once' if recipe.accumulate > 1 else ''}"


def _augmented(recipe: Recipe) -> str:
    """What is done to training images and labels at random."""
    done = [
        *(["mirrored"] if recipe.flip else []),
        *([f"shifted by up to {recipe.shift:.3g} of the side"] if recipe.shift else []),
        *([f"cropped to {recipe.crop:.3g} of the area or more"] if recipe.crop < 1 else []),
        *([f"labels smoothed by {recipe.label_smoothing:g}"] if recipe.label_smoothing else []),
        *_randomly(recipe),
        *([f"stochastic depth {recipe.drop_path:g}"] if recipe.drop_path else []),
    ]
    return " and ".join(done) or "none"


def _randomly(recipe: Recipe) -> list[str]:
    """What RandAugment, mixup and cutmix do, with their settings."""
    operations = f"{recipe.randaugment} operations of RandAugment, magnitude {recipe.magnitude:g}"
    return [
        *([operations] if recipe.randaugment else []),
        *([f"mixup {recipe.mixup:g}"] if recipe.mixup else []),
        *([f"cutmix {recipe.cutmix:g}"] if recipe.cutmix else []),
    ]


def _dropped(planned: Sequence[Planned]) -> dict[str, str]:
    """Dropout before the classifier, where there is any; where it grows with the networks of one setting,
    that arms differ in it."""
    rates = sorted({entry.run.recipe.dropout for entry in planned})
    if rates == [0]:
        return {}
    if not grows(planned):
        return {"dropout": several(f"{rate:g}" for rate in rates)}
    differ = "it grows with a network's FLOPs, so arms differ in recipe as well as in size"
    return {"dropout": f"{rates[0]:g} to {rates[-1]:g}: {differ}"}


def _optimized(recipe: Recipe) -> str:
    """The optimizer and its schedule."""
    averaged = f", weights averaged with {recipe.ema:g}" if recipe.ema else ""
    return (
        f"{recipe.optimizer} with a peak rate of {recipe.learning_rate:g}, {recipe.schedule} after"
        f" {recipe.warmup_epochs:g} {'epoch' if recipe.warmup_epochs == 1 else 'epochs'} of warm-up,"
        f" weight decay {recipe.weight_decay:g}{averaged}"
    )


def stage_tables(results: Results) -> dict[str, list[dict[str, str]]]:
    """Of each baseline its stage table, by its name; of a function's, whose stages are not known, none."""
    smallest = {}
    for entry in results.wanted.planned:
        network = entry.run.network
        if entry.arm.label == "baseline" and not isinstance(network, Own):
            smallest[f"{entry.baseline}, {network.pixels} px"] = stage_rows(network)
    return smallest


# ---------------------------------------------------------------- the same in one screen


def brief(results: Results, figures: Sequence[Shown]) -> str:
    """The head of the page as Markdown, for a README or a chat: question, answer, figure, the verdicts on
    the study's own claim, and the command."""
    top = head(results, figures)
    more = f": `{top.more}` trains them" if top.more else ""
    small = f"{_capital(top.small)}{more}." if top.small else ""
    said = [f"**{_capital(top.answer)}**" if top.answer else "", small]
    figure = [f"![{each.title}: {each.says}]({each.name}.png)" for each in figures[:1]]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in top.tally.items())
    facts = " · ".join([*([counts] if counts else []), *top.about])
    command = results.wanted.through("report")
    parts = [f"# {top.question}", *filter(None, said), *figure, *own_table(results), facts]
    parts.append(f"By `{command}`; [the page](report.html) has all of it.")
    return "\n\n".join(parts) + "\n"


def own_table(results: Results) -> list[str]:
    """The verdicts on the study's own claim, at most ROWS of them, the last."""
    claims = own_first(results)
    if not claims:
        return []
    statement, rows = next(iter(claims.items()))
    names = [name for name in short(claims) if name not in ASIDE]
    kept = [{name or "compared": row[name] for name in names} for row in rows[-ROWS:]]
    more = f" (the last {ROWS} of {len(rows)})" if len(rows) > ROWS else ""
    return [f"{statement}{more}", as_markdown(kept)]


ROWS = 8  # of a table that fits a screen with a figure above it


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
