"""What went wrong, in one line."""

import re

from ablation.command.shipped import studies


class NotYet(ValueError):
    """What is asked for follows from records that do not exist yet; the message names the command that makes
    them."""


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; Hydra's lists of places that it searched are left out."""
    # Without "[Errno 28] ".
    told = error.strerror if isinstance(error, OSError) and error.filename is None else None
    text = (
        told or str(error).strip() or (str(error.__cause__ or "").strip()) or type(error).__name__
    )
    if isinstance(error, ValueError | OSError) or type(error).__module__.split(".")[0] in (
        "ablation",
        "hydra",
        "omegaconf",
    ):
        text = re.split(r"\n\s*Config search path|\n\s*full_key|\nSee https?:", text)[0]
    else:
        text = f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"
    if unknown := re.match(r"Could not override '(.+?)'", text):
        return (
            f"{unknown[1]}: there is no such setting; python -m ablation.run --cfg job shows all that "
            "there are"
        )
    if bare := re.match(r"Error parsing override '([^=']+)'\s+missing EQUAL", text):
        return _no_setting(bare[1])
    if absent := re.search(r"Unknown plugin class : 'hydra_plugins\.(\w+)\.", text):
        plugin = absent[1].replace("_", "-")
        return f"{plugin} is not installed: pip install {plugin}"
    available = re.sub(r"\n\t", ", ", text).replace(":, ", ": ")
    return re.sub(r"\s*\n\s*", "; ", available)


def _no_setting(word: str) -> str:
    """What a word without a value may have meant."""
    meant = f"study={word}" if word in studies() else f"{word}=VALUE, or GROUP={word}"
    return f"{word}: say {meant}; python -m ablation.run --help lists settings and groups"
