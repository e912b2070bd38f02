"""What all doors share: rules, baselines and plugins registered with Hydra, and an end in one line and status
1."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from ablation import __version__
from ablation.command.compose import FOUND, found_file
from ablation.command.ends import end_at_once, enduring, on_signals
from ablation.command.errors import one_line
from ablation.command.overrides import arguments
from ablation.command.shipped import CONF
from ablation.theory.baselines import BASELINES
from ablation.theory.scaling import RULES


def register() -> None:
    """Make rules and baselines choices of Hydra's, and our sweeper and launchers known; called by every
    door."""
    from hydra_plugins.ablation_launcher import LocalLauncher
    from hydra_plugins.ablation_slurm import SlurmLauncher
    from hydra_plugins.ablation_sweeper import StudySweeper

    store = ConfigStore.instance()
    for rule in RULES.values():
        store.store(
            group="scaling",
            name=rule.name,
            node={"name": rule.name, "alpha": rule.alpha, "beta": rule.beta, "gamma": rule.gamma},
        )
    store.store(
        group="scaling",
        name="coefficients",
        node={"name": "coefficients", "depth": 1.0, "width": 1.0, "resolution": 1.0},
    )
    store.store(group="scaling", name="published", node={"name": "published", "variant": "b0"})
    for name in FOUND:
        node = {"name": name, "file": found_file(name, Path("${results}"))}
        store.store(group="scaling", name=name, node=node)
    for name in BASELINES:
        store.store(group="baseline", name=name, node={"name": name, "pixels": None})
    node = {"name": "file", "path": None, "pixels": None}
    store.store(group="baseline", name="file", node=node)
    asked = {"factory": None, "pixels": None, "step": 1 / 32, "step_pixels": 2}
    store.store(group="baseline", name="factory", node={"name": "factory", **asked})
    store.store(
        group="hydra/sweeper",
        name="ablation",
        node={"_target_": "hydra_plugins.ablation_sweeper.StudySweeper"},
    )
    for plugin in (StudySweeper, LocalLauncher, SlurmLauncher):
        Plugins.instance().register(plugin)
    # Our ray.yaml takes the name of the plugin's own, so that Hydra holds its schema against ours, as it
    # should.
    warnings.filterwarnings(
        "ignore",
        message=r"\s*'hydra/launcher/ray' is validated against ConfigStore schema",
        category=UserWarning,
    )


def in_utf8() -> None:
    """Start this command anew in Python's UTF-8 mode, which can only be chosen at the start, where the locale
    has fewer letters: names, paths and what is printed may be of any script."""
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes of runs, too
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def hydra() -> Iterator[None]:
    """Hydra ready to compose, for doors that launch nothing."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="ablation"):
        yield


def door(doc: str | None, body: Callable[[list[str], bool], None]) -> None:
    """A command that launches nothing: body(overrides, whether -m was given); what goes wrong ends in one
    line and status 1."""
    in_utf8()
    words = [word for word in sys.argv[1:] if word not in ("-m", "--multirun")]
    told = about(words) or help_of(doc, words)
    on_signals(end_at_once)
    try:
        with enduring():
            if told:
                print(told)
                return
            with hydra():
                body(arguments(words), len(words) < len(sys.argv[1:]))
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        fail(error)


def about(words: Sequence[str]) -> str:
    """Our version where it is asked for, "" elsewhere; Hydra would tell its own."""
    return f"ablation {__version__}" if "--version" in words else ""


def help_of(doc: str | None, words: Sequence[str]) -> str:
    """What a door does where that is asked for, "" elsewhere."""
    asked = {"-h", "--help"} & set(words)
    return f"{doc}\nGroups and settings: python -m ablation.run --help" if asked else ""


def fail(error: BaseException) -> None:
    """End a door with one line on standard error and status 1."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(1)
