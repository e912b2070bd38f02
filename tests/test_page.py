"""The page: it needs nothing beside it, says what its tables hold and no more, and can be read without seeing
or pointing."""

import csv
import html
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import vl_convert

from ablation.command.planning import plan
from ablation.door import hydra
from ablation.judge.verdicts import (
    CONTRADICTED,
    EQUIVALENT,
    INCONCLUSIVE,
    NO_VERDICT,
    NOT_THE_RULE,
    SUPPORTED,
    Finding,
)
from ablation.report import report
from ablation.show import page as pages
from ablation.show.answer import answer, too_small
from ablation.show.chart import SHAPES, chart, printed
from ablation.show.comparisons import COMPARISONS, compound_found, gain_found, single_found
from ablation.show.drawing import LAST, PALETTE, SPARE
from ablation.show.forest import FOREST
from ablation.show.page import PAPER, brief, home, in_order, marked, undiverged
from ablation.show.results import Results, commands, needed, note
from ablation.show.searches import SEARCHES
from ablation.show.tables import by_claim
from ablation.show.words import highest
from tests.test_findings import concave
from tests.test_run_identity import some_record

# At twice the cost compound is not in its direction with this baseline.
STUDY = ("study=quick", "baseline=mini", "data=shapes", "recipe=short", "study.phis=[0,1,2]")


def results_of(folder: Path, *words: str, without: int = 0, noise: float = 0.001) -> Results:
    """A plan whose runs have drawn accuracies, all but the last few."""
    rng = np.random.default_rng(5)
    with hydra():
        wanted = plan([*words, f"runs={folder / 'runs'}", f"results={folder / 'results'}"])
    entries = list({entry.run.id: entry for entry in wanted.planned}.values())
    told = {
        "versions": {"torch": "2.13.0"},
        "commit": "0f1e2d3c",
        "finished": "2026-01-02T03:04:05+00:00",
        "data_digest": "d1",
        "history": (),
    }
    drawn = {
        entry: concave(entry) + noise * rng.normal() for entry in entries[: len(entries) - without]
    }
    return Results(
        wanted,
        {
            entry.run.id: some_record(entry.run, accuracy=it, val_accuracy=it, **told)
            for entry, it in drawn.items()
        },
    )


def page_of(results: Results) -> str:
    return Path(dict(report(results))["Page"]).read_text()


class Elements(HTMLParser):
    """Start tags of a document, in order, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def __call__(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("page"), *STUDY, without=2)


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    return page_of(results)


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


# ---------------------------------------------------------------- one file


def test_the_page_needs_nothing_beside_it(page: str, elements: Elements) -> None:
    addresses = [
        value
        for _, attributes in elements.found
        for name in ("src", "href")
        if (value := attributes.get(name))
    ]
    assert len(addresses) > 10
    assert {
        re.match("data:|#", address)[0] for address in addresses if re.match("data:|#", address)
    } == {"data:", "#"}
    linked = {address for address in addresses if not re.match("data:|#", address)}
    assert linked == {PAPER} | ({home()} if home() else set())
    assert linked <= {attributes.get("href") for attributes in elements("a")}
    assert not elements("link", "iframe")
    assert elements("meta")[3]["content"].startswith("default-src 'none'; img-src data:")  # type: ignore[union-attr]
    assert len(page) < 2e6


def test_the_same_records_give_the_same_page(results: Results, page: str) -> None:
    assert page_of(results) == page


def test_a_name_cannot_leave_its_place_in_the_page(tmp_path: Path) -> None:
    name = "</script><b>&'"
    rule = f'study.rules=[{{name: "{name}", alpha: 1.2, beta: 1.1, gamma: 1.15}}, width]'
    text = page_of(results_of(tmp_path, "study=quick", rule, "study.phis=[0,1]", "cost=nominal"))
    assert name not in text
    assert html.escape(name, quote=False).replace("'", "&#39;") in text
    assert Elements(text)("b") == []
    [specification] = re.findall(
        r'<script id="specification" type="application/json">(.*?)</script>', text, re.S
    )
    assert {row["rule"] for row in json.loads(specification)["data"]["values"]} == {name, "width"}


# ---------------------------------------------------------------- what it says


def test_the_page_leads_with_question_and_verdicts(results: Results, page: str) -> None:
    assert (
        "<h1>Does each dimension alone pay less and less, and do the three together pay more?</h1>"
        in page
    )
    top = html.unescape(page[: page.index("In full:")])
    lines = [
        re.findall(r">([^<>\s][^<>]*)<", row) for row in re.findall(r"<tr>(.*?)</tr>", top, re.S)
    ]
    for statement, rows in by_claim(results.findings).items():
        assert [statement] in lines
        for row in rows:
            assert [
                cell
                for name in ("", "verdict", "effect", "95 % interval", "n")
                if (cell := row[name])
            ] in lines
    counts = Counter(finding.verdict for finding in results.findings)
    assert len(counts) > 1
    assert all(f">{count} {verdict}</span>" in top for verdict, count in counts.items())
    assert re.findall(r'<figure id="figure-(\w+)">', page)[0] == "compound"


def test_the_answer_stands_under_the_question(results: Results, page: str) -> None:
    """Each comparison at the largest cost, with effect and interval; the others are counted."""
    [said] = re.findall(r'<p class="answer">(.*?)</p>', page)
    own = [f for f in results.findings if f.claim == "compound" and not f.members]
    four = [f for f in own if f.subject.endswith("at 4x")]
    assert len(four) == 3 and {f.verdict for f in four} == {SUPPORTED}
    assert said.startswith("At 4 times the FLOPs compound is ahead of ")
    for finding in four:
        rival = finding.subject.split()[2]
        size = f"{finding.effect:.1f}(?: points)? \\({finding.low:.1f} to {finding.high:.1f}\\)"
        assert re.search(f"{rival} by {size}", said)
    assert said.endswith(f"; of 3 further comparisons 3 {NOT_THE_RULE}.")
    assert answer(results.findings, "transfer") == "" and answer([]) == ""
    by_itself = answer(results.findings, "improves")
    assert re.match(
        r"width gains \d+\.\d points \(.* to .*\); depth gains .*; resolution gains ", by_itself
    )


def found(claim: str, subject: str, verdict: str, effect: float, **told: object) -> Finding:
    """A finding with an interval of one point to both sides."""
    ends = {"low": effect - 1, "high": effect + 1}
    return Finding(
        claim, "s", "mini", "", "matched", subject, verdict, "points", effect, **ends | told
    )


ANSWERS = [
    (
        [
            found("compound", "compound against width at 4x", SUPPORTED, 9),
            found("compound", "compound against width at 8x", SUPPORTED, 3.2),
            found("compound", "compound against depth at 8x", SUPPORTED, 2.1),
            found("compound", "compound against resolution at 8x", INCONCLUSIVE, 0.2),
        ],
        "at 8 times the FLOPs compound is ahead of depth by 2.1 points (1.1 to 3.1) and width by 3.2 (2.2 to "
        "4.2); against resolution nothing can be told; of 1 further comparison 1 supported.",
    ),
    (
        [
            found("compound", "compound against width at 2x", CONTRADICTED, -3),
            found("compound", "compound against depth at 2x", EQUIVALENT, 0.1, low=-0.2, high=0.3),
        ],
        "at 2 times the FLOPs compound is behind width by 3.0 points (2.0 to 4.0), within 0.5 points of "
        "depth.",
    ),
    (
        [found("recipe", "as it is against rate 1", INCONCLUSIVE, 0.3)],
        "\u201cas it is\u201d against \u201crate 1\u201d: nothing can be told.",
    ),
    (
        [found("recipe", f"as it is against r{place}", SUPPORTED, place) for place in range(1, 6)],
        "\u201cas it is\u201d is ahead of 5 others by 1.0 to 5.0 points.",
    ),
    (
        [
            found("diminishing", "width", SUPPORTED, 2.0),
            found("diminishing", "depth", CONTRADICTED, -2.0),
            found("diminishing", "resolution", NO_VERDICT, 0.0, low=np.nan, high=np.nan),
        ],
        "the gain of width falls by 2.0 points (1.0 to 3.0); the gain of depth rises by 2.0 points (1.0 to "
        "3.0); resolution: there is no verdict.",
    ),
    (
        [found("chance", "width phi=2", INCONCLUSIVE, 0.3)],
        "width phi=2: inconclusive, +0.30 points (-0.70 to +1.30).",
    ),
    (
        [
            found("settings", "compound against width at 4x", INCONCLUSIVE, 0.4),
            found("settings", "compound against depth at 4x", CONTRADICTED, -2.0),
            found("settings", "improves: width", INCONCLUSIVE, 0.2),
            found("compound", "compound against all of them at 4x", SUPPORTED, 6, members=3),
            found("compound", "compound against all of them at 4x", CONTRADICTED, -1, members=3),
        ],
        "in 1 of 2 settings compound is ahead of all others, by at least 6.0 points (5.0 to 7.0); between "
        "settings 1 of 2 comparisons of its leads and none of 1 comparison of what single dimensions gain "
        "are told to differ.",
    ),
]


@pytest.mark.parametrize(("findings", "said"), ANSWERS)
def test_an_answer_is_written_from_verdicts(findings: list[Finding], said: str) -> None:
    assert answer(findings, findings[0].claim) == said


def test_a_study_too_small_to_tell_says_so_and_what_would_tell(results: Results) -> None:
    one = [entry for entry in results.wanted.jobs if entry.planned.run.seed == 0]
    small = Results(replace(results.wanted, jobs=tuple(one)), results.done)
    said, command = too_small(small)
    assert said == "too small to tell anything: 1 seed; 3 may tell"
    assert command.startswith("python -m ablation.run study=quick baseline=mini data=shapes ")
    assert command.endswith("'study.seeds=[0,1,2]'")
    assert too_small(results) == ("", "")
    text = html.unescape(pages.page(small, []) + brief(small, []))
    assert text.count(command) == 2 and text.count("Too small to tell anything: 1 seed") == 2


def test_the_page_says_to_who_has_nothing_else_what_it_is_about(page: str) -> None:
    text = html.unescape(page)
    assert f'<a href="{PAPER}">EfficientNet</a>' in text
    places = [
        text.index(f"<dt>{word}</dt>")
        for word in ("FLOPs", "phi", "d, w, r", "matched", "off budget")
    ]
    assert max(places) < text.index('id="verdicts"')
    splits = "5,000 to train, 1,000 for validation, all to evaluate"
    assert f"<dd>shapes (made by the project): {splits}; " in text
    assert re.search(r"<dt>augmentation</dt><dd>(mirrored|none|labels)", text)
    assert "The baseline's stages: mini, 32 px" in text
    assert ">layers<" in text and ">channels<" in text
    assert "Images: digest d1; other images give another one" in text


def test_runs_are_taken_along_with_throughput_and_memory(results: Results, page: str) -> None:
    [address] = re.findall(r'download="runs.csv" href="data:text/csv;charset=utf-8,([^"]*)"', page)
    rows = list(csv.DictReader(io.StringIO(unquote(html.unescape(address)))))
    assert len(rows) == results.frame["run_id"].nunique()
    assert {"images_per_second", "peak_memory", "macs", "accuracy", "seed"} <= set(rows[0])
    assert ">images/s" in page and ">peak MB" in page


def test_a_folder_of_images_is_told_as_what_it_stands_for(results: Results) -> None:
    first = results.wanted.jobs[0]
    data = replace(
        first.planned.run.data, name="photos", path="lab/photos", files="0f", generator=None
    )
    run = replace(first.planned.run, data=data)
    job = replace(first, planned=replace(first.planned, run=run))
    lines = needed(replace(results, wanted=replace(results.wanted, jobs=(job,))))
    assert lines[0] == "Code: commit 0f1e2d3c."
    assert lines[2].startswith(
        "data.path=lab/photos stands for the folder with the images of photos"
    )


def test_dropout_that_grows_is_named_on_the_page_and_in_captions(tmp_path: Path) -> None:
    alike = results_of(tmp_path / "alike", *STUDY, "recipe.dropout=0.2")
    grown = results_of(
        tmp_path / "grown", *STUDY, "recipe.dropout=0.2", "recipe.dropout_growth=0.05"
    )
    assert pages.trained(alike)["dropout"] == "0.2"
    assert re.fullmatch(
        r"0\.2 to 0\.\d+: it grows with a network's FLOPs, so arms differ in recipe as well as in size",
        pages.trained(grown)["dropout"],
    )
    growing = "dropout grows with FLOPs"
    assert growing in note(grown) and growing not in note(alike)


def test_one_screen_of_it_is_markdown(results: Results, page: str) -> None:
    text = (results.folder / "report.md").read_text()
    lines = text.splitlines()
    assert lines[0] == f"# {results.wanted.question}"
    assert "**At 4 times the FLOPs compound is ahead of " in text
    assert "](compound.png)" in text and (results.folder / "compound.png").exists()
    assert "](report.html)" in text
    assert len(lines) < 32


def test_a_study_opens_with_its_own_figure(results: Results, page: str) -> None:
    chosen = [drawing for drawing in COMPARISONS if drawing.name in ("gain", "compound")]
    drawn = [(drawing, results.shown(drawing)) for drawing in chosen]
    assert [figure.name for figure in in_order(results, drawn)] == ["compound", "gain"]
    own = replace(results, wanted=replace(results.wanted, figure="gain"))
    assert [figure.name for figure in in_order(own, drawn)] == ["gain", "compound"]
    assert all(figure.narrow and not figure.bright for figure in in_order(own, drawn[:1]))


@pytest.mark.parametrize(("runs", "left"), [(1, 95), (3, 63), (5, 45), (10, 26)])
def test_few_runs_without_a_divergence_say_what_they_leave_open(runs: int, left: int) -> None:
    of_each = pd.DataFrame({"n": [runs, runs + 1], "diverged": [0, 0]})
    said = undiverged(SimpleNamespace(summary=of_each))
    assert said.startswith(f"No run diverged; {runs} run") and f"up to {left}% open" in said
    assert undiverged(SimpleNamespace(summary=of_each.assign(diverged=[0, 1]))) == ""
    assert undiverged(SimpleNamespace(summary=of_each.assign(n=30))) == ""


def test_every_figure_stands_in_the_page_with_what_it_shows(results: Results, page: str) -> None:
    words = html.unescape(page).replace("\N{NO-BREAK SPACE}", " ")
    for drawing in COMPARISONS:
        planned = drawing.select(results.summary) is not None
        assert (f'<figure id="figure-{drawing.name}">' in page) == planned
        if planned:
            for text in drawing.found(results.shown(drawing)):
                assert text in words


def test_what_a_figure_shows_may_hold_code_and_no_markup(page: str) -> None:
    assert marked("`a=1` <b> & `c`") == "<code>a=1</code> &lt;b&gt; &amp; <code>c</code>"
    assert not [
        text for text in re.findall("<figcaption>.*?</figcaption>", page, re.S) if "`" in text
    ]


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (None, ""),
        (["Paper, https://a"], ""),
        (["Paper, https://a", "Repository, https://b"], "https://b"),
        (["Repository, https://b", "Homepage, https://c"], "https://c"),
    ],
)
def test_the_project_is_linked_where_it_has_an_address(
    addresses: list[str] | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper's address is not the project's."""
    said = Message()
    for address in addresses or []:
        said["Project-URL"] = address
    monkeypatch.setattr("ablation.show.page.metadata", lambda name: said)
    assert home.__wrapped__() == told


def test_missing_runs_and_the_command_that_trains_them_are_named(
    results: Results, page: str
) -> None:
    assert len(results.missing) == 2
    for label in results.missing:
        assert f"<li>{label}</li>" in page
    assert f"<code>{results.wanted.through('run')}</code> trains them" in html.unescape(page)
    assert page.count("<td>missing</td>") == 2


def test_the_page_says_how_it_was_made(results: Results, page: str) -> None:
    [commands] = re.findall(r"<pre.*?><code>(.*?)</code></pre>", page, re.S)
    assert html.unescape(commands).splitlines() == [
        "git checkout 0f1e2d3c",
        "make install",
        results.wanted.through("run"),
        results.wanted.through("report"),
    ]
    for name, value in {
        "learning_rate": "0.2",
        "name": "shapes",
        "digest": "d1",
        "seeds": "0, 1, 2",
        "device": "cpu",
        "torch": "2.13.0",
    }.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page


@pytest.mark.parametrize("found", [("a1", "b2"), ("a1", None), ("a1+",)])
def test_no_checkout_is_told_that_does_not_give_back_the_code(
    found: tuple[str | None, ...], results: Results
) -> None:
    commits = itertools.cycle(found)
    done = {name: replace(record, commit=next(commits)) for name, record in results.done.items()}
    assert commands(replace(results, done=done))[0] == "make install"


def test_what_a_study_follows_from_comes_first(results: Results) -> None:
    transfer = replace(results, wanted=replace(results.wanted, after=("study=grid-search",)))
    assert commands(transfer)[2:4] == [
        "python -m ablation.run study=grid-search",
        "python -m ablation.report study=grid-search",
    ]


def test_a_command_without_a_study_is_its_own_title(tmp_path: Path) -> None:
    results = results_of(tmp_path, "scaling=depth,width", "phi=0,1", "cost=matched")
    text = page_of(results)
    assert f"<h1>{html.escape(results.wanted.command)}</h1>" in text
    assert "python -m ablation.run -m scaling=depth,width" in text
    assert "not every mean has an interval, so their order says nothing" in text  # one seed


@pytest.mark.parametrize(
    ("study", "figures"),
    [("star", ["star"]), ("grid-search", ["grid"]), ("balance", ["balance", "findings"])],
)
def test_a_study_of_another_kind_has_its_page(
    study: str, figures: list[str], tmp_path: Path
) -> None:
    text = page_of(results_of(tmp_path, f"study={study}"))
    assert re.findall(r'<figure id="figure-(\w+)">', text) == figures
    assert ('id="verdicts"' in text) == ("findings" in figures)
    [specification] = re.findall(
        r'<script id="specification" type="application/json">(.*?)</script>', text, re.S
    )
    assert {row["rule"] for row in json.loads(specification)["data"]["values"]} == {"networks"}


# ---------------------------------------------------------------- accessible


def test_headings_are_in_order(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_figures_tables_and_places_have_names(page: str, elements: Elements) -> None:
    assert elements("html") == [{"lang": "en"}]
    assert all(len(image["alt"] or "") > 40 for image in elements("img"))
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in elements("th"))
    assert len(elements("caption")) == len(elements("table"))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        attributes["href"][1:]
        for attributes in elements("a")
        if (attributes["href"] or "").startswith("#")
    }  # type: ignore[index]
    assert targets <= set(ids)
    assert all(
        attributes.get("aria-label")
        for _, attributes in elements.found
        if attributes.get("role") in ("region", "group")
    )


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in channels
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def themes(page: str) -> Iterator[dict[str, str]]:
    for block in re.findall(r":root \{(.*?)\}", page, re.S):
        yield dict(re.findall(r"--(\w+): (#\w+)", block))


def test_text_and_marks_stand_out_in_light_dark_and_print(page: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for marks."""
    found = list(themes(page))
    assert len(found) == 3
    for theme in found:
        for name, least in {
            "ink": 4.5,
            "soft": 4.5,
            "link": 4.5,
            "supported": 3,
            "contradicted": 3,
            "equivalent": 3,
            "open": 3,
        }.items():
            for ground in ("page", "tint"):
                if name in theme:
                    low, high = sorted((luminance(theme[name]), luminance(theme[ground])))
                    assert (high + 0.05) / (low + 0.05) >= least, (name, theme)


# ---------------------------------------------------------------- sentences


def means(**rows: tuple[float, float, float]) -> dict[str, object]:
    """Rows of a figure's table by name: mean, low, high."""
    frame = pd.DataFrame(
        [{"mean": mean, "low": low, "high": high} for mean, low, high in rows.values()]
    )
    return dict(zip(rows, frame.itertuples(), strict=True))


def test_figures_have_names_and_places_of_their_own() -> None:
    drawings = (*COMPARISONS, *SEARCHES, FOREST)
    assert len({drawing.name for drawing in drawings}) == len(drawings)
    places = [drawing.place for drawing in drawings if drawing.place != LAST]
    assert len(set(places)) == len(places)


HIGHEST = "the interval of the highest mean, of a, overlaps with"
ORDERS = [
    (
        {"a": (0.9, 0.88, 0.92), "b": (0.8, 0.78, 0.82), "c": (0.7, 0.6, 0.8)},
        "the highest interval, of a, lies above all others",
    ),
    ({"a": (0.9, 0.8, 1.0), "b": (0.85, 0.75, 0.95)}, f"{HIGHEST} the other"),
    (
        {"b": (0.8, 0.7, 0.9), "a": (0.9, 0.85, 0.95), "c": (0.7, 0.6, 0.8)},
        f"{HIGHEST} that of b, not with the rest",
    ),
    (
        {"a": (0.9, 0.8, 1.0), "b": (0.85, np.nan, np.nan)},
        "not every mean has an interval, so their order says nothing",
    ),
]


@pytest.mark.parametrize(("rows", "words"), ORDERS)
def test_an_order_is_told_as_far_as_intervals_carry_it(
    rows: dict[str, tuple[float, float, float]], words: str
) -> None:
    assert highest(means(**rows)) == words  # type: ignore[arg-type]


def test_a_step_that_may_pay_nothing_is_not_told_as_a_gain() -> None:
    shared = {"baseline": "mini", "setting": "", "cost": "matched"}
    steps = [
        ("width", 1, 0.03, 0.02, 0.04),
        ("width", 2, 0.01, -0.01, 0.03),
        ("depth", 1, 0.02, 0.01, 0.03),
        ("depth", 2, -0.02, -0.03, -0.01),
    ]
    rows = [
        shared | {"rule": rule, "macs": macs, "mean": mean, "low": low, "high": high}
        for rule, macs, mean, low, high in steps
    ]
    [text] = gain_found(pd.DataFrame(rows))
    assert text == (
        "The interval of the last step includes 0 for width, lies below 0 for depth; points per doubling "
        "of FLOPs, first step then last where "
        "there are two: width +3.0 (+2.0 to +4.0) then +1.0 (-1.0 to +3.0); depth +2.0 (+1.0 to +3.0) then "
        "-2.0 (-3.0 to -1.0)."
    )


def test_the_ends_of_a_dimension_are_told_with_their_intervals() -> None:
    shared = {"baseline": "mini", "setting": "", "rule": "width"}
    points = [(1.0, 100, 0.8, 0.79, 0.81), (1.5, 210, 0.9, 0.7, 1.0), (2.0, 400, 0.85, 0.82, 0.88)]
    rows = [
        shared | {"width": width, "macs": macs, "mean": mean, "low": low, "high": high}
        for width, macs, mean, low, high in points
    ]
    assert single_found(pd.DataFrame(rows)) == [
        "The interval of the largest network lies above that of the smallest for width: "
        "width 80.0 % (79.0 to 81.0) at w=1 and 85.0 % (82.0 to 88.0) at w=2."
    ]


def test_rules_at_unequal_cost_are_told_with_their_cost(results: Results) -> None:
    [text] = compound_found(results.shown(COMPARISONS[3]))
    assert re.match(r"At [\d.]+ times the FLOPs of the smallest network the ", text)
    unequal = results.shown(COMPARISONS[3]).query("rule != 'compound' or phi < 2")  # type: ignore[union-attr]
    [text] = compound_found(unequal)
    assert text.startswith("At multiples of the smallest network's FLOPs ") and re.search(
        r"compound at 2\.\d+ times \d", text
    )


# ---------------------------------------------------------------- chart


def test_the_chart_compiles_and_holds_every_mean_with_its_seeds(results: Results) -> None:
    specification = chart(results.frame, results.summary)
    assert len(vl_convert.vegalite_to_vega(specification)["marks"]) > 2
    rows, known = specification["data"]["values"], results.summary[results.summary["n"] > 0]
    assert [row["mean"] for row in rows] == list(100 * known["mean"])
    assert [len(row["seeds"].split(", ")) for row in rows] == list(known["n"])
    assert [row["macs"] for row in rows] == list(known["macs"])
    assert "step_seconds" not in rows[0]
    runs = results.frame[results.frame["label"] == rows[0]["network"]].drop_duplicates("run_id")
    assert np.allclose(sorted(rows[0]["runs"]), sorted(100 * runs["accuracy"].dropna()), atol=1e-3)
    assert all(row["mean"] <= 100 for row in printed(results.summary))
    night = specification["usermeta"]["dark"]
    assert night["#000000"] == "#e6edf3" and len(night) == 5
    measured = chart(results.frame, results.summary.assign(step_seconds=0.1, step_bytes=np.nan))
    [cost] = [param for param in measured["params"] if param["name"] == "cost"]
    assert cost["bind"]["options"] == ["macs", "activations", "params", "step_seconds"]


def test_every_look_of_a_figure_has_its_shape_in_the_chart() -> None:
    looks = [*PALETTE.values(), *SPARE]
    assert {marker for _, marker in looks} <= set(SHAPES)
    assert len(set(looks)) == len(looks)


def test_a_page_without_the_chart_is_light_and_says_how_to_have_it(tmp_path: Path) -> None:
    text = page_of(results_of(tmp_path, *STUDY, "interactive=false"))
    elements = Elements(text).found
    assert len(text) < 400_000
    assert "vegaEmbed" not in text and 'id="chart"' not in text and "interactive=false" in text
    targets = {attrs["id"] for _, attrs in elements if "id" in attrs}
    links = [attrs["href"] or "" for tag, attrs in elements if tag == "a" and "href" in attrs]
    assert all(link[1:] in targets for link in links if link.startswith("#"))
    assert "A heading sorts its table" in text
