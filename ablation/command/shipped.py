"""Where the configuration that ships lies, and which studies are in it."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# conf/ lies beside the package in a checkout and inside it once installed.
CONF = next(
    path for path in (PACKAGE.parent / "conf", PACKAGE / "conf") if (path / "config.yaml").exists()
)


def studies() -> list[str]:
    """Names of the study files that ship."""
    return sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
