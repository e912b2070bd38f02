"""A workspace on wandb.ai with the charts of a project: accuracy against FLOPs, verdicts, learning curves.

python -m ablation.command.workspace ENTITY/PROJECT      needs pip install wandb-workspaces, and wandb login

Its panels are built and looked at without a network; saving them has not been tried, for want of an account.
"""

import importlib.util
import sys
from typing import Any

from ablation.command.errors import one_line
from ablation.command.tracked import TITLE

CURVES = ("train/loss", "val/accuracy")


def workspace(entity: str, project: str) -> Any:
    """The workspace, not saved yet: of studies their charts and tables, of runs accuracy over counted costs
    and curves over training FLOPs, grouped by rule."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    costs = [
        panels.ScatterPlot(
            title=f"accuracy against {name}",
            x=panels.Config(name),
            y=panels.SummaryMetric("accuracy"),
            log_x=True,
        )
        for name in ("macs", "params")
    ]
    curves = [
        panels.LinePlot(title=name, x="flops", y=[name], log_x=True, groupby=panels.Config("rule"))
        for name in CURVES
    ]
    kept = [panels.MediaBrowser(media_keys=[key]) for key in (TITLE, "verdicts", "networks")]
    sections = [
        ws.Section(name=name, panels=shown, is_open=True)
        for name, shown in {"studies": kept, "costs": costs, "curves": curves}.items()
    ]
    grouped = ws.RunsetSettings(groupby=[ws.Config("rule")])
    return ws.Workspace(
        entity=entity,
        project=project,
        name="ablation",
        sections=sections,
        runset_settings=grouped,
    )


def main() -> None:
    """Entry point; what goes wrong is one line and status 1."""
    entity, _, project = " ".join(sys.argv[1:]).partition("/")
    if not project:
        sys.exit(
            "error: say whose project, as in python -m ablation.command.workspace ENTITY/PROJECT"
        )
    if importlib.util.find_spec("wandb_workspaces") is None:
        sys.exit("error: wandb-workspaces is not installed: pip install wandb-workspaces")
    try:
        print(workspace(entity, project).save().url)
    except Exception as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
