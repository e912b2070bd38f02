"""Hydra accepts sweepers from this namespace only; what it does lives in ablation.command.sweep."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Expands a study or `-m` overrides, validates every run, drops duplicates and finished ones, launches
    the rest."""

    launcher: Launcher

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        words = [
            word for word in config.hydra.overrides.hydra if not word.startswith("hydra.mode=")
        ]
        # Planning composes, so it needs them too.
        self.own_configs = [word for word in words if word.startswith("hydra.searchpath=")]
        self.chosen = [word for word in words if word not in self.own_configs]
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from ablation.command.sweep import sweep

        return sweep(
            [*self.own_configs, *arguments],
            lambda overrides: self.launcher.launch(overrides, initial_job_idx=0),
            self.chosen,
        )
