"""Hydra accepts launchers from this namespace only: submitit's for Slurm, with one answer per job."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

from ablation.train.processes import Died


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    """submitit's own gives up every job of a sweep with the first that is lost; here that is a failure of its
    run, and the others are waited for."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit one array and wait for it."""
        from submitit import AutoExecutor

        params = dict(self.params)
        devices = self.config.devices
        params["cpus_per_task"] *= devices  # for each process of a run
        executor = AutoExecutor(
            params.pop("submitit_folder"),
            cluster="slurm",
            slurm_max_num_timeout=params.pop("max_num_timeout"),
        )
        common = {field.name for field in fields(BaseQueueConf)}
        executor.update_parameters(
            **{name if name in common else f"slurm_{name}": value for name, value in params.items()}
        )
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        singletons = Singleton.get_state()
        calls = [
            (list(overrides), "hydra.sweep.dir", number, "", singletons)
            for number, overrides in zip(numbers, job_overrides, strict=True)
        ]
        return [_answer(job) for job in executor.map_array(self, *zip(*calls, strict=True))]


def _answer(job: Any) -> JobReturn:
    try:
        return job.results()[0]
    except Exception:  # submitit's has the whole log in its text
        lost = Died(
            f"Slurm's job {job.job_id} ended without an answer ({job.state}); its log is {job.paths.stdout}"
        )
        return JobReturn(status=JobStatus.FAILED, _return_value=lost)
