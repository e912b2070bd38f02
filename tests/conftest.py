"""What the tests share: a network that trains in a second, records in a temporary folder, W&B off unless a
test is about it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; before torch is imported
ROOT = Path(__file__).parents[1]
TINY = (
    "recipe.epochs=2",
    "recipe.warmup_epochs=0.5",
    "recipe.validate_every=1",
    "data.train_size=64",
    "data.validation_size=50",
    "data.evaluation_size=60",
)


# A user's own, as the guide has them.
FILES = dict(
    re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
)
FILES |= re.findall(
    r"```python\n# (\S+\.py)\n(.*?)```", (ROOT / "docs" / "bring.md").read_text(), re.S
)
SMALL = {"train": 300, "evaluation": 100}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of decoded images that the whole session and its processes share, with small embedded sets in
    it, so that none is rendered."""
    return with_small_sets(tmp_path_factory.mktemp("cache"))


def with_small_sets(folder: Path) -> Path:
    """A folder as a cache that holds every embedded set, of few images."""
    from ablation.images.cache import decoded
    from ablation.images.embedded import EMBEDDED
    from ablation.runs.config import Data

    with pytest.MonkeyPatch.context() as patch:
        for name, made in EMBEDDED.items():
            patch.setattr(made, "SIZES", SMALL)
            decoded(Data(name, made.CLASSES, made.SIDE, generator=made.VERSION), folder)
    return folder


@pytest.fixture(autouse=True)
def _small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process embedded sets have few images, so that rendering takes no time."""
    from ablation.images.embedded import EMBEDDED

    for made in EMBEDDED.values():
        monkeypatch.setattr(made, "SIZES", SMALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the guide, away from the project, as the current one."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def door(tmp_path: Path, cache: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m ablation.<name> words...` with records, figures and cache in temporary folders."""

    def call(
        name: str, *words: str, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        folders = [f"runs={tmp_path / 'runs'}", f"results={tmp_path / 'results'}"]
        environment = {
            **os.environ,
            "ABLATION_CACHE": str(cache),
            "PYTHONWARNINGS": "ignore",
            **env,
        }
        command = [sys.executable, "-m", f"ablation.{name}", *words, *folders]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return call
