"""Which network to build at a budget, as a study's records say it: what each rule's network there is expected
to reach, which of them cannot be told from the best, and the runs that would tell."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from ablation.command.budget import AXES, Budget, Measure, affordable, baseline_macs
from ablation.command.overrides import key_of
from ablation.judge.power import MOST_SEEDS, seeds_between
from ablation.judge.questions import Entrant, Scope, macs_of
from ablation.judge.recommend import Bend, Place, Standing, at, bend, lines, standings
from ablation.judge.verdicts import MARGIN
from ablation.runs import checks
from ablation.runs.arms import Planned, names_a_rule, starts
from ablation.runs.config import Run
from ablation.runs.records import kept_weights
from ablation.show.results import Results
from ablation.show.tables import stage_row
from ablation.show.words import listed
from ablation.theory.cost import cost
from ablation.theory.own import Own
from ablation.theory.scaling import RULES, SINGLE, Coefficients, Rule

SHOWN = 10  # networks of a table
FEWEST = 3  # seeds with which a difference has an interval that is of use
# What a printed command says itself.
CHOSEN = (
    *("budget.", "scaling", "phi", "seed", "cost"),
    *(f"study.{name}" for name in ("rules", "phis", "coefficients", "seeds")),
)


@dataclass(frozen=True)
class Option:
    """A network that a budget buys: a planned run of it, its place among the trained ones, and how many runs
    of it there are."""

    entry: Planned
    place: Place
    runs: int

    @property
    def source(self) -> str:
        """What its expected accuracy stands on."""
        if self.runs:
            return checks.counted(self.runs, "seed")
        if self.place.outside:
            return f"{self.place.outside:.2g} doublings outside what was trained"
        return "between trained networks"

    @property
    def called(self) -> str:
        """Its rule, or coefficients, and its cost."""
        times = cost(self.entry.run.network).macs / baseline_macs(self.entry)
        if times == 1:
            return "the baseline"
        arm = self.entry.arm
        if arm.rule is None:
            return f"{arm.label} at {times:.3g}x"
        return f"{arm.name}{' alone' if arm.name in SINGLE else ''} at {times:.3g}x"


@dataclass(frozen=True)
class Advice:
    """What to build at a budget: options by name with their standings, the best first; absent: rules without
    a network within it, and why; considered: how many networks within it there were, of which each rule's
    best are options."""

    results: Results
    budget: Budget
    scope: Scope
    options: Mapping[str, Option]
    standings: Sequence[Standing]
    absent: Mapping[str, str]
    considered: int

    @property
    def best(self) -> Option:
        """The network with the highest expected accuracy."""
        return self.options[self.standings[0].name]

    @property
    def untold(self) -> list[str]:
        """Names of those that cannot be told from the best."""
        return [each.name for each in self.standings[1:] if not each.told]


def advise(results: Results, budget: Budget, step_seconds: Measure) -> Advice:
    """What the records of a plan recommend at a budget; step_seconds: of a run's network.

    Raises ValueError for a study without records, one of several parts of which none is chosen, and a budget
    that buys nothing.
    """
    scope = _scope(results, budget)
    line = lines(scope)
    bending = bend(scope, line)
    bought, absent = affordable(_with_runs(results, scope, line), budget, step_seconds)
    options: dict[str, Option] = {}
    for name, entries in bought.items():
        best = _best(scope, line.get(name, []), bending, entries)
        if best is None:
            absent[name] = "only one network of it was trained, which says nothing of others"
            continue
        # Rules may meet in one network, most often in the baseline.
        if best.entry.run.network not in [each.entry.run.network for each in options.values()]:
            options[name] = best
    if not options:
        why = "; ".join(f"{rule}: {reason}" for rule, reason in absent.items())
        raise ValueError(
            f"budget.{budget.axis}={budget.limit:g}: buys no network of {results.wanted.name} ({why}); "
            "take a larger one"
        )
    places = {name: option.place for name, option in options.items()}
    order = standings(scope, places, bending)
    considered = len({entry.run.network for entries in bought.values() for entry in entries})
    return Advice(results, budget, scope, options, order, absent, considered)


def _scope(results: Results, budget: Budget) -> Scope:
    """The part of a study that is asked."""
    wanted = results.wanted
    parts = results.scopes
    if not parts:
        raise ValueError(f"{wanted.name} has no records to judge by; {wanted.through('run')}")
    for name in ("baseline", "setting"):
        known = list(dict.fromkeys(getattr(scope, name) for scope in parts))
        chosen = getattr(budget, name) or (known[0] if len(known) == 1 else "")
        if chosen not in known:
            way = f"""'budget.{name}="{known[0]}"'"""
            raise ValueError(
                f"budget.{name}={chosen}: {wanted.name} has {checks.listed(known)}; say which, {way}"
            )
        parts = [scope for scope in parts if getattr(scope, name) == chosen]
    # A study may have networks at both kinds of cost; those at matched cost are compared.
    return next((scope for scope in parts if scope.cost == "matched"), parts[0])


def _with_runs(
    results: Results, scope: Scope, line: Mapping[str, Sequence[Entrant]]
) -> list[Planned]:
    """The planned runs of a scope whose networks have a place to be judged by."""
    placed = {(arm.rule, arm.label) for arms in line.values() for arm in arms}
    placed |= {
        (arm.rule, arm.label)
        for arm in scope.arms
        if arm.rule == "coefficients" and scope.sample.runs[arm.place]
    }
    return [
        entry
        for entry in results.wanted.planned
        if (entry.baseline, entry.setting) == (scope.baseline, scope.setting)
        and (entry.arm.name, entry.arm.label) in placed
    ]


def _best(
    scope: Scope, line: Sequence[Entrant], bending: Bend, entries: Sequence[Planned]
) -> Option | None:
    """Of one rule's networks that which is expected to reach most; None where of none it can be said."""
    options = [_option(scope, line, bending, entry) for entry in entries]
    return max(
        (option for option in options if option),
        key=lambda option: option.place.value(scope),
        default=None,
    )


def _option(scope: Scope, line: Sequence[Entrant], bending: Bend, entry: Planned) -> Option | None:
    """A network at its place, whose own mean answers where it was trained; None where one other network is
    all that its line has."""
    macs = cost(entry.run.network).macs
    named = [arm for arm in scope.arms if arm.rule == entry.arm.name == "coefficients"]
    same = [arm for arm in named if arm.label == entry.arm.label]
    own = same or [arm for arm in line if arm.macs == macs]
    if not own and len(line) < 2:
        return None
    if not own:
        return Option(entry, at(scope, line, macs, bending), 0)
    return Option(entry, Place.trained(scope, own[0]), int(scope.sample.runs[own[0].place]))


def at_largest(results: Results) -> str:
    """The recommendation at the largest cost that every rule of a study reaches, in a sentence; "" where it
    has not two rules in one part to choose from."""
    parts = results.scopes
    found = lines(parts[0]) if len(parts) == 1 and not results.wanted.search else {}
    found = {rule: line for rule, line in found.items() if len(line) > 1}
    if len(found) < 2:
        return ""
    largest = min((line[-1] for line in found.values()), key=macs_of)
    matched = parts[0].cost == "matched"
    budget = Budget(times=largest.budget) if matched else Budget(macs=largest.macs)
    return sentence(advise(results, budget, _no_seconds))


def _no_seconds(_: Run) -> float:
    """Of a budget that is not of seconds."""
    return math.nan


# ---------------------------------------------------------------- in words


def sentence(advice: Advice) -> str:
    """What to build, what to expect of it, and what cannot be told from it."""
    best, first = advice.best, advice.standings[0]
    split = "evaluation" if best.entry.run.evaluate else "validation"
    limit = advice.budget.limit
    amount = f"{limit:,.0f}" if limit.is_integer() else f"{limit:,g}"
    untold = listed([advice.options[name].called for name in advice.untold])
    others = f"not told from it: {untold}" if untold else "all others told from it"
    if len(advice.options) == 1:
        others = "no other network within it"
        if advice.considered > 1:
            others = f"of {advice.considered} networks within it none is expected to reach more"
    return (
        f"within {amount} {AXES[advice.budget.axis]} build {best.called}: {_expected(first)} of {split} "
        f"images expected ({best.source}); {others}"
    )


def _expected(standing: Standing) -> str:
    """`88.1 % (87.0 to 89.2)`, without the interval where nothing says how wide it is."""
    value = f"{min(max(standing.value, 0), 100):.1f} %"
    if math.isnan(standing.low):
        return value
    return f"{value} ({max(standing.low, 0):.1f} to {min(standing.high, 100):.1f})"


def text(advice: Advice) -> str:
    """What a person reads at the terminal."""
    missing = len(advice.results.missing)
    parts = [
        f"{advice.results.wanted.name}: {sentence(advice)}.",
        stages(advice.best.entry),
        tabulate(rows(advice), headers="keys", disable_numparse=True),
        *(
            f"no network of {rule}: {reason}"
            for rule, reason in advice.absent.items()
            if names_a_rule(rule)
        ),
        *([f"{checks.counted(missing, 'run')} of the study missing"] if missing else []),
        *starts(advice.results.wanted.planned),
        "\n".join(f"{what}: {command}" for what, command in commands(advice)),
    ]
    return "\n\n".join(parts)


def stages(entry: Planned) -> str:
    """Coefficients and stage table of a network, or the call of the user's function that builds it."""
    network, real = entry.run.network, entry.point.realised
    counted = cost(network)
    head = (
        f"d={real.depth:.3g} w={real.width:.3g} r={real.resolution:.3g}: {network.pixels} px, "
        f"{counted.macs:,} multiply-adds, {counted.params:,} parameters, {counted.activations:,} activations"
    )
    if isinstance(network, Own):
        call = f"depth={network.depth:g}, width={network.width:g}, pixels={network.pixels}"
        return f"{head}\n{network.factory}({call}, classes={network.classes})"
    table = [stage_row(stage) for stage in network.stages]
    ends = f"stem {network.stem} channels" + (f", head {network.head}" if network.head else "")
    return f"{head}\n{tabulate(table, headers='keys', disable_numparse=True)}\n{ends}"


def rows(advice: Advice) -> list[dict[str, str]]:
    """One row for each option, the best first."""
    found = []
    for standing in advice.standings[:SHOWN]:
        option = advice.options[standing.name]
        counted = cost(option.entry.run.network)
        first = standing is advice.standings[0]
        found.append(
            {
                "network": option.called,
                "px": str(option.entry.run.network.pixels),
                "MMACs": f"{counted.macs / 1e6:,.2f}",
                "k params": f"{counted.params / 1e3:,.1f}",
                "k activations": f"{counted.activations / 1e3:,.1f}",
                "expected": _expected(standing),
                "behind the best, points": "" if first else _behind(standing),
                "from": option.source,
            }
        )
    return found


def _behind(standing: Standing) -> str:
    """How far, with the simultaneous interval."""
    if math.isnan(standing.behind_low):
        return f"{standing.behind:.1f}"
    return f"{standing.behind:.1f} ({standing.behind_low:+.1f} to {standing.behind_high:+.1f})"


def commands(advice: Advice) -> list[tuple[str, str]]:
    """What to do next, each with its command: the runs that would tell the best from what is not told from
    it, and the network with its weights."""
    best = advice.best
    near = [best, *(advice.options[name] for name in advice.untold)]
    entries = [option.entry for option in near]
    seeds = sorted({entry.run.seed for entry in advice.results.wanted.planned})
    found = [_taking(advice, best.entry)]
    if not all(option.runs for option in near):
        return [("train what is only predicted", _run(advice, entries, seeds)), *found]
    if len(near) == 1:
        return found
    needed = max(_seeds(advice), len(seeds) + 1)
    if math.isinf(needed):
        return [("not told apart by", f"{MOST_SEEDS} seeds; choose by cost"), *found]
    more = [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + int(needed) - len(seeds))]
    return [(f"{len(more)} seeds may tell", _run(advice, entries, more)), *found]


def _taking(advice: Advice, best: Planned) -> tuple[str, str]:
    """How the network leaves: as it was trained, with the first seed whose weights lie there, or trained once
    more."""
    wanted = advice.results.wanted
    same = [entry.run for entry in wanted.planned if entry.run.network == best.run.network]
    kept = [run for run in same if kept_weights(wanted.execution.runs, run)]
    if not kept:
        again = _run(advice, [best], [best.run.seed], "keep_weights=true")
        return "train it and keep its weights", again
    first = min(kept, key=lambda run: run.seed)
    own = [word for word in shlex.split(wanted.command) if not word.startswith("budget.")]
    words = [*own, f"run={first.id}", f"to={first.id}"]
    return "take it home", f"python -m ablation.export {shlex.join(words)}"


def _seeds(advice: Advice) -> float:
    """Seeds, in all, that tell every rival from the best with a good chance; FEWEST where one seed says
    nothing of that."""
    best = advice.best.place.weights
    weights = [best - advice.options[name].place.weights for name in advice.untold]
    estimates = [advice.scope.sample.contrast(each) for each in weights]
    known = [estimate for estimate in estimates if math.isfinite(estimate.error)]
    comparisons = len(advice.standings) - 1
    needed = [seeds_between(estimate, MARGIN, comparisons)[0] for estimate in known]
    return max(needed, default=FEWEST)


def _run(advice: Advice, entries: Sequence[Planned], seeds: Sequence[int], *more: str) -> str:
    """The command that trains these networks with these seeds, in the conditions of the study."""
    wanted = advice.results.wanted
    arms = [entry.arm for entry in entries]
    more = (*wanted.stored, *more)
    given = (*CHOSEN, *map(key_of, more))
    own = [word for word in shlex.split(wanted.command) if not key_of(word).startswith(given)]
    ruled = [arm for arm in arms if arm.rule]
    rules = list(dict.fromkeys(arm.rule for arm in ruled))
    phis = ",".join(dict.fromkeys(f"{arm.phi:.9g}" for arm in ruled))
    costs = [f"cost={ruled[0].cost}"] if ruled else []
    numbers = ",".join(map(str, seeds))
    if wanted.name != "sweep":
        rows = ",".join(_mapping(arm.coefficients) for arm in arms if arm.coefficients)
        named = ",".join(rule.name if shipped(rule) else _mapping(rule) for rule in rules)
        chosen = [f"study.rules=[{named}]", f"study.phis=[{phis}]", f"study.coefficients=[{rows}]"]
        search = ["study.grid=null"] if wanted.search else []
        words = [*own, *costs, *search, *chosen, f"study.seeds=[{numbers}]", *more]
        return f"python -m ablation.run {shlex.join(words)}"
    if not all(shipped(rule) for rule in rules):
        return f"{wanted.through('run')} {shlex.join(more)}".rstrip()
    named = ",".join(rule.name for rule in rules)
    words = [*own, *costs, f"scaling={named}", f"phi={phis}", f"seed={numbers}", *more]
    return f"python -m ablation.run -m {shlex.join(words)}"


def shipped(rule: Rule) -> bool:
    """Whether a rule is known by its name."""
    return RULES.get(rule.name) == rule


def _mapping(value: Coefficients | Rule) -> str:
    """Coefficients or a rule as a mapping in Hydra's grammar."""
    said = {
        name: f'"{each}"' if isinstance(each, str) else f"{each:.17g}"
        for name, each in vars(value).items()
    }
    return f"{{{','.join(f'{name}:{each}' for name, each in said.items())}}}"
