"""The door: Hydra composes, this module turns the result into frozen values. Below it there is no DictConfig."""

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from ablation.baselines import BASELINES, FINE, Baseline
from ablation.config import Data, Execution, Recipe, build, folder_of, one_of, typed
from ablation.network import Network, Stage
from ablation.scaling import PUBLISHED, RULES, Coefficients, Rounding, Rule
from ablation.study import Arm, NotYet

# conf/ lies beside the package in a checkout and inside it once installed.
CONF = next(path for path in (Path(__file__).parents[1] / "conf", Path(__file__).parent / "conf") if (path / "config.yaml").exists())


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
    store.store(group="scaling", name="fitted", node={"name": "fitted", "file": fitted_file(Path("${results}"))})
    for name in BASELINES:
        store.store(group="baseline", name=name, node={"name": name})
    store.store(group="baseline", name="file", node={"name": "file", "path": None})
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
        print(f"{doc}\nGroups and settings: python -m ablation.run --help")
        return
    try:
        with hydra():
            body(arguments(words), len(words) < len(sys.argv[1:]))
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        fail(error)


def arguments(words: Sequence[str]) -> list[str]:
    """Overrides as typed, and before them the choices that they imply: a name or path of images means data=custom, a table's baseline=file.

    --config-dir FOLDER, Hydra's flag for configs of one's own, becomes an override, so that every door, job and printed command has it.
    """
    words, implied = _own_configs(words)
    given = {word.split("=")[0].lstrip("+") for word in words}
    chosen = given | ({"data"} if "size" in given else set())
    for group, choice, keys in (("data", "custom", {"data.name", "data.path"}), ("baseline", "file", {"baseline.path"})):
        implied += [f"{group}={choice}"] if given & keys and group not in chosen else []
    first = next((i for i, word in enumerate(words) if re.match(r"[\w.@/]+=", word)), len(words))  # Hydra wants its flags on one side
    return [*words[:first], *implied, *words[first:]]


def _own_configs(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without --config-dir, and the override that does the same; raises ValueError where there is no such folder."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        flags, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError:
        raise ValueError("--config-dir: say which folder, --config-dir FOLDER") from None
    if flags.config_dir is None:
        return rest, []
    if not Path(flags.config_dir).is_dir():
        raise ValueError(f"--config-dir {flags.config_dir}: no such folder; it should hold groups of your own, such as recipe/mine.yaml")
    return rest, [f"hydra.searchpath=[{json.dumps(flags.config_dir)}]"]


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


def _triple(file: Path) -> dict[str, float]:
    """alpha, beta and gamma from a YAML file; raises ValueError where there is none."""
    try:
        content = yaml.safe_load(file.read_text())
        return {name: float(content[name]) for name in ("alpha", "beta", "gamma")}
    except FileNotFoundError:
        raise NotYet(f"scaling=fitted: {file} does not exist; make grid-search writes it, or set scaling.file=...") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"scaling.file={file}: needs alpha, beta and gamma as numbers ({one_line(error)})") from error


def _baseline(node: Mapping[str, Any]) -> Baseline:
    """The baseline that a node names, or the user's own from the file at its path."""
    if node["name"] != "file":
        return BASELINES[node["name"]]
    if not node["path"]:
        raise ValueError("baseline=file: say which stage table, baseline.path=FILE.yaml")
    file = Path(node["path"])
    if not file.is_file():
        raise FileNotFoundError(f"baseline.path={file}: no such file; it should hold a stage table as YAML (CONTRIBUTING.md has one)")
    try:
        return stage_table(file.stem, yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"baseline.path={file}: {one_line(error)}") from error


def stage_table(name: str, table: Any) -> Baseline:
    """A user's own baseline: the fields of `Network` without classes, which are the data's; a list of `Stage`; `Rounding`, or that of mini.

    Raises ValueError for whatever is wrong with it, naming the value.
    """
    if name in BASELINES:
        raise ValueError(f"{name} is the name of a baseline that ships; give the file another")
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in [*(table.get("stages") or [None]), table.get("rounding", {})]):
        raise ValueError("a stage table is a mapping; its stages are a list of mappings, its rounding is one")
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
    one_of("study.rules", name, (*RULES, "fitted"))
    return {"name": name, "file": fitted_file(Path(str(cfg.results)))} if name == "fitted" else dict(vars(RULES[name]))


def fitted_file(results: Path) -> str:
    """Where a grid search leaves its best triple, and where scaling=fitted finds it."""
    return str(results / "grid-search" / "fitted.yaml")


def scaling_arm(cfg: DictConfig, phi: Any) -> Arm:
    """The arm of a composed configuration at phi, a number as typed."""
    return arm(OmegaConf.to_container(cfg.scaling, resolve=True), typed("phi", phi, float), cfg.cost)  # type: ignore[arg-type]


def conditions(cfg: DictConfig) -> dict[str, Any]:
    """What all arms of one composed configuration have in common, as `expand` takes it."""
    if cfg.scaling.name == "published" and cfg.baseline.name != "b0":
        raise ValueError(f"scaling=published: the released table scales B0, not {cfg.baseline.name}; add baseline=b0")
    evaluate = typed("evaluate", cfg.evaluate, bool)
    return {
        "baseline": _baseline(cfg.baseline),
        "recipe": _recipe(cfg),
        "data": _data(cfg),
        "evaluate": evaluate,
        "equal": cfg.equal,
        "setting": cfg.setting,
    }


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
        from ablation.sources import describe  # opens the data, so only where its config leaves these open

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
        resident=typed("resident", cfg.resident, bool | None),
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
