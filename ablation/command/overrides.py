"""Overrides: as people type them, and as a launcher's job needs them."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ablation.command.shipped import CONF, studies
from ablation.runs.arms import Arm
from ablation.theory.scaling import RULES, Rule

# Choices that settings imply.
IMPLIED = (
    ("data", "custom", {"data.name", "data.path"}),
    ("baseline", "file", {"baseline.path"}),
    ("baseline", "factory", {"baseline.factory"}),
)
# The default baseline and recipe were made for the default images; others get these.
DEFAULT_IMAGES = "stripes"
OF_OTHER_IMAGES = (("baseline", "mini"), ("recipe", "short"))
SMALL_IMAGES = ("cifar10", "cifar100")  # of 32 px, at which mini starts
OF_SMALL_IMAGES = (("baseline", "mini-10"), ("recipe", "short"))
PATHS = (
    *("data.path", "baseline.path", "scaling.file", "init"),
    *("runs", "results", "cache", "to", "run"),
)
SWEPT = ("data.path", "init")  # paths of which several make a sweep
GROUPS = ("study", "recipe", "data", "scaling", "baseline")
# What Hydra reads as a number, a list and the like.
NO_NAME = re.compile(r"[-+]?(\d[\d_.]*(e[-+]?\d+)?|inf|nan)|true|false|null|\[.*\]|\{.*\}", re.I)
# A value of Hydra's, alone or in a list or mapping: quoted, or from its first letter to its last.
SIGNS = r"\s,:=()\[\]{}\"'"
QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
VALUE = re.compile(rf"{QUOTED}|[^{SIGNS}]+(?: +[^{SIGNS}]+)*")
# What Hydra takes for text as it stands.
PLAIN = re.compile(r"null|(?!(?i:true|false)$)[A-Za-z_./][A-Za-z0-9_./:@%+-]*")


def arguments(words: Sequence[str]) -> list[str]:
    """Overrides as typed, with paths quoted for Hydra, and before them the choices that they imply: a name or
    path of images means data=custom, a table's baseline=file, a function's baseline=factory; images other
    than `stripes` mean baseline=mini (of CIFAR mini-10) and recipe=short.

    --config-dir FOLDER, Hydra's flag for configs of one's own, becomes an override, so that every door, job
    and printed command has it.
    """
    _refuse_no_folder()
    words, implied = _own_configs(words)
    words = [_letters_quoted(_path_quoted(word)) for word in words]
    for word in words:
        _refuse_no_name(word)
    given = {key_of(word): word.partition("=")[2] for word in words}
    follow = [(group, choice) for group, choice, keys in IMPLIED if given.keys() & keys]
    if _other_images(given):
        follow += OF_SMALL_IMAGES if _small_images(given) else OF_OTHER_IMAGES
    sized = given.get("size", "small") != "small"  # such a size has images, baseline and recipe
    chosen = given.keys() | ({"data", "baseline", "recipe"} if sized else set())
    if follow:
        chosen |= _settled_by(given.get("study", ""))
    for group, choice in follow:
        if group not in chosen:
            implied.append(f"{group}={choice}")
            chosen |= {group}
    # Hydra wants its flags on one side.
    first = next((i for i, word in enumerate(words) if re.match(r"[\w.@/]+=", word)), len(words))
    return [*words[:first], *implied, *words[first:]]


def _other_images(given: Mapping[str, str]) -> bool:
    """Whether images other than the default are asked for, and only such; not of a study of one's own, which
    has chosen for itself."""
    if "study" in given and given["study"] not in studies():
        return False
    if "data" in given:
        return DEFAULT_IMAGES not in given["data"].split(",")
    return bool(given.keys() & {"data.name", "data.path"})


def _small_images(given: Mapping[str, str]) -> bool:
    """Whether all images that are asked for are small ones."""
    return set(given.get("data", "").split(",")) <= set(SMALL_IMAGES)


def _settled_by(study: str) -> set[str]:
    """Groups that the parts of a study that ships choose themselves."""
    if study not in studies():
        return set()
    parts = yaml.safe_load((CONF / "study" / f"{study}.yaml").read_text())["study"].get("parts", [])
    return {key_of(word) for part in parts for word in part.get("overrides", [])}


def _refuse_no_folder() -> None:
    """Raises FileNotFoundError where the command was given in a folder that is no more."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise FileNotFoundError("the working folder was deleted; cd to another") from None


def _refuse_no_name(word: str) -> None:
    """Raises ValueError where a group of files is given what is no file's name."""
    group, _, value = word.partition("=")
    if group in GROUPS and NO_NAME.fullmatch(value):
        raise ValueError(
            f"{word}: {group} is chosen by name; python -m ablation.run --help lists the names"
        )


def _path_quoted(word: str) -> str:
    """An override of a path whose value no grammar reads: a comma in it sweeps over images and starts alone,
    and only where that path does not exist."""
    key, _, value = word.partition("=")
    if key not in PATHS or PLAIN.fullmatch(value) or value[:1] in ("", '"', "'") or "${" in value:
        return word
    if key in SWEPT and "," in value and not Path(value).expanduser().exists():
        parts = value.split(",")
        return f"{key}={','.join(part if part == 'null' else quoted(part) for part in parts)}"
    return f"{key}={quoted(value)}"


def _letters_quoted(word: str) -> str:
    """An override whose values with letters beyond ASCII, which Hydra's grammar does not know, are quoted."""
    key, equals, value = word.partition("=")
    return key + equals + VALUE.sub(_if_beyond_ascii, value)


def _if_beyond_ascii(found: re.Match[str]) -> str:
    """A value as it stands, or quoted."""
    text = found[0]
    return text if text.isascii() or text[0] in "\"'" else quoted(text)


def _own_configs(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without --config-dir, and the override that does the same; raises ValueError where there is
    no such folder."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        flags, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError:
        raise ValueError("--config-dir: say which folder, --config-dir FOLDER") from None
    if flags.config_dir is None:
        return rest, []
    if not Path(flags.config_dir).is_dir():
        raise ValueError(
            f"--config-dir {flags.config_dir}: no such folder; it should hold groups of your own, such as "
            "recipe/mine.yaml"
        )
    return rest, [f"hydra.searchpath=[{quoted(flags.config_dir)}]"]


SET_BY_STUDY = ("scaling", "phi", "seed")  # what a study gives itself


def beside_study(overrides: Sequence[str]) -> list[str]:
    """Overrides that another study takes too: none that chooses a study, or that a study gives itself."""
    return [
        word for word in overrides if key_of(word).split(".")[0] not in ("study", *SET_BY_STUDY)
    ]


def key_of(override: str) -> str:
    """The setting that an override is of."""
    return override.split("=")[0].lstrip("+~")


def arm_overrides(wanted: Arm) -> tuple[str, ...]:
    """The overrides that make a single run of this arm."""
    if wanted.coefficients is not None:
        multipliers = (
            f"scaling.{name}={value!r}" for name, value in vars(wanted.coefficients).items()
        )
        return (
            "scaling=coefficients",
            f"scaling.name={quoted(wanted.name)}",
            *multipliers,
            "cost=nominal",
        )
    assert wanted.rule is not None
    return (*_rule_overrides(wanted.rule), f"phi={wanted.phi!r}", f"cost={wanted.cost}")


def _rule_overrides(rule: Rule) -> tuple[str, ...]:
    if RULES.get(rule.name) == rule:
        return (f"scaling={rule.name}",)
    triple = (f"scaling.{name}={getattr(rule, name)!r}" for name in ("alpha", "beta", "gamma"))
    return ("scaling=compound", f"scaling.name={quoted(rule.name)}", *triple)


def quoted(text: str) -> str:
    """Text as one value of Hydra's grammar, in which a backslash is itself unless a quote follows."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    ending = re.search(r"\\*\Z", escaped)[0]
    return f'"{escaped}{ending}"'
