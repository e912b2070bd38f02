"""From overrides to a plan: which runs a command asks for, in one place for run, plan, status and report.

A study is composed once and expanded in Python, and once more for each part that adds overrides of its own; `-m` overrides are composed
once per combination. A study may grow: what a search trains next follows from the records of what it trained before.
"""

import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ablation.command.compose import arm, conditions, execution, scaling_arm, scaling_node
from ablation.command.errors import NotYet
from ablation.command.overrides import SET_BY_STUDY, arm_overrides, beside_study, key_of, quoted
from ablation.runs.arms import Arm, Planned, expand
from ablation.runs.checks import one_of, typed
from ablation.runs.config import Execution
from ablation.runs.records import read_records
from ablation.theory.scaling import triples

WITH_A_COLUMN = ("scaling", "baseline", "cost", "study", "size", "format")  # whose difference needs no word of its own in a table
SIZES = ("reference", "paper")  # of a study, besides the small one that its file describes
PART = ("setting", "overrides", "rules", "phis", "coefficients", "seeds")  # what a part of a study can say


@dataclass(frozen=True)
class Job:
    """A planned run and the overrides with which a launcher's job arrives at the same run."""

    planned: Planned
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a command asked for. name: the study's, or `sweep`; question: the study's. command: the overrides as typed.

    follows: what the study will train after these runs, chosen by their records; "" where this is all.
    after: the overrides of studies whose records this one follows from.
    """

    name: str
    jobs: tuple[Job, ...]
    execution: Execution
    results: Path
    format: str
    command: str
    follows: str = ""
    question: str = ""
    after: tuple[str, ...] = ()

    @property
    def planned(self) -> list[Planned]:
        """Every run, with its place in the study."""
        return [job.planned for job in self.jobs]

    def through(self, door: str) -> str:
        """The command that sends the same overrides through another door."""
        return f"python -m ablation.{door} {'-m ' if self.name == 'sweep' else ''}{self.command}"


def plan(overrides: Sequence[str]) -> Plan:
    """What the overrides ask for, every run of it validated; needs an initialised Hydra.

    Raises ValueError, or Hydra's own exceptions, for whatever is wrong with them.
    """
    axes = _axes(overrides)
    free = {key: axes.pop(key) for key in ("phi", "seed") if key in axes}
    swept = [key for key, values in axes.items() if len(values) > 1 and key.split(".")[0] not in WITH_A_COLUMN]
    jobs: list[Job] = []
    cfg, follows = None, ""
    for combination in itertools.product(*axes.values()):
        cfg = compose("config", list(combination))
        setting = ", ".join(word.rpartition(".")[2] for key, word in zip(axes, combination, strict=True) if key in swept)
        if cfg.study.name:
            study = _Study(cfg, combination, setting, free)
            jobs += study.jobs()
            follows = study.follows
        else:
            arms = [scaling_arm(cfg, phi) for phi in _values(free, "phi", cfg.phi)]
            jobs += _jobs(cfg, combination, setting, arms, _values(free, "seed", cfg.seed))
    assert cfg is not None
    unique = {(job.planned.arm, job.planned.baseline, job.planned.setting, job.planned.run.id): job for job in jobs}
    one_of("format", cfg.format, ("table", "json"))
    name, command, results = cfg.study.name or "sweep", shlex.join(overrides), Path(str(cfg.results))
    after = tuple(shlex.join([*beside_study(overrides), f"study={name}"]) for name in _before(cfg, jobs))
    return Plan(name, tuple(unique.values()), execution(cfg), results, cfg.format, command, follows, cfg.study.question, after)


def single(cfg: DictConfig) -> Planned:
    """The one run of a composed configuration, whatever study it belongs to."""
    return expand(**conditions(cfg), arms=[scaling_arm(cfg, cfg.phi)], seeds=[typed("seed", cfg.seed, int)])[0]


def _axes(overrides: Sequence[str]) -> dict[str, list[str]]:
    """For each key the overrides that it stands for: one, or several where it is swept."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.input_line]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ValueError(f"{override.input_line}: an interval has no values to sweep; list them, or use range(...) or choice(...)")
        if not axes[key]:
            raise ValueError(f"{override.input_line}: this sweeps over nothing; list the values")
    return axes


def _values(free: Mapping[str, list[str]], key: str, default: Any) -> list[Any]:
    return [yaml.safe_load(text.split("=", 1)[1]) for text in free[key]] if key in free else [default]


def _jobs(cfg: DictConfig, overrides: Sequence[str], setting: str, arms: Sequence[Arm], seeds: Sequence[Any]) -> list[Job]:
    """The runs of one composed configuration, each with the overrides that lead a launcher's job to it."""
    planned = expand(**(conditions(cfg) | {"setting": setting}), arms=arms, seeds=[typed("seed", seed, int) for seed in seeds])
    kept = [word for word in overrides if key_of(word) not in ("format", "size", *SET_BY_STUDY) and not word.startswith("scaling.")]
    kept += [f"setting={quoted(setting)}"] if setting else []
    return [Job(entry, (*kept, *arm_overrides(entry.arm), f"seed={entry.run.seed}", f"expect={quoted(entry.run.id)}")) for entry in planned]


def _before(cfg: DictConfig, jobs: Sequence[Job]) -> list[str]:
    """Names of the studies that this one follows from."""
    star = [cfg.study.optimum.of] if cfg.study.optimum else []
    return star + (["grid-search"] if any(job.planned.arm.name == "fitted" for job in jobs) else [])


class _Study:
    """A study file and the command around it, expanded to jobs: part after part, and where it searches, stage after stage."""

    def __init__(self, cfg: DictConfig, overrides: Sequence[str], setting: str, free: Mapping[str, list[str]]) -> None:
        self.cfg, self.overrides, self.setting = cfg, list(overrides), setting
        given: dict[str, Any] = OmegaConf.to_container(cfg.study, resolve=True)  # type: ignore[assignment]
        stated = [key_of(word).split(".")[1] for word in overrides if word.startswith("study.")]  # which comes before what a size says
        self.study = sized(given, cfg.size) | {key: given[key] for key in stated}
        self.follows = ""
        _refuse_settled([*overrides, *itertools.chain(*free.values())], self.study)

    def jobs(self) -> list[Job]:
        """Every run that is known by now; raises ValueError where there is none."""
        stages = self._halving if self.study["grid"] else self._around_optimum if self.study["optimum"] else self._parts
        jobs = list(itertools.chain(*stages()))
        if not jobs:
            raise ValueError(f"study={self.study['name']} plans no run: it needs rules and phis, or coefficients, and seeds")
        return jobs

    def _part(self, part: Mapping[str, Any]) -> list[Job]:
        """One part, composed with the overrides that it and the study add."""
        wanted, words = self.study | dict(part), [*self.overrides, *self.study["overrides"], *part.get("overrides", [])]
        cfg = compose("config", words) if len(words) > len(self.overrides) else self.cfg
        setting = ", ".join(filter(None, [self.setting, part.get("setting")]))
        return _jobs(cfg, words, setting, study_arms(wanted, cfg), wanted["seeds"])

    def _parts(self) -> Iterator[list[Job]]:
        for part in self.study["parts"] or [{}]:
            yield self._part(part)

    def _halving(self) -> Iterator[list[Job]]:
        """The grid search: every rung trains what the one before left, each with a complete schedule of its own length."""
        from ablation.judge.halving import survivors  # pandas, only where it is used

        grid, last = self.study["grid"], len(self.study["grid"]["epochs"])
        left: set[str] | None = None
        for rung, epochs in enumerate(grid["epochs"], 1):
            candidates = [*self.study["rules"], *map(vars, triples(typed("study.grid.step", grid["step"], float)))]
            rules = [rule for rule in candidates if left is None or (rule if isinstance(rule, str) else rule["name"]) in left]
            part = {"setting": f"{epochs} epochs", "overrides": [f"recipe.epochs={epochs}"], "rules": rules, "phis": [grid["phi"]]}
            jobs = self._part(part)
            yield jobs
            left = self._when_done(jobs, survivors) if rung < last else set()
            if left is None:
                self.follows = f"rung {rung + 1} of {last} follows, with what these {epochs} epochs leave of the candidates"
                return

    def _around_optimum(self) -> Iterator[list[Job]]:
        """What the star fit predicts to be best at one budget, and its neighbours at the same."""
        from ablation.judge.star import star_neighbours

        optimum = self.study["optimum"]
        star = plan([*beside_study(self.overrides), f"study={optimum['of']}"])
        found = self._when_done(star.jobs, lambda table: star_neighbours(table, 2.0 ** optimum["phi"], optimum["step"]))
        if found is None:
            raise NotYet(
                f"study={self.study['name']} follows from the records of study={optimum['of']}; python -m ablation.run study={optimum['of']}"
            )
        yield self._part({"rules": [*map(vars, found.values()), *self.study["rules"]], "phis": [optimum["phi"]]})

    def _when_done(self, jobs: Sequence[Job], judge: Callable[[Any], Any]) -> Any:
        """What `judge` says of the frame of these runs; None while one of them has no record."""
        planned = [job.planned for job in jobs]
        records = read_records(execution(self.cfg).runs, (entry.run for entry in planned))
        if any(entry.run.id not in records for entry in planned):
            return None
        from ablation.judge.frame import frame

        return judge(frame(planned, records))


def sized(study: Mapping[str, Any], size: str) -> dict[str, Any]:
    """A study at the size asked for: `small`, as it stands, or with what the file says under that size in its place.

    Raises ValueError for a size that the study does not have, and for a word that no study knows.
    """
    one_of("size", size, ("small", *SIZES))
    own = {name: study[name] for name in SIZES if study[name]}
    if size not in ("small", *own):
        raise ValueError(f"size={size}: study={study['name']} comes in {' and '.join(['small', *own])}; choose one")
    chosen = {**study, **own.get(size, {})}
    for where, mapping, known in (
        *((name, own[name], study) for name in own),
        *((f"parts.{i}", part, PART) for i, part in enumerate(chosen["parts"])),
    ):
        for key in mapping:
            if key not in known:
                raise ValueError(f"study.{where}.{key}: no such setting of a study; there are {', '.join(known)}")
    return chosen


def _refuse_settled(overrides: Sequence[str], study: Mapping[str, Any]) -> None:
    """What a study gives itself cannot be given beside it: the scaling, and whatever its overrides, parts or search set."""
    own = {key_of(word) for part in (study, *study["parts"]) for word in part.get("overrides", [])} | ({"recipe.epochs"} if study["grid"] else set())
    for override in overrides:
        if (key := key_of(override)) in own or key.split(".")[0] in SET_BY_STUDY:
            way_out = "leave it out" if key in own else "use study.rules=[...], study.phis=[...] or study.seeds=[...]"
            raise ValueError(f"{override}: study={study['name']} sets it itself; {way_out}")


def study_arms(study: Mapping[str, Any], cfg: DictConfig) -> list[Arm]:
    """The arms of a study or part: rules (names, or mappings with a name and a triple) x phis, and explicit coefficients."""
    nodes = [scaling_node(rule, cfg) if isinstance(rule, str) else rule for rule in study["rules"]]
    arms = [arm(node, typed("study.phis", phi, float), cfg.cost) for node, phi in itertools.product(nodes, study["phis"])]
    return arms + [arm({"name": "coefficients", **row}, 0.0, "nominal") for row in study["coefficients"]]
