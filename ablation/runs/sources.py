"""The files of a module of the user's: found as Python finds them, and read without running them."""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")


def searched_here() -> None:
    """Let Python look in the current folder, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def sources(module: str) -> dict[str, str]:
    """The text of a module's file, and of each that it imports from the same folder or below, by the name of
    the module: its helpers, not what is installed.

    Raises ValueError where there is no such module, or where a file is no Python.
    """
    searched_here()
    spec = _spec(module)
    if spec is None or not _is_text(spec):
        raise ValueError(
            f"there is no module {module}; it is looked for in {Path.cwd()} and where Python looks"
        )
    root = Path(spec.origin).parents[module.count(".") + (Path(spec.origin).stem == "__init__")]
    found: dict[str, str] = {}
    left = [module]
    while left:
        name = left.pop()
        spec = _spec(name)
        if name in found or spec is None or not (name == module or _is_own(spec, root)):
            continue
        text = _read(Path(spec.origin)) if _is_text(spec) else ""
        found[name] = text
        left += _imported(text, name, bool(spec.submodule_search_locations))
    return {name: text for name, text in sorted(found.items()) if text}


def bare(text: str) -> str:
    """A source without comments, blank lines and spaces at the end of lines."""
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies; its packages are not run."""
    places, spec = None, None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), places)
        if spec is None:
            return None
        places = spec.submodule_search_locations
        if places is None and count < len(parts):
            return None
    return spec


def _is_text(spec: ModuleSpec) -> bool:
    return bool(spec.origin) and str(spec.origin).endswith(".py")


def _is_own(spec: ModuleSpec, root: Path) -> bool:
    """Whether a module lies below `root` and is neither installed nor ours, which RESULTS_VERSION stands
    for."""
    if spec.name.split(".")[0] == "ablation":
        return False
    places = [spec.origin] if _is_text(spec) else [*(spec.submodule_search_locations or [])]
    return any(_is_below(Path(place), root) for place in places)


def _is_below(place: Path, root: Path) -> bool:
    return place.is_relative_to(root) and not any(name in place.parts for name in INSTALLED)


def _read(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
        ast.parse(text)
        return text
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{file} is no Python: {error}") from error


def _imported(text: str, module: str, is_package: bool) -> Iterator[str]:
    """Names that may be modules, of all that a source imports; with each its packages."""
    package = module if is_package else module.rpartition(".")[0]
    yield from _with_packages(module)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                yield from _with_packages(f"{start}.{alias.name}".strip("."))


def _with_packages(name: str) -> Iterator[str]:
    """a.b.c -> a, a.b, a.b.c."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
