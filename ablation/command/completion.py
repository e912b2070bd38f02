"""Tab completion in bash: a script of ours for every door, and Hydra's answers to it."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ablation.command.overrides import arguments

OFF = 'complete -r ablation "${_ablation_doors[@]/#/ablation-}" python python3'
SCRIPT = Path(__file__).with_name("complete.bash")


def completion(words: Sequence[str]) -> str:
    """The bash code that `-sc install=bash` or uninstall=bash asks for; "" for all else, which is Hydra's. Of
    a line that is to be completed Hydra gets what it understands."""
    if not {"-sc", "--shell-completion"} & set(words):
        return ""
    if "uninstall=bash" in words:
        return OFF
    if "install=bash" in words:
        return SCRIPT.read_text("utf-8").replace("PYTHON", shlex.quote(sys.executable))
    os.environ["COMP_LINE"] = understood(os.environ.get("COMP_LINE", ""))
    return ""


def understood(line: str) -> str:
    """A line as typed so far with the overrides that it implies, among them folders of configs of one's own,
    and without what is no override; the last word, which is to be completed, as it stands."""
    program, *words = line.split(" ")
    *before, last = words or [""]
    given = [word for word in before if word not in ("", "-m", "--multirun")]
    overrides = [word for word in arguments(given) if "=" in word]
    return " ".join([program, *overrides, last])
