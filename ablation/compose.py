"""The door: Hydra composes, this module turns the result into frozen values, in one place for run, plan and report.

Below it there is no DictConfig. A study is composed once and expanded in Python; `-m` overrides are composed once per combination.
"""

import itertools
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from ablation.baselines import BASELINES, Baseline
from ablation.config import Data, Execution, Recipe, build, folder_of, one_of, typed
from ablation.scaling import PUBLISHED, RULES, Coefficients, Rule
from ablation.study import Arm, Planned, expand

# conf/ lies beside the package in a checkout and inside it once installed.
CONF = next(path for path in (Path(__file__).parents[1] / "conf", Path(__file__).parent / "conf") if (path / "config.yaml").exists())
SET_BY_STUDY = ("scaling", "phi", "seed")  # what a study gives itself


@dataclass(frozen=True)
class Job:
    """A planned run and the overrides with which a launcher's job arrives at the same run."""

    planned: Planned
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a command asked for. name: the study's, or `sweep`. command: the overrides as typed."""

    name: str
    jobs: tuple[Job, ...]
    execution: Execution
    results: Path
    format: str
    command: str

    @property
    def planned(self) -> list[Planned]:
        return [job.planned for job in self.jobs]

    def through(self, door: str) -> str:
        """The command that sends the same overrides through another door."""
        return f"python -m ablation.{door} {'-m ' if self.name == 'sweep' else ''}{self.command}"


def register() -> None:
    """Make rules and baselines choices of Hydra's, and our sweeper and launchers known; called by every door."""
    from hydra_plugins.ablation_launcher import LocalLauncher
    from hydra_plugins.ablation_slurm import SlurmLauncher
    from hydra_plugins.ablation_sweeper import StudySweeper

    store = ConfigStore.instance()
    for rule in RULES.values():
        store.store(group="scaling", name=rule.name, node={"name": rule.name, "alpha": rule.alpha, "beta": rule.beta, "gamma": rule.gamma})
    store.store(group="scaling", name="coefficients", node={"name": "coefficients", "depth": 1.0, "width": 1.0, "resolution": 1.0})
    store.store(group="scaling", name="published", node={"name": "published", "variant": "b0"})
    for name in BASELINES:
        store.store(group="baseline", name=name, node={"name": name})
    store.store(group="hydra/sweeper", name="ablation", node={"_target_": "hydra_plugins.ablation_sweeper.StudySweeper"})
    for plugin in (StudySweeper, LocalLauncher, SlurmLauncher):
        Plugins.instance().register(plugin)
    # Our ray.yaml takes the name of the plugin's own, so that Hydra holds its schema against ours, as it should.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against ConfigStore schema", category=UserWarning)


@contextmanager
def hydra() -> Iterator[None]:
    """Hydra ready to compose, for doors that launch nothing."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="ablation"):
        yield


def door(doc: str | None, body: Callable[[list[str], bool], None]) -> None:
    """A command that launches nothing: body(overrides, whether -m was given); what goes wrong ends in one line and status 1."""
    words = [word for word in sys.argv[1:] if word not in ("-m", "--multirun")]
    if {"-h", "--help"} & set(words):
        print(doc)
        return
    try:
        with hydra():
            body(arguments(words), len(words) < len(sys.argv[1:]))
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        fail(error)


def arguments(words: Sequence[str]) -> list[str]:
    """Overrides as typed, with data=custom put first where a name or path is given and no data set is chosen."""
    given = {word.split("=")[0].lstrip("+") for word in words}
    return (["data=custom"] if given & {"data.name", "data.path"} and "data" not in given else []) + list(words)


def plan(overrides: Sequence[str]) -> Plan:
    """What the overrides ask for, every run of it validated; needs an initialised Hydra.

    Raises ValueError, or Hydra's own exceptions, for whatever is wrong with them.
    """
    axes = _axes(overrides)
    jobs: list[Job] = []
    cfg = None
    free = {key: axes.pop(key) for key in ("phi", "seed") if key in axes}
    for combination in itertools.product(*axes.values()):
        cfg = compose("config", list(combination))
        jobs += _jobs(cfg, list(combination), free)
    assert cfg is not None
    unique = {(job.planned.arm, job.planned.run.id): job for job in jobs}
    one_of("format", cfg.format, ("table", "json"))
    return Plan(cfg.study.name or "sweep", tuple(unique.values()), execution(cfg), Path(str(cfg.results)), cfg.format, shlex.join(overrides))


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


def _jobs(cfg: DictConfig, overrides: list[str], free: Mapping[str, list[str]]) -> list[Job]:
    """The runs of one composed configuration: a study, or one scaling at the swept phis and seeds."""
    study = OmegaConf.to_container(cfg.study, resolve=True)
    assert isinstance(study, dict)
    if study["name"]:
        _refuse_settled([*overrides, *itertools.chain(*free.values())], study["name"])
        arms = study_arms(study, cfg.cost)
        seeds = [typed("study.seeds", seed, int) for seed in study["seeds"]]
        if not arms or not seeds:
            raise ValueError(f"study={study['name']} plans no run: it needs rules and phis, or coefficients, and seeds")
    else:
        scaling = OmegaConf.to_container(cfg.scaling, resolve=True)
        arms = [arm(scaling, typed("phi", phi, float), cfg.cost) for phi in _values(free, "phi", cfg.phi)]
        seeds = [typed("seed", seed, int) for seed in _values(free, "seed", cfg.seed)]
    planned = expand(_baseline(cfg), arms, _recipe(cfg), _data(cfg), seeds, typed("evaluate", cfg.evaluate, bool))
    kept = [override for override in overrides if override.split("=")[0].lstrip("+~") not in ("format", *SET_BY_STUDY)]
    kept = [override for override in kept if not override.startswith("scaling.")]
    return [Job(entry, (*kept, *arm_overrides(entry.arm), f"seed={entry.run.seed}", f"expect={entry.run.id}")) for entry in planned]


def _values(free: Mapping[str, list[str]], key: str, default: Any) -> list[Any]:
    return [yaml.safe_load(text.split("=", 1)[1]) for text in free[key]] if key in free else [default]


def _refuse_settled(overrides: Sequence[str], name: str) -> None:
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if key.split(".")[0] in SET_BY_STUDY:
            raise ValueError(f"{override}: study={name} sets it itself; use study.rules=[...], study.phis=[...] or study.seeds=[...]")


def study_arms(study: Mapping[str, Any], cost: str) -> list[Arm]:
    """The arms of a study file: rules (names, or mappings with a name and a triple) x phis, and explicit coefficients."""
    arms = []
    for rule, phi in itertools.product(study["rules"], study["phis"]):
        if isinstance(rule, str):
            one_of("study.rules", rule, tuple(RULES))
            rule = vars(RULES[rule])
        arms.append(arm(rule, typed("study.phis", phi, float), cost))
    return arms + [arm({"name": "coefficients", **row}, 0.0, "nominal") for row in study["coefficients"]]


def arm(scaling: Mapping[str, Any], phi: float, cost: str) -> Arm:
    """One arm from a scaling node: a triple, explicit coefficients, or a row of the released table."""
    one_of("cost", cost, ("nominal", "matched"))
    values = {key: value for key, value in scaling.items() if key != "name"}
    if "alpha" in scaling:
        rule = build(Rule, scaling, "scaling")
        known = RULES.get(rule.name)
        if known and known != rule:  # a changed triple does not keep the name of the original
            rule = Rule(f"{rule.alpha:g}/{rule.beta:g}/{rule.gamma:g}", rule.alpha, rule.beta, rule.gamma)
        return Arm(rule.name, cost, rule=rule, phi=phi)
    if cost == "matched":
        raise ValueError(f"cost=matched: scaling={scaling['name']} has fixed coefficients and no dial to turn; take cost=nominal, or a rule")
    if "variant" in scaling:
        one_of("scaling.variant", scaling["variant"], tuple(PUBLISHED))
        row = PUBLISHED[scaling["variant"]]
        coefficients = Coefficients(row.depth, row.width, row.pixels / BASELINES["b0"].network.pixels)
        return Arm(f"published {scaling['variant']}", cost, coefficients=coefficients)
    return Arm(scaling["name"], cost, coefficients=build(Coefficients, values, "scaling"))


def arm_overrides(wanted: Arm) -> tuple[str, ...]:
    """The overrides that make a single run of this arm."""
    if wanted.coefficients is not None:
        multipliers = (f"scaling.{name}={value!r}" for name, value in vars(wanted.coefficients).items())
        return ("scaling=coefficients", f"scaling.name={_quoted(wanted.name)}", *multipliers, "cost=nominal")
    assert wanted.rule is not None
    rule = wanted.rule
    if RULES.get(rule.name) == rule:
        chosen = (f"scaling={rule.name}",)
    else:
        triple = tuple(f"scaling.{name}={getattr(rule, name)!r}" for name in ("alpha", "beta", "gamma"))
        chosen = ("scaling=compound", f"scaling.name={_quoted(rule.name)}", *triple)
    return (*chosen, f"phi={wanted.phi!r}", f"cost={wanted.cost}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def single(cfg: DictConfig) -> Planned:
    """The one run of a composed configuration, whatever study it belongs to."""
    scaling = OmegaConf.to_container(cfg.scaling, resolve=True)
    assert isinstance(scaling, dict)
    wanted = arm(scaling, typed("phi", cfg.phi, float), cfg.cost)  # type: ignore[arg-type]
    seed = typed("seed", cfg.seed, int)
    return expand(_baseline(cfg), [wanted], _recipe(cfg), _data(cfg), [seed], typed("evaluate", cfg.evaluate, bool))[0]


def _baseline(cfg: DictConfig) -> Baseline:
    if cfg.scaling.name == "published" and cfg.baseline.name != "b0":
        raise ValueError(f"scaling=published: the released table scales B0, not {cfg.baseline.name}; add baseline=b0")
    return BASELINES[cfg.baseline.name]


def _recipe(cfg: DictConfig) -> Recipe:
    return build(Recipe, OmegaConf.to_container(cfg.recipe, resolve=True), "recipe")  # type: ignore[arg-type]


def _data(cfg: DictConfig) -> Data:
    values: dict[str, Any] = OmegaConf.to_container(cfg.data, resolve=True)  # type: ignore[assignment]
    if values["name"] == "custom":
        if not values["path"]:
            raise ValueError("data=custom: say which set, data.name=owner/name from the hub or data.path=FOLDER")
        values["name"] = Path(values["path"]).resolve().name
    if values["path"]:
        folder_of(values["path"])  # before anything heavy is imported
    if values["classes"] is None or values["native"] is None:
        from ablation.data import describe  # opens the data, so only where its config leaves these open

        values |= {key: found for key, found in describe(values).items() if values[key] is None}
    return build(Data, values, "data")


def execution(cfg: DictConfig) -> Execution:
    """Where and how, from a composed configuration."""
    return Execution(
        runs=Path(str(cfg.runs)),
        cache=Path(str(cfg.cache)).expanduser(),
        threads=typed("threads", cfg.threads, int),
        accelerator=str(cfg.accelerator),
        wandb=str(cfg.wandb.mode),
        project=str(cfg.wandb.project),
        keep_weights=typed("keep_weights", cfg.keep_weights, bool),
        devices=typed("devices", cfg.devices, int),
        gpu_memory=typed("gpu_memory", cfg.gpu_memory, float | None),
    )


def studies() -> list[str]:
    """Names of the study files that ship."""
    return sorted(path.stem for path in (CONF / "study").glob("*.yaml"))


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; Hydra's lists of places that it searched are left out."""
    told = error.strerror if isinstance(error, OSError) and error.filename is None else None  # without "[Errno 28] "
    text = told or str(error).strip() or (str(error.__cause__ or "").strip()) or type(error).__name__
    if isinstance(error, ValueError | OSError) or type(error).__module__.split(".")[0] in ("ablation", "hydra", "omegaconf"):
        text = re.split(r"\n\s*Config search path|\n\s*full_key|\nSee https?:", text)[0]
    else:
        text = f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"
    if unknown := re.match(r"Could not override '(.+?)'", text):
        return f"{unknown[1]}: there is no such setting; python -m ablation.run --cfg job shows all that there are"
    if absent := re.search(r"Unknown plugin class : 'hydra_plugins\.(\w+)\.", text):
        plugin = absent[1].replace("_", "-")
        return f"{plugin} is not installed: pip install {plugin}"
    available = re.sub(r"\n\t", ", ", text).replace(":, ", ": ")
    return re.sub(r"\s*\n\s*", "; ", available)


def fail(error: BaseException) -> None:
    """End a door with one line on standard error and status 1."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(1)
