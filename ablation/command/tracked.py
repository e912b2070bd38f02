"""A study as one W&B run, a view of it: its runs and networks as tables, accuracy against FLOPs with
intervals, its verdicts and, once drawn, its page and figures. Nothing is read back from there."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablation.command.planning import Plan
from ablation.runs.config import digest
from ablation.runs.files import write_text
from ablation.runs.records import Record
from ablation.train.tracking import attempt, begin

TITLE = "accuracy against FLOPs"
DRAWN = ("*.html", "*.md", "*.csv", "*.png", "*.svg", "*.pdf")  # of a report, what goes along
# Of a finding, what a reader of verdicts asks for.
VERDICT = (
    "claim",
    "subject",
    "baseline",
    "setting",
    "cost",
    "effect",
    "low",
    "high",
    "verdict",
    "n",
)


def study_of(wanted: Plan) -> str:
    """The id of a plan's W&B run: its name and a digest of its runs."""
    content = sorted((entry.arm.label, entry.run.id) for entry in wanted.planned)
    return f"{wanted.name}-{digest(content)}"


def folder_of(wanted: Plan) -> Path:
    """Where W&B keeps the files of a plan's run."""
    return wanted.execution.runs / "studies" / study_of(wanted)


def summarise(wanted: Plan, done: Mapping[str, Record]) -> None:
    """The W&B run of a plan whose records are all there, written once."""
    folder = folder_of(wanted)
    if wanted.execution.wandb == "disabled" or folder.exists():
        return
    attempt(lambda: _write(wanted, done, folder), f"W&B has no summary of {wanted.name}")


def _write(wanted: Plan, done: Mapping[str, Record], folder: Path) -> None:
    import wandb

    from ablation.judge.expected import with_expected
    from ablation.judge.findings import judge
    from ablation.judge.frame import frame, summary

    runs = frame(wanted.planned, done, confirm=wanted.confirm)
    networks = [_network(row) for row in summary(runs).to_dict("records")]
    findings = [] if wanted.search else with_expected(judge(runs), wanted.expected)
    verdicts = [{name: getattr(finding, name) for name in VERDICT} for finding in findings]
    tables = {"runs": _runs(wanted, done), "networks": networks, "verdicts": verdicts}
    logged = {name: _table(rows) for name, rows in tables.items() if rows}
    run = _begin(wanted, folder, len(done))
    run.log(logged | {TITLE: wandb.Plotly(Figure(chart(networks)))})
    run.finish()


def _begin(wanted: Plan, folder: Path, runs: int) -> Any:
    """The plan's W&B run, begun or gone on with."""
    about = {"id": study_of(wanted), "name": wanted.name, "tags": [wanted.name[:64]]}
    config = {"study": wanted.name, "question": wanted.question, "runs": runs}
    return begin(wanted.execution, folder, job_type="study", config=config, **about)


def _runs(wanted: Plan, done: Mapping[str, Record]) -> list[dict[str, Any]]:
    """What was planned and what came out, a row for each rule and seed; what rules share stands once, as
    `baseline`."""
    rows = {}
    for entry in wanted.planned:
        record = done[entry.run.id]
        came = {"status": record.status, "accuracy": record.reported}
        rows[entry.rule, entry.run.id] = entry.row() | {"rule": entry.rule} | came
    return list(rows.values())


def _network(row: Mapping[str, Any]) -> dict[str, Any]:
    """One mean over seeds with its interval."""
    names = ("baseline", "setting", "rule", "phi", "cost", "pixels", "macs", "params")
    return {name: row[name] for name in (*names, "mean", "low", "high", "n", "label")}


def _table(rows: list[dict[str, Any]]) -> Any:
    """A W&B table, which takes no lists and no NaN."""
    import wandb

    return wandb.Table(list(rows[0]), [[_plain(value) for value in row.values()] for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value


class Figure:
    """What W&B takes for a figure of plotly's, by its name: plotly need not be installed."""

    __module__ = "plotly.graph_objs"

    def __init__(self, figure: dict[str, Any]) -> None:
        self.figure = figure

    def to_plotly_json(self) -> dict[str, Any]:
        """Its data and layout."""
        return self.figure


def chart(networks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A figure in plotly's terms: means with 95 % intervals over counted FLOPs, a doubling a step; a line for
    each rule, which starts at the baseline."""
    lines = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [row["macs"] for row in rows],
            "y": [row["mean"] for row in rows],
            "error_y": {
                "type": "data",
                "array": [_plain(row["high"] - row["mean"]) for row in rows],
                "arrayminus": [_plain(row["mean"] - row["low"]) for row in rows],
            },
        }
        for name, rows in _lines(networks)
    ]
    flops = {"title": {"text": "FLOPs (multiply-adds)"}, "type": "log", "dtick": math.log10(2)}
    reached = {"title": {"text": "accuracy"}, "tickformat": ".1%"}
    return {"data": lines, "layout": {"xaxis": flops, "yaxis": reached, "title": {"text": TITLE}}}


def _lines(
    networks: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Name and networks of each line, cheapest first: in a baseline and setting those of one rule, behind the
    baseline itself."""
    places: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in networks:
        rules = places.setdefault((row["baseline"], row["setting"]), {})
        rules.setdefault(row["rule"], []).append(row)
    for (baseline, setting), rules in places.items():
        every = [row for rows in rules.values() for row in rows]
        first = next((row for row in every if row["label"] == "baseline"), None)
        several = len(places) > 1
        for rule, rows in rules.items():
            if rule == "baseline" and len(rules) > 1:
                continue
            own = [row for row in rows if row["label"] != "baseline"]
            start = [first] if first else []
            where = ", ".join(filter(None, [baseline, setting])) if several else ""
            name = f"{rule} ({where})" if where else rule
            yield name, sorted([*start, *own], key=lambda row: row["macs"])


def attach(wanted: Plan, drawn: Path) -> None:
    """Page, figures and tables of a report, in the folder `drawn`, as an artifact of the study's W&B run
    where it has one; once as long as they are the same."""
    folder = folder_of(wanted)
    files = sorted(file for pattern in DRAWN for file in drawn.glob(pattern))
    if wanted.execution.wandb == "disabled" or not folder.exists() or not files:
        return
    found, known = digest([_content(file) for file in files]), folder / "attached"
    if known.exists() and known.read_text("utf-8").strip() == found:
        return

    def write() -> None:
        import wandb

        artifact = wandb.Artifact(f"{study_of(wanted)}-report", type="report")
        for file in files:
            artifact.add_file(str(file), name=file.name)
        run = _begin(wanted, folder, len({entry.run.id for entry in wanted.planned}))
        run.log_artifact(artifact)
        run.finish()
        write_text(known, f"{found}\n")

    attempt(write, f"W&B has no page of {wanted.name}")


def _content(file: Path) -> tuple[str, str]:
    return file.name, digest(file.read_bytes().hex())
