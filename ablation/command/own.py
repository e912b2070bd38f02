"""A function of the user's as a baseline: found, counted once, and what was counted kept below the cache.

Only what was never counted before loads torch.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablation.runs.checks import build
from ablation.runs.config import Recipe, digest
from ablation.runs.files import write_json
from ablation.runs.sources import sources
from ablation.theory.own import Own, OwnBaseline

FORM = 1  # of what is kept; raised where train.own describes a network otherwise
# Settings of a recipe that reach into a module of ours, and their neutral values.
WITHIN = {"dropout": 0.0, "dropout_growth": 0.0, "drop_path": 0.0, "zero_init": False}


@dataclass(frozen=True)
class Settings:
    """The settings of baseline=factory; see theory.own.OwnBaseline."""

    name: str
    factory: str
    pixels: int
    step: float
    step_pixels: int


def own_baseline(node: Mapping[str, Any], recipe: Recipe, cache: Path) -> OwnBaseline:
    """The baseline that a node names; raises ValueError for what is wrong with it or with the recipe."""
    if not node["factory"]:
        raise ValueError(
            "baseline=factory: say which function, baseline.factory=package.module:function"
        )
    settings = build(Settings, node, "baseline")
    _refuse_within(recipe)
    factory = _factory(settings.factory, cache)
    return OwnBaseline(
        settings.factory, settings.pixels, settings.step, settings.step_pixels, factory.network
    )


def _refuse_within(recipe: Recipe) -> None:
    """Raises ValueError for what only a module of ours can be told."""
    for name, neutral in WITHIN.items():
        value = getattr(recipe, name)
        if value != neutral:
            raise ValueError(
                f"recipe.{name}={str(value).lower()}: baseline=factory builds its module itself, which "
                f"cannot be told; do it there, and add recipe.{name}={str(neutral).lower()}"
            )


@dataclass(frozen=True)
class Factory:
    """A function with the files that build its networks. key: a digest of these."""

    name: str
    cache: Path
    key: str
    sources: Mapping[str, str] = field(compare=False, repr=False)

    def network(self, depth: float, width: float, pixels: int, classes: int) -> Own:
        """The network of one request."""
        return _network(self, depth, width, pixels, classes)


def _factory(name: str, cache: Path) -> Factory:
    module, colon, function = name.partition(":")
    parts = [*module.split("."), function]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError(f"baseline.factory={name}: say package.module:function, e.g. nets:small")
    try:
        found = sources(module)
    except ValueError as error:
        raise ValueError(f"baseline.factory={name}: {error}") from error
    return Factory(name, cache.absolute(), digest([name, found]), found)


@lru_cache(maxsize=65536)
def _network(factory: Factory, depth: float, width: float, pixels: int, classes: int) -> Own:
    asked = {"depth": depth, "width": width, "pixels": pixels, "classes": classes}
    path = factory.cache / "own" / f"{_key(factory, asked)}.json"
    found = _kept(path)
    if found is None:
        from ablation.train.own import described  # torch

        found = described(factory.name, factory.sources, **asked)
        with suppress(OSError):  # a cache that cannot be written keeps nothing
            write_json(path, found, setting="cache")
    return Own(**asked, factory=factory.name, sources=factory.sources, **found)


def _key(factory: Factory, asked: Mapping[str, Any]) -> str:
    return digest([FORM, importlib.metadata.version("torch"), factory.key, dict(asked)])


def _kept(path: Path) -> dict[str, Any] | None:
    """What was counted before; None where nothing was, or the file is damaged."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return found if isinstance(found, dict) and found.keys() == COUNTED else None
    except (OSError, ValueError):
        return None


COUNTED = {"digest", "macs", "params", "activations", "grouped", "products"}
