"""The direction of imports, and what may be imported where."""

import ast
import subprocess
import sys
from pathlib import Path

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
