"""Say which network to build at a budget, from the records of a study: its stage table, the accuracy to
expect, what cannot be told from it, and the runs that would tell. Trains nothing.

python -m ablation.recommend study=quick budget.times=4
python -m ablation.recommend study=quick budget.params=20000
python -m ablation.recommend study=quick budget.step_seconds=0.01     after python -m ablation.bench calibrate
"""

from hydra import compose
from omegaconf import OmegaConf

from ablation.command.budget import Budget
from ablation.command.planning import plan
from ablation.door import door
from ablation.measure.forecast import Forecast
from ablation.runs.checks import build
from ablation.show.advice import advise, text
from ablation.show.results import Results


def show(words: list[str], multirun: bool) -> None:
    """Print the recommendation of a plan's records."""
    limits = [word for word in words if word.startswith("budget.")]
    budget = build(Budget, OmegaConf.to_container(compose("config", limits).budget), "budget")  # type: ignore[arg-type]
    wanted = plan([word for word in words if word not in limits])
    print(text(advise(Results.of(wanted), budget, Forecast(wanted).step_seconds)))


def main() -> None:
    """Entry point."""
    door(__doc__, show)


if __name__ == "__main__":
    main()
