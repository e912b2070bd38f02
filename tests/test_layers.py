"""The direction of imports, and what may be imported where."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

PACKAGE = Path(__file__).parents[1] / "ablation"

# A module imports only from the lines above it.
ORDER = [
    ["scaling"],
    ["network"],
    ["baselines"],
    ["cost"],
    ["config", "archive"],
    ["records"],
    ["measurements"],
    ["benchmarks"],
    ["study"],
    ["states", "processes"],
    ["shapes"],
    ["sources"],
    ["calibration"],
    ["model"],
    ["weights"],
    ["data"],
    ["devices", "checkpoints"],
    ["training"],
    ["steps"],
    ["tracking"],
    ["execute"],
    ["rivals", "probes"],
    ["statistics"],
    ["fits"],
    ["frame"],
    ["claims"],
    ["findings"],
    ["simulate"],
    ["search"],
    ["paper"],
    ["recount"],
    ["drawing"],
    ["activation"],
    ["figures"],
    ["search_figures"],
    ["sentences", "chart"],
    ["progress"],
    ["compose"],
    ["planning"],
    ["contests"],
    ["results"],
    ["audit"],
    ["page"],
    ["report"],
    ["run", "plan", "bench", "pack", "status", "sync"],
]


def imports(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_every_module_has_a_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == {name for line in ORDER for name in line}


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_imports_point_upwards(place: int) -> None:
    above = {name for line in ORDER[:place] for name in line}
    for module in ORDER[place]:
        ours = {name.split(".")[1] for name in imports(module) if name.startswith("ablation.")}
        lazy = {"run": {"run"}}.get(module, set())  # `python -m ablation.run` imports itself by its real name
        assert ours - above - lazy == set(), f"{module} imports from below"


@pytest.mark.parametrize("module", ["scaling", "network", "baselines", "cost", "config", "records", "measurements", "benchmarks", "study", "paper"])
def test_theory_and_plan_need_the_standard_library_only(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(module)} - set(sys.stdlib_module_names) - {"ablation"}
    assert outside == set()


LIGHT = ["states", "processes", "sources", "calibration", "simulate", "search_figures", "recount", "planning", "report", *ORDER[-1]]


@pytest.mark.parametrize("module", LIGHT)
def test_analysis_and_doors_start_without_torch(module: str) -> None:
    code = f"import sys, ablation.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The functions and classes that a module defines, and their methods and properties."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__ and hasattr(thing, "__qualname__"):
            yield name, thing
            own = vars(thing) if isinstance(thing, type) else {}
            yield from (
                (f"{name}.{member}", getattr(thing, member))
                for member, value in own.items()
                if not member.startswith("_") and isinstance(value, FunctionType | classmethod | staticmethod | property | cached_property)
            )


@pytest.mark.parametrize("name", sorted(name for line in ORDER for name in line))
def test_every_public_name_says_what_it_is(name: str) -> None:
    """A method that a framework calls may leave that to the framework."""
    module = importlib.import_module(f"ablation.{name}")
    assert module.__doc__
    silent = [told for told, thing in public(module) if not (doc := inspect.getdoc(thing)) or doc.startswith(f"{told}(")]
    assert silent == []
