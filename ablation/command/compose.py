"""The door: Hydra composes, this module turns the result into frozen values. Below it there is no
DictConfig."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from ablation.command.errors import NotYet, one_line
from ablation.command.own import own_baseline
from ablation.command.start import Weights, weights
from ablation.images.survey import Survey, survey
from ablation.runs.arms import Arm, Planned, expand
from ablation.runs.checks import build, one_of, typed
from ablation.runs.config import Data, Execution, Recipe, folder_of
from ablation.theory.baselines import BASELINES, FINE, Baseline
from ablation.theory.network import Network, Stage
from ablation.theory.own import OwnBaseline
from ablation.theory.scaling import PUBLISHED, RULES, Coefficients, Rounding, Rule


def arm(scaling: Mapping[str, Any], phi: float, cost: str) -> Arm:
    """One arm from a scaling node: a triple, explicit coefficients, or a row of the released table."""
    one_of("cost", cost, ("nominal", "matched"))
    if "file" in scaling:
        scaling = {"name": scaling["name"], **_triple(Path(scaling["file"]))}
    values = {key: value for key, value in scaling.items() if key != "name"}
    if "alpha" in scaling:
        rule = build(Rule, scaling, "scaling")
        known = RULES.get(rule.name)
        if known and known != rule:  # a changed triple does not keep the name of the original
            rule = replace(rule, name=f"{rule.alpha:g}/{rule.beta:g}/{rule.gamma:g}")
        return Arm(rule.name, cost, rule=rule, phi=phi)
    if cost == "matched":
        raise ValueError(
            f"cost=matched: scaling={scaling['name']} has fixed coefficients and no dial to turn; take "
            "cost=nominal, or a rule"
        )
    if "variant" in scaling:
        one_of("scaling.variant", scaling["variant"], tuple(PUBLISHED))
        coefficients = PUBLISHED[scaling["variant"]].coefficients
        return Arm(f"published {scaling['variant']}", cost, coefficients=coefficients)
    return Arm(scaling["name"], cost, coefficients=build(Coefficients, values, "scaling"))


def _triple(file: Path) -> dict[str, float]:
    """alpha, beta and gamma from a YAML file; raises ValueError where there is none."""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
        return {name: float(content[name]) for name in ("alpha", "beta", "gamma")}
    except FileNotFoundError:
        raise NotYet(
            f"scaling={file.stem}: {file} does not exist; make grid-search writes it"
            f"{FOUND.get(file.stem, '')}, or set scaling.file=..."
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"scaling.file={file}: needs alpha, beta and gamma as numbers ({one_line(error)})"
        ) from error


def _baseline(node: Mapping[str, Any], recipe: Recipe, cache: Path) -> Baseline | OwnBaseline:
    """The baseline that a node names, or the user's own from the file at its path or from a function."""
    one_of("baseline.name", node["name"], (*BASELINES, "file", "factory"))
    if node["name"] == "factory":
        return own_baseline(node, recipe, cache)
    named = BASELINES.get(node["name"]) or _from_file(node)
    pixels = typed("baseline.pixels", node["pixels"], int | None)
    return named if pixels is None else named.at(pixels)


def _from_file(node: Mapping[str, Any]) -> Baseline:
    if not node["path"]:
        raise ValueError("baseline=file: say which stage table, baseline.path=FILE.yaml")
    file = Path(node["path"])
    if not file.is_file():
        raise FileNotFoundError(
            f"baseline.path={file}: no such file; it should hold a stage table as YAML (CONTRIBUTING.md "
            "has one)"
        )
    try:
        return stage_table(file.stem, yaml.safe_load(file.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"baseline.path={file}: {one_line(error)}") from error


def stage_table(name: str, table: Any) -> Baseline:
    """A user's own baseline: the fields of `Network` without classes, which are the data's; a list of
    `Stage`; `Rounding`, or that of mini.

    Raises ValueError for whatever is wrong with it, naming the value.
    """
    if name in BASELINES:
        raise ValueError(f"{name} is the name of a baseline that ships; give the file another")
    if not isinstance(table, dict) or not all(
        isinstance(row, dict)
        for row in [*(table.get("stages") or [None]), table.get("rounding", {})]
    ):
        raise ValueError(
            "a stage table is a mapping; its stages are a list of mappings, its rounding is one"
        )
    if "classes" in table:
        raise ValueError(f"classes={table['classes']}: the data say how many; leave it out")
    rounding = build(Rounding, vars(FINE) | table.get("rounding", {}), "rounding")
    stages = tuple(_stage(number, row) for number, row in enumerate(table["stages"], 1))
    values = {key: value for key, value in table.items() if key not in ("stages", "rounding")}
    return Baseline(name, build(Network, values | {"classes": 2, "stages": stages}), rounding)


def _stage(number: int, row: Mapping[str, Any]) -> Stage:
    try:
        return build(Stage, row)
    except ValueError as error:
        raise ValueError(f"stage {number}: {error}") from error


def scaling_node(name: str, cfg: DictConfig) -> dict[str, Any]:
    """A rule by its name, as a scaling node; raises ValueError for a name that is none."""
    one_of("study.rules", name, (*RULES, *FOUND))
    return (
        {"name": name, "file": found_file(name, folder_at(cfg, "results"))}
        if name in FOUND
        else dict(vars(RULES[name]))
    )


# What a grid search finds: its best triple, and the best of those that grow in all three; and when.
FOUND = {"fitted": "", "inside": " where a candidate grows in all three dimensions"}


def found_file(name: str, results: Path) -> str:
    """Where a grid search leaves one of FOUND, and where scaling= of that name finds it."""
    return str(results / "grid-search" / f"{name}.yaml")


def scaling_arm(cfg: DictConfig, phi: Any) -> Arm:
    """The arm of a composed configuration at phi, a number as typed."""
    return arm(
        OmegaConf.to_container(cfg.scaling, resolve=True), typed("phi", phi, float), cfg.cost
    )  # type: ignore[arg-type]


@dataclass(frozen=True)
class Conditions:
    """What all runs of one composed configuration have in common; see arms.expand."""

    baseline: Baseline | OwnBaseline
    recipe: Recipe
    data: Data
    evaluate: bool
    equal: str
    setting: str
    survey: Survey
    start: Weights | None

    def runs(self, arms: Iterable[Arm], seeds: Iterable[int]) -> list[Planned]:
        """Every arm with every seed; raises ValueError for one that cannot start as all do."""
        planned = expand(
            self.baseline,
            arms,
            self.recipe,
            self.data,
            seeds,
            evaluate=self.evaluate,
            equal=self.equal,
            setting=self.setting,
        )
        return [self.start.starting(entry) for entry in planned] if self.start else planned


# Settings that are no field of a frozen value of ours, by type.
SETTINGS: Mapping[str, Any] = {
    **dict.fromkeys(("size", "cost", "equal", "format", "setting"), str),
    **dict.fromkeys(("runs", "results", "cache", "expect", "to", "run", "init"), str | None),
    **{"accelerator": str, "evaluate": bool, "onnx": bool, "init_partial": bool},
    **{"wandb": Mapping, "wandb.mode": str, "wandb.project": str},
    **{"bench": Mapping, "bench.rounds": int | None, "bench.seconds": float, "bench.again": bool},
    **{"study": Mapping, "study.name": str | None},
    **{f"study.{name}": str for name in ("question", "claim", "figure")},
    "study.overrides": tuple[str, ...],
    **{f"study.{name}": list for name in ("rules", "phis", "seeds")},
    "study.confirm": tuple[int, ...],
    **{f"study.{name}": tuple[Mapping, ...] for name in ("coefficients", "parts")},
    **{f"study.{name}": Mapping | None for name in ("grid", "optimum", "reference", "paper")},
    **{"scaling": Mapping, "baseline": Mapping, "recipe": Mapping, "data": Mapping},
    **{
        "data.path": str | None,
        "data.crop_from": str | None,
        "baseline.name": str,
        "scaling.name": str,
    },
}


@dataclass(frozen=True)
class Grid:
    """A grid search: step between its candidates' alpha and beta, at this phi."""

    step: float
    phi: float


@dataclass(frozen=True)
class Optimum:
    """A check of what the star fit of another study calls best, at this phi; step to its neighbours."""

    of: str
    phi: float
    step: float


def composed(words: Sequence[str]) -> DictConfig:
    """The configuration of overrides, checked; needs an initialised Hydra."""
    cfg = compose("config", list(words))
    check(cfg)
    return cfg


def check(cfg: DictConfig) -> None:
    """Raises ValueError for a setting of another type than it has, by name."""
    plain = OmegaConf.to_container(cfg)
    for name, hint in SETTINGS.items():
        value: Any = plain
        for part in name.split("."):
            value = value.get(part)
        typed(name, value, hint)
    study = plain["study"]  # type: ignore[index,call-overload]
    for word in study["overrides"]:
        if "=" not in str(word):
            raise ValueError(f"study.overrides={word}: an override is setting=value")
    for rule in study["rules"]:
        if not isinstance(rule, str | Mapping):
            raise ValueError(f"study.rules={rule}: a name, or a name with alpha, beta and gamma")
    sizes = {f"study.{size}": study[size] or {} for size in ("reference", "paper")}
    for where, part in {"study": study, **sizes}.items():
        for name, kind in (("grid", Grid), ("optimum", Optimum)):
            if part.get(name):
                _refuse_rungs(f"{where}.{name}", part[name])
                build(kind, part[name], f"{where}.{name}")


def _refuse_rungs(where: str, search: Any) -> None:
    """Raises ValueError for a search in rungs of epochs, as studies had it once."""
    if isinstance(search, Mapping) and "epochs" in search:
        raise ValueError(
            f"{where}.epochs={search['epochs']}: every candidate is trained with the whole schedule; leave "
            "it out, and say recipe.epochs=... for another length"
        )


def conditions(cfg: DictConfig) -> Conditions:
    """What all runs of one composed configuration have in common; raises ValueError for what is wrong with
    it."""
    if cfg.scaling.name == "published" and cfg.baseline.name != "b0":
        raise ValueError(
            f"scaling=published: the released table scales B0, not {cfg.baseline.name}; add baseline=b0"
        )
    found = _survey(cfg)
    recipe = _recipe(cfg, found)
    _refuse_batch(recipe, found)
    data = replace(found.data, stored=None) if recipe.from_original else found.data
    return Conditions(
        baseline=_baseline(cfg.baseline, recipe, folder_at(cfg, "cache")),
        recipe=recipe,
        data=data,
        evaluate=typed("evaluate", cfg.evaluate, bool),
        equal=cfg.equal,
        setting=cfg.setting,
        survey=found,
        start=weights(cfg.init and str(cfg.init), cfg.init_partial),
    )


def _recipe(cfg: DictConfig, survey: Survey) -> Recipe:
    """Where crop_from is left open, the data say it for what is cropped. Made images are stored as they are
    made, so there the stored one is the original; where nothing is cropped, stored and shrunk are one."""
    values: dict[str, Any] = OmegaConf.to_container(cfg.recipe, resolve=True)  # type: ignore[assignment]
    stated = values.get("crop_from")
    usual = cfg.data.crop_from or ("stored" if survey.own else "shrunk")
    values["crop_from"] = stated or usual
    if survey.data.embedded and values["crop_from"] == "original":
        values["crop_from"] = "stored"
    recipe = build(Recipe, values, "recipe")
    if recipe.crops or (stated and recipe.from_original):
        return recipe
    return replace(recipe, crop_from="shrunk")


def _survey(cfg: DictConfig) -> Survey:
    values: dict[str, Any] = OmegaConf.to_container(cfg.data, resolve=True)  # type: ignore[assignment]
    del values["crop_from"]  # of the recipe
    values["path"] = typed("data.path", values["path"], str | None)
    if values["path"]:
        folder_of(values["path"])
    elif values["name"] == "custom":
        raise ValueError(
            "data=custom: say which set, data.name=owner/name from the hub or data.path=FOLDER"
        )
    if values["name"] == "custom":
        values["name"] = Path(values["path"]).expanduser().resolve().name
    return survey(values, folder_at(cfg, "runs"), folder_at(cfg, "cache"))


def _refuse_batch(recipe: Recipe, survey: Survey) -> None:
    """Raises ValueError where a batch is larger than what there is to train on."""
    known = survey.sizes.train if survey.sizes else survey.data.train_size
    if known is not None and known < recipe.batch_size:
        raise ValueError(
            f"recipe.batch_size={recipe.batch_size}: there are only {known} training images; "
            "take a smaller batch"
        )


def folder_at(cfg: DictConfig, name: str) -> Path:
    """The folder that a setting names; raises ValueError where it names none."""
    if cfg[name] in (None, ""):
        raise ValueError(f"{name}={cfg[name] or ''}: say which folder, {name}=FOLDER")
    return Path(str(cfg[name])).expanduser()


def execution(cfg: DictConfig) -> Execution:
    """Where and how, from a composed configuration."""
    return build(
        Execution,
        {
            "runs": folder_at(cfg, "runs"),
            "cache": folder_at(cfg, "cache"),
            "threads": cfg.threads,
            "accelerator": str(cfg.accelerator),
            "wandb": str(cfg.wandb.mode),
            "project": str(cfg.wandb.project),
            "keep_weights": cfg.keep_weights,
            "keep_bits": cfg.keep_bits,
            "devices": cfg.devices,
            "gpu_memory": cfg.gpu_memory,
            "resident": cfg.resident,
            "study": cfg.study.name or "",
            "logger": cfg.logger,
        },
    )
