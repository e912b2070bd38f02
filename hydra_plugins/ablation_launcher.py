"""Hydra accepts launchers from this namespace only: runs side by side on this machine, each in a process of
its own (ablation.train.processes)."""

from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from ablation.command.compose import execution
from ablation.runs.checks import within
from ablation.runs.config import Execution
from ablation.train.processes import alone, side_by_side


class LocalLauncher(Launcher):
    """n_jobs: processes at once; None for as many as the machine carries."""

    def __init__(self, n_jobs: int | None = None) -> None:
        if n_jobs is not None:
            within("hydra.launcher.n_jobs", n_jobs, 1)
        self.n_jobs = n_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """One answer per job, in order; that of a process that died is a failure with its reason."""
        setup_globals()
        width = self.n_jobs or self._capacity(job_overrides[0])
        composed = (
            self._composed(overrides, number)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        )
        answers = side_by_side(
            _job, ((self.context, self.task, config) for config in composed), width
        )
        return [
            answer
            if isinstance(answer, JobReturn)
            else JobReturn(status=JobStatus.FAILED, _return_value=answer)
            for answer in answers
        ]

    def _capacity(self, overrides: Sequence[str]) -> int:
        """Asked of a fresh process: this one starts without torch, and the server stays without CUDA."""
        return alone(_ask_capacity, execution(self._composed(overrides, 0)))

    def _composed(self, overrides: Sequence[str], number: int) -> DictConfig:
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config


def _ask_capacity(where: Execution) -> int:
    from ablation.train.devices import capacity

    return capacity(where)


def _job(context: HydraContext, task: TaskFunction, config: DictConfig) -> JobReturn:
    """One job as Hydra's own launchers run it, here in a fresh process."""
    setup_globals()
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=context,
        config=config,
        task_function=task,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
