"""From overrides to a plan: which runs a command asks for, in one place for run, plan, status and report.

A study is composed once and expanded in Python, and once more for each part that adds overrides of its own;
`-m` overrides are composed once per combination. What a check of the star fit trains follows from the star's
records.
"""

import itertools
import math
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ablation.command.compose import (
    FOUND,
    arm,
    check,
    composed,
    conditions,
    execution,
    folder_at,
    scaling_arm,
    scaling_node,
)
from ablation.command.errors import NotYet
from ablation.command.overrides import SET_BY_STUDY, arm_overrides, beside_study, key_of, quoted
from ablation.command.storing import Store, stores
from ablation.images.cache import Sizes
from ablation.images.survey import Survey
from ablation.runs.arms import Arm, Planned
from ablation.runs.checks import one_of, typed
from ablation.runs.config import Data, Execution
from ablation.runs.records import read_records
from ablation.theory.scaling import triples

OF_EXPORT = ("to", "run", "onnx")  # settings of that door alone
# Whose difference needs no word of its own in a table.
WITH_A_COLUMN = ("scaling", "baseline", "cost", "study", "size", "format")
MOST = 100_000  # runs of one plan, which takes a minute and a gigabyte then
STORED = "data.stored"
LONGEST = 200  # bytes in the name of a study, which is that of a folder too
SIZES = ("reference", "paper")  # of a study, besides the small one that its file describes
# What can answer a study's question: keys of claims (ablation.judge.claims) and of what is asked across
# scopes (ablation.judge.across), and two figures.
ANSWERS = (
    *("improves", "diminishing", "balance", "compound", "sustained", "pairs", "transfer"),
    *("optimum", "control", "baselines", "pixels", "recipe", "settings", "learning", "chance"),
    *("lead", "foretold", "grid", "star"),
)
# Figures that a study's page can open with: names of drawings (ablation.show), and the maps of activation.
FIGURES = (
    *("single", "gain", "balance", "compound", "lead", "axes", "settings", "kinds", "learning"),
    *("ranking", "grid", "star", "expected", "decomposition", "foretold", "findings"),
    "activation",
)
# What a study can say of a finding beforehand: the sign of its effect, and which findings are meant.
EXPECTATION = ("sign", "claim", "subject", "baseline", "setting", "cost")
# What a part of a study can say.
PART = ("setting", "overrides", "rules", "phis", "coefficients", "seeds")


@dataclass(frozen=True)
class Job:
    """A planned run, the overrides with which a launcher's job arrives at the same run, and what was found of
    its images."""

    planned: Planned
    overrides: tuple[str, ...]
    survey: Survey


@dataclass(frozen=True)
class Taken:
    """What ablation.export is asked for: the folder to write, the id of one of the planned runs, None where
    there is one alone, and whether as ONNX, too."""

    to: str | None = None
    run: str | None = None
    onnx: bool = False

    def refuse(self) -> None:
        """Raises ValueError where anything is asked for, of a command that takes nothing away."""
        asked = [f"{name}={value}" for name, value in vars(self).items() if value]
        if asked:
            raise ValueError(f"{asked[0]}: only ablation.export has a use for this; leave it out")


@dataclass(frozen=True)
class Plan:
    """Everything a command asked for. name: the study's, or `sweep`; question: the study's. command: the
    overrides as typed. interactive: whether its page has the chart, whose library takes 0.8 MB.

    after: the overrides of studies whose records this one follows from. search: whether it is a grid search,
    whose arms are candidates and no rules to compare. confirm: seeds that did not suggest the question, and
    are judged by themselves. claim: the one that answers the question (ANSWERS), "" for the first.
    figure: the one that its page opens with (FIGURES), "" for the first.
    expected: what the study says of its findings beforehand (ablation.judge.expected). taken: what is to
    leave the tool.
    """

    name: str
    jobs: tuple[Job, ...]
    execution: Execution
    results: Path
    format: str
    interactive: bool
    command: str
    question: str = ""
    after: tuple[str, ...] = ()
    search: bool = False
    confirm: tuple[int, ...] = ()
    claim: str = ""
    figure: str = ""
    expected: tuple[Mapping[str, Any], ...] = ()
    taken: Taken = Taken()

    @property
    def planned(self) -> list[Planned]:
        """Every run, with its place in the study."""
        return [job.planned for job in self.jobs]

    def stores(self, done: Collection[str]) -> list[Store]:
        """The decoded images that its runs read, but for runs whose ids are done."""
        left = [job for job in self.jobs if job.planned.run.id not in done]
        return stores([(job.planned, job.survey) for job in left], self.execution.cache)

    @property
    def stored(self) -> tuple[str, ...]:
        """What a command for some of its networks says, so that their images stay as they are stored for
        all."""
        words = {word for job in self.jobs for word in job.overrides if key_of(word) == STORED}
        return tuple(words) if len(words) == 1 else ()

    @property
    def found(self) -> list[str]:
        """What was found of the images of its runs, in lines for people."""
        return [said for said in dict.fromkeys(job.survey.said for job in self.jobs) if said]

    def sizes(self, data: Data) -> Sizes | None:
        """Images of each split, as they were found; None where nothing was opened."""
        found = (job.survey for job in self.jobs if job.planned.run.data == data)
        return next((survey.sizes for survey in found), None)

    def through(self, door: str) -> str:
        """The command that sends the same overrides through another door."""
        return f"python -m ablation.{door} {'-m ' if self.name == 'sweep' else ''}{self.command}"


def plan(overrides: Sequence[str]) -> Plan:
    """What the overrides ask for, every run of it validated; needs an initialised Hydra.

    Raises ValueError, or Hydra's own exceptions, for whatever is wrong with them.
    """
    axes = _axes(overrides)
    free = {key: axes.pop(key) for key in ("phi", "seed") if key in axes}
    jobs: list[Job] = []
    cfg, study = None, None
    for combination in itertools.product(*axes.values()):
        cfg = composed(combination)
        setting = _setting(axes, combination)
        if cfg.study.name:
            study = _Study(cfg, combination, setting, free)
            jobs += study.jobs()
        else:
            arms = [scaling_arm(cfg, phi) for phi in _values(free, "phi", cfg.phi)]
            jobs += _jobs(cfg, combination, setting, arms, _values(free, "seed", cfg.seed))
    assert cfg is not None
    one_of("format", cfg.format, ("table", "json"))
    beside = beside_study(overrides)
    return Plan(
        name=_study_name(cfg),
        jobs=_distinct(_alike(jobs)),
        execution=execution(cfg),
        results=folder_at(cfg, "results"),
        format=cfg.format,
        interactive=cfg.interactive,
        command=shlex.join(overrides),
        question=cfg.study.question,
        after=tuple(shlex.join([*beside, f"study={name}"]) for name in _before(cfg, jobs)),
        search=study is not None and bool(study.study["grid"]),
        confirm=tuple(study.study["confirm"]) if study else (),
        claim=study.study["claim"] if study else "",
        figure=study.study["figure"] if study else "",
        expected=_expected(study.study) if study else (),
        taken=taken(cfg),
    )


def taken(cfg: DictConfig) -> Taken:
    """What a composed configuration says of ablation.export."""
    return Taken(cfg.to, None if cfg.run is None else str(cfg.run), cfg.onnx)


def _study_name(cfg: DictConfig) -> str:
    """The study's, which its folder of results has too; raises ValueError for a path."""
    name = cfg.study.name or "sweep"
    plain = name.isprintable() and len(name.encode()) <= LONGEST
    if name in (".", "..") or Path(name).name != name or not plain:
        raise ValueError(
            f"study.name={name}: a name, not a path; results=FOLDER says where its results go"
        )
    return name


def _setting(axes: Mapping[str, Sequence[str]], combination: Sequence[str]) -> str:
    """What tells this combination of overrides from the others, in words: the last part of each swept key,
    and its whole value."""
    words = []
    for (key, values), override in zip(axes.items(), combination, strict=True):
        if len(values) > 1 and key.split(".")[0] not in WITH_A_COLUMN:
            words.append(key.rpartition(".")[2] + override[len(key) :])
    return ", ".join(words)


def _alike(jobs: Sequence[Job]) -> list[Job]:
    """The same runs, whose images are all stored for the largest network among them: no rule sees more of an
    image than another."""
    largest = max((job.planned.run.network.pixels for job in jobs), default=0)
    return [_holding(job, largest) for job in jobs]


def _holding(job: Job, pixels: int) -> Job:
    run = job.planned.run
    data = run.data.holding(pixels)
    if data == run.data:
        return job
    planned = replace(job.planned, run=replace(run, data=data))
    settled = (STORED, "expect")
    kept = [word for word in job.overrides if key_of(word) not in settled]
    stored, expected = f"{STORED}={data.side}", f"expect={quoted(planned.run.id)}"
    return replace(job, planned=planned, overrides=(*kept, stored, expected))


def _distinct(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Each arm's run once, whichever parts of a study ask for it."""
    unique = {}
    for job in jobs:
        entry = job.planned
        unique[entry.arm, entry.baseline, entry.setting, entry.run.id] = job
    return tuple(unique.values())


def single(cfg: DictConfig) -> tuple[Planned, Survey]:
    """The one run of a composed configuration, whatever study it belongs to, and what was found of its
    images."""
    check(cfg)
    taken(cfg).refuse()
    seed = typed("seed", cfg.seed, int)
    shared = conditions(cfg)
    [planned] = shared.runs([scaling_arm(cfg, cfg.phi)], [seed])
    return planned, shared.survey


def _axes(overrides: Sequence[str]) -> dict[str, list[str]]:
    """For each key the overrides that it stands for: one, or several where it is swept."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.input_line]
        elif override.is_discrete_sweep():
            values = itertools.islice(override.sweep_string_iterator(), MOST + 1)
            axes[key] = [f"{key}={value}" for value in values]
        else:
            raise ValueError(
                f"{override.input_line}: an interval has no values to sweep; list them, or use range(...) "
                "or choice(...)"
            )
        if not axes[key]:
            raise ValueError(f"{override.input_line}: this sweeps over nothing; list the values")
    _refuse_many("combinations", math.prod(len(values) for values in axes.values()))
    return axes


def _refuse_many(what: str, count: int) -> None:
    """Raises ValueError for more runs than one command can plan."""
    if count > MOST:
        raise ValueError(
            f"{count:,} {what} or more: one command plans {MOST:,} at most; take fewer values"
        )


def _values(free: Mapping[str, list[str]], key: str, default: Any) -> list[Any]:
    """What the command says of a key that is no axis of composition."""
    if key not in free:
        return [default]
    return [yaml.safe_load(text.split("=", 1)[1]) for text in free[key]]


def _jobs(
    cfg: DictConfig,
    overrides: Sequence[str],
    setting: str,
    arms: Sequence[Arm],
    seeds: Sequence[Any],
) -> list[Job]:
    """The runs of one composed configuration, each with the overrides that lead a launcher's job to it."""
    shared = replace(conditions(cfg), setting=setting)
    planned = shared.runs(arms, [typed("seed", seed, int) for seed in seeds])
    kept = [word for word in overrides if not _given_by_a_job(word)]
    if setting:
        kept.append(f"setting={quoted(setting)}")
    return [Job(entry, (*kept, *_own_overrides(entry)), shared.survey) for entry in planned]


def _given_by_a_job(override: str) -> bool:
    """Whether a job says this itself, or has no use for it."""
    said_anew = ("format", "size", *OF_EXPORT, *SET_BY_STUDY)
    return key_of(override) in said_anew or override.startswith("scaling.")


def _own_overrides(entry: Planned) -> tuple[str, ...]:
    """What tells a run from the others of its configuration."""
    seed = f"seed={entry.run.seed}"
    expected = f"expect={quoted(entry.run.id)}"
    return *arm_overrides(entry.arm), seed, expected


def _before(cfg: DictConfig, jobs: Sequence[Job]) -> list[str]:
    """Names of the studies that this one follows from."""
    star = [cfg.study.optimum.of] if cfg.study.optimum else []
    return star + (["grid-search"] if any(job.planned.arm.name in FOUND for job in jobs) else [])


class _Study:
    """A study file and the command around it, expanded to jobs, part after part."""

    def __init__(
        self, cfg: DictConfig, overrides: Sequence[str], setting: str, free: Mapping[str, list[str]]
    ) -> None:
        self.cfg = cfg
        self.overrides = list(overrides)
        self.setting = setting
        given: dict[str, Any] = OmegaConf.to_container(cfg.study, resolve=True)  # type: ignore[assignment]
        # Which comes before what a size says.
        stated = [key_of(word).split(".")[1] for word in overrides if word.startswith("study.")]
        self.study = sized(given, cfg.size) | {key: given[key] for key in stated}
        if cfg.size != "small" and "data" in map(key_of, overrides):
            self.study["overrides"] = _without_images(self.study["overrides"])
        one_of("study.claim", self.study["claim"] or ANSWERS[0], ANSWERS)
        one_of("study.figure", self.study["figure"] or FIGURES[0], FIGURES)
        _refuse_settled([*overrides, *itertools.chain(*free.values())], self.study)

    def jobs(self) -> list[Job]:
        """Every run that is known by now; raises ValueError where there is none."""
        jobs = list(itertools.chain.from_iterable(self._stages()))
        if not jobs:
            needs = "rules and phis, or coefficients, and seeds"
            raise ValueError(f"study={self.study['name']} plans no run: it needs {needs}")
        return jobs

    def _stages(self) -> Iterator[list[Job]]:
        if self.study["grid"]:
            return self._candidates()
        if self.study["optimum"]:
            return self._around_optimum()
        return self._parts()

    def _part(self, part: Mapping[str, Any]) -> list[Job]:
        """One part, composed with the overrides that it and the study add."""
        wanted = self.study | dict(part)
        words = [*self.overrides, *self.study["overrides"], *part.get("overrides", [])]
        cfg = composed(words) if len(words) > len(self.overrides) else self.cfg
        setting = ", ".join(filter(None, [self.setting, part.get("setting")]))
        seeds = [*wanted["seeds"], *_confirming(wanted)]
        return _jobs(cfg, words, setting, study_arms(wanted, cfg), seeds)

    def _parts(self) -> Iterator[list[Job]]:
        for part in self.study["parts"] or [{}]:
            yield self._part(part)

    def _candidates(self) -> Iterator[list[Job]]:
        """The grid search: every candidate triple at one phi."""
        grid = self.study["grid"]
        step = typed("study.grid.step", grid["step"], float)
        rules = [*self.study["rules"], *map(vars, triples(step))]
        yield self._part({"rules": rules, "phis": [grid["phi"]]})

    def _around_optimum(self) -> Iterator[list[Job]]:
        """What the star fit predicts to be best at one budget, and its neighbours at the same."""
        from ablation.judge.star import star_neighbours

        optimum = self.study["optimum"]
        star = plan([*beside_study(self.overrides), f"study={optimum['of']}"])
        budget = 2.0 ** optimum["phi"]
        found = self._when_done(
            star.jobs, lambda table: star_neighbours(table, budget, optimum["step"])
        )
        if found is None:
            before = f"study={optimum['of']}"
            raise NotYet(
                f"study={self.study['name']} follows from the records of {before}; "
                f"python -m ablation.run {before}"
            )
        rules = [*map(vars, found.values()), *self.study["rules"]]
        yield self._part({"rules": rules, "phis": [optimum["phi"]]})

    def _when_done(self, jobs: Sequence[Job], judge: Callable[[Any], Any]) -> Any:
        """What `judge` says of the frame of these runs; None while one of them has no record."""
        planned = [job.planned for job in jobs]
        records = read_records(execution(self.cfg).runs, (entry.run for entry in planned))
        if any(entry.run.id not in records for entry in planned):
            return None
        from ablation.judge.frame import frame

        return judge(frame(planned, records))


def _confirming(study: Mapping[str, Any]) -> Sequence[int]:
    """Seeds that are to confirm; raises ValueError for one that suggested the question."""
    both = [seed for seed in study["confirm"] if seed in study["seeds"]]
    if both:
        raise ValueError(
            f"study.confirm={both[0]}: this is one of study.seeds, which suggested the question; name fresh "
            "ones"
        )
    return study["confirm"]


def _expected(study: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What is said of findings beforehand; raises ValueError for a sign or a field that there is not."""
    for expectation in study["expected"]:
        one_of("study.expected.sign", str(expectation.get("sign")), ("1", "0", "-1"))
        for name in expectation:
            one_of("study.expected", name, EXPECTATION)
    return tuple(study["expected"])


def sized(study: Mapping[str, Any], size: str) -> dict[str, Any]:
    """A study at the size asked for: `small`, as it stands, or with what the file says under that size in its
    place.

    Raises ValueError for a size that the study does not have, and for a word that no study knows.
    """
    one_of("size", size, ("small", *SIZES))
    own = {name: study[name] for name in SIZES if study[name]}
    if size not in ("small", *own):
        raise ValueError(
            f"size={size}: study={study['name']} comes in {' and '.join(['small', *own])}; choose one"
        )
    chosen = {**study, **own.get(size, {})}
    for where, mapping, known in (
        *((name, own[name], study) for name in own),
        *((f"parts.{i}", part, PART) for i, part in enumerate(chosen["parts"])),
    ):
        for key in mapping:
            if key not in known:
                raise ValueError(
                    f"study.{where}.{key}: no such setting of a study; there are {', '.join(known)}"
                )
    return chosen


def _without_images(overrides: Sequence[str]) -> list[str]:
    """Overrides of a size but the images that it chooses: others have been asked for."""
    return [word for word in overrides if key_of(word) != "data"]


def _refuse_settled(overrides: Sequence[str], study: Mapping[str, Any]) -> None:
    """What a study gives itself cannot be given beside it: the scaling, and whatever its overrides, parts or
    search set."""
    own: set[str] = set()
    for part in (study, *study["parts"]):
        own |= {key_of(word) for word in part.get("overrides", [])}
    for override in overrides:
        key = key_of(override)
        if key in own:
            raise ValueError(f"{override}: study={study['name']} sets it itself; leave it out")
        if key.split(".")[0] in SET_BY_STUDY:
            way_out = "use study.rules=[...], study.phis=[...] or study.seeds=[...]"
            raise ValueError(f"{override}: study={study['name']} sets it itself; {way_out}")


def study_arms(study: Mapping[str, Any], cfg: DictConfig) -> list[Arm]:
    """The arms of a study or part: rules (names, or mappings with a name and a triple) x phis, and explicit
    coefficients."""
    count = len(study["rules"]) * len(study["phis"]) + len(study["coefficients"])
    _refuse_many("runs", max(count, 1) * len(study["seeds"]))
    nodes = [scaling_node(rule, cfg) if isinstance(rule, str) else rule for rule in study["rules"]]
    arms = [
        arm(node, typed("study.phis", phi, float), cfg.cost)
        for node, phi in itertools.product(nodes, study["phis"])
    ]
    return arms + [
        arm({"name": "coefficients", **row}, 0.0, "nominal") for row in study["coefficients"]
    ]
