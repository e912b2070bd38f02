"""Take a trained network out of the tool: a folder with its module as a file of plain PyTorch, its weights,
what it is, and a card.

python -m ablation.run scaling=compound phi=2 keep_weights=true
python -m ablation.export scaling=compound phi=2 to=compound-2            the network that these words train
python -m ablation.export study=quick run=0123456789ab to=best onnx=true  one of many, as ONNX, too
"""

import shlex
from pathlib import Path

from ablation.command.overrides import key_of
from ablation.command.planning import OF_EXPORT, Job, Plan, plan
from ablation.door import door
from ablation.runs.checks import counted
from ablation.runs.records import kept_weights, read_record, weights_path
from ablation.theory.own import Own

SHOWN = 3  # runs that are named where one has to be picked


def show(words: list[str], multirun: bool) -> None:
    """Export what the overrides ask for; raises ValueError where that is not one run with its weights."""
    wanted = plan(words)
    if not wanted.taken.to:
        raise ValueError("to= is not set: say which folder to write, to=FOLDER")
    job = chosen(wanted)
    entry, execution = job.planned, wanted.execution
    if isinstance(entry.run.network, Own):
        raise ValueError(
            f"baseline.factory={entry.run.network.factory}: its module is a file of yours already; its "
            f"weights are {weights_path(execution.runs, entry.run.id)}, where keep_weights=true has kept them"
        )
    record = read_record(execution.runs, entry.run)
    if record and record.status == "diverged":
        raise ValueError(
            f"{entry.label} (run {entry.run.id}) diverged: its weights are of no use; take another run"
        )
    weights = kept_weights(execution.runs, entry.run)
    if not record or not weights:
        lacks = f"has no {'weights' if record else 'record'} below {execution.runs}"
        raise ValueError(
            f"{entry.label} (run {entry.run.id}) {lacks}; {training(wanted, job, words)}"
        )
    # Torch, only where there is something to take.
    from ablation.train.exported import export, trained

    to = Path(wanted.taken.to).expanduser()
    export(trained(entry, record, weights, execution.cache), to, wanted.taken.onnx)
    split = "validation" if record.accuracy is None else "evaluation"
    files = ", ".join(sorted(file.name for file in to.iterdir()))
    print(f"{entry.label} (run {entry.run.id}): {record.reported:.1%} on the {split} split")
    print(f"{to}: {files}; README.md says how to use it")


def chosen(wanted: Plan) -> Job:
    """The one run that is meant; raises ValueError where there are several, or not the one that is named."""
    jobs: dict[str, Job] = {}
    for job in wanted.jobs:
        jobs.setdefault(job.planned.run.id, job)
    named = wanted.taken.run and Path(wanted.taken.run).name  # its folder will do
    if named in jobs:
        return jobs[named]
    if named is None and len(jobs) == 1:
        return next(iter(jobs.values()))
    runs = wanted.execution.runs
    ready = sorted(jobs, key=lambda run_id: not kept_weights(runs, jobs[run_id].planned.run))
    some = ", ".join(f"run={run_id} ({jobs[run_id].planned.label})" for run_id in ready[:SHOWN])
    asked = f"the words ask for {counted(len(jobs), 'run')}"
    if named:
        raise ValueError(
            f"run={named}: not among these; {asked}, such as {some}; give the words that trained it, too, "
            f"as in study=quick run={named}"
        )
    raise ValueError(f"{asked}; pick one, such as {some}")


def training(wanted: Plan, job: Job, words: list[str]) -> str:
    """The command that trains one run and keeps its weights."""
    own = [word for word in words if key_of(word) not in (*OF_EXPORT, "keep_weights")]
    if len({each.planned.run.id for each in wanted.jobs}) > 1:
        study = ["study.name=null"] if wanted.name != "sweep" else []
        own = [word for word in job.overrides if key_of(word) not in ("expect", "keep_weights")]
        own += study
    return (
        f"this trains it: {shlex.join(['python', '-m', 'ablation.run', *own, 'keep_weights=true'])}"
    )


def main() -> None:
    """Entry point."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
