"""Checks and measurements on one GPU, or smaller on a CPU: see tests/gpu.sh, which starts this."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.gpu import mps
from tests.gpu.checks import ABOUT, Found, Site, carry_out

# Seconds that each part may take; one that ends early leaves nothing to the next.
PARTS: Mapping[str, float] = {
    "correctness": 60,
    "step": 120,
    "many": 120,
    "studies": 480,
}


def main(words: Sequence[str] | None = None) -> int:
    """Do the parts that are named, all where none is; 1 where a check failed or was not reached, else 0."""
    asked = parser().parse_args(words)
    asked.out.mkdir(parents=True, exist_ok=True)
    answers: dict[str, Found] = {}
    for part in PARTS if "all" in asked.parts else asked.parts:
        with tempfile.TemporaryDirectory() as folder:
            ends = time.monotonic() + (asked.seconds or PARTS[part])
            site = Site(asked.device, Path(folder), asked.out, asked.data, ends)
            try:
                found = carry_out(f"tests.gpu.{part}", site, asked.out / f"{part}.json")
            finally:
                mps.stop(site.folder)
        answers |= {f"{part}, {name}": one for name, one in found.items() if name != ABOUT}
        print(*lines(part, found), sep="\n", flush=True)
    failed = sum(not answer["ok"] for answer in answers.values())
    print(f"{len(answers)} checks, {failed} failed or not reached; {asked.out}")
    return int(failed > 0)


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    found = argparse.ArgumentParser("tests/gpu.sh", description=__doc__)
    chosen = ["all", *PARTS]
    found.add_argument(
        "parts", nargs="*", metavar="part", choices=chosen, default="all", help=", ".join(chosen)
    )
    found.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    found.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder of answers")
    found.add_argument("--data", help="folder of Imagenette-96, for the reference study")
    found.add_argument("--seconds", type=float, help="of each part, in place of its own")
    return found


def lines(part: str, found: Mapping[str, Found]) -> list[str]:
    """One for each check: what a reader wants first, then all that it found."""
    shown = []
    for name, answer in found.items():
        kept = {key: value for key, value in answer.items() if key not in ("ok", "trace")}
        state = "" if name == ABOUT else "ok " if answer["ok"] else "FAILED "
        shown.append(f"{part}: {state}{name} {json.dumps(kept)}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
