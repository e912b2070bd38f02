"""The direction of imports between rooms, and what may be imported where."""

import ast
import importlib
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from ablation.train.processes import PRELOAD

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ablation"

# A room imports from those above it.
ROOMS = ["theory", "runs", "images", "train", "judge", "command", "measure", "show"]
# And of those not from these, which know nothing of each other.
APART = [("judge", "train"), ("show", "measure")]
DOORS = [
    *("run", "plan", "status", "report", "recommend", "export"),
    *("bench", "audit", "pack", "sync"),
]
MOST = 16  # modules of a room


def name_of(path: Path) -> str:
    """The dotted name of a module of ours; a room is its own __init__."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """theory.cost -> theory; doors and `door` stand in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def ours(module: str) -> set[str]:
    """Modules of this package that one of them imports, without itself."""
    return (imports(MODULES[module]) & MODULES.keys()) - {module}


def test_every_module_has_a_place() -> None:
    flat = {module for module in MODULES if module.count(".") == 1 and not room_of(module)}
    assert flat == {f"ablation.{name}" for name in [*DOORS, "door"]}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_above_it(room: str) -> None:
    """The exceptions: activation, which needs a model and images, and which the door imports where there are
    weights; kinds, which shows embedded images."""
    above = {*ROOMS[: ROOMS.index(room) + 1]} - {other for one, other in APART if one == room}
    for module in (module for module in MODULES if room_of(module) == room):
        allowed = above | ({"images", "train"} if module == "ablation.show.activation" else set())
        below = {
            name for name in ours(module) if name != "ablation" and room_of(name) not in allowed
        }
        assert below == set(), f"{module} imports from below"


def test_show_draws_from_records() -> None:
    shown = (
        module
        for module in MODULES
        if room_of(module) == "show"
        and module not in ("ablation.show.activation", "ablation.show.kinds")
    )
    assert {room_of(name) for module in shown for name in ours(module)} & {
        "images",
        "train",
    } == set()


def test_there_is_no_circle() -> None:
    rooms = {f"ablation.{room}" for room in ROOMS} | {"ablation"}
    # Raises CycleError.
    TopologicalSorter({module: ours(module) - rooms for module in MODULES}).prepare()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_lives_there_and_is_not_full(room: str) -> None:
    doc = importlib.import_module(f"ablation.{room}").__doc__
    assert doc
    assert "May import" in doc
    assert len(list((PACKAGE / room).glob("*.py"))) - 1 <= MOST


def test_only_the_door_imports_the_plugins() -> None:
    assert [
        module
        for module, path in MODULES.items()
        if any("hydra_plugins.ablation" in name for name in imports(path))
    ] == ["ablation.door"]


@pytest.mark.parametrize("module", [*PRELOAD])
def test_what_is_loaded_by_its_name_exists(module: str) -> None:
    """A forkserver swallows the ImportError of a stale name, and every process is then slow."""
    assert importlib.util.find_spec(module)


def test_every_room_is_packaged() -> None:
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    assert {f"ablation.{room}" for room in ROOMS} <= set(packages)


@pytest.mark.parametrize(
    "module", [*(m for m in MODULES if room_of(m) == "theory"), "ablation.judge.paper"]
)
def test_theory_needs_the_standard_library_only(module: str) -> None:
    outside = (
        {name.split(".")[0] for name in imports(MODULES[module])}
        - set(sys.stdlib_module_names)
        - {"ablation"}
    )
    assert outside == set()


HEAVY = (
    *("ablation.images.splits", "ablation.images.batches", "ablation.images.augment"),
    "ablation.show.activation",
)
HEAVY_ROOMS = ("train", "measure")
LIGHT_BESIDE = (
    "ablation.train.processes",
    "ablation.train.tracking",
    "ablation.measure.forecast",
    "ablation.measure.observed",
    "ablation.measure.work",
    "ablation.measure.benchmarks",
)
LIGHT = [
    module
    for module in MODULES
    if module in LIGHT_BESIDE or (module not in HEAVY and room_of(module) not in HEAVY_ROOMS)
]


@pytest.mark.parametrize("place", [*ROOMS, "", *LIGHT_BESIDE])
def test_analysis_and_doors_start_without_torch(place: str) -> None:
    """All light modules of a room in one process, of the doors in another."""
    chosen = [module for module in LIGHT if module == place or room_of(module) == place]
    code = (
        f"import sys, importlib; [importlib.import_module(name) for name in {chosen}]; sys.exit('torch' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The functions and classes that a module defines, and their methods and properties."""
    for name, thing in vars(module).items():
        if (
            not name.startswith("_")
            and getattr(thing, "__module__", None) == module.__name__
            and hasattr(thing, "__qualname__")
        ):
            yield name, thing
            own = vars(thing) if isinstance(thing, type) else {}
            yield from (
                (f"{name}.{member}", getattr(thing, member))
                for member, value in own.items()
                if not member.startswith("_")
                and isinstance(
                    value, FunctionType | classmethod | staticmethod | property | cached_property
                )
            )


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_says_what_it_is(name: str) -> None:
    """A method that a framework calls may leave that to the framework."""
    module = importlib.import_module(name)
    assert module.__doc__
    silent = [
        told
        for told, thing in public(module)
        if not (doc := inspect.getdoc(thing)) or doc.startswith(f"{told}(")
    ]
    assert silent == []
