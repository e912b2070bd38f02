"""What a study recommends at a budget: held against networks that it had not seen, and each printed command
against the plan."""

import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablation.command.budget import Budget
from ablation.command.planning import plan
from ablation.door import hydra
from ablation.judge.questions import scopes
from ablation.judge.recommend import Place, at, bend, interval, lines, standings
from ablation.runs.records import weights_path
from ablation.show.advice import Advice, advise, at_largest, commands, rows, sentence, text
from ablation.show.results import Results
from tests.conftest import ROOT

FIGURE8 = ("study=figure8", f"runs={ROOT}/results/stripes/figure8")
PHOTOGRAPHS = ("study=figure8", "size=reference", f"runs={ROOT}/results/reference/figure8")
SINGLE = ("study=figure3", f"runs={ROOT}/results/stripes/figure3")


def results(*words: str) -> Results:
    """Of a study that ships."""
    with hydra():
        return Results.of(plan(words))


def advice(*words: str, **limits: object) -> Advice:
    """What it recommends."""
    return advise(results(*words), Budget(**limits), lambda run: math.nan)  # type: ignore[arg-type]


def test_intervals_hold_networks_that_the_study_had_not_seen() -> None:
    inside = []
    for words in (FIGURE8, PHOTOGRAPHS, SINGLE):
        [scope] = scopes(results(*words).frame)
        found = lines(scope)
        for rule, line in found.items():
            for left_out in line[1:]:
                others = [arm for arm in line if arm is not left_out]
                bending = bend(scope, found | {rule: others})
                predicted = at(scope, others, left_out.macs, bending)
                assert predicted.reach != 0
                own = Place(np.eye(scope.sample.count)[left_out.place], 0.0, 0.0)
                low, high = interval(scope, [(1, predicted), (-1, own)], bending)
                inside.append(low <= 0 <= high)
    assert len(inside) == 35 and sum(inside) >= 33  # 94 %: intervals of 95 %


def test_a_trained_network_is_its_own_prediction() -> None:
    [scope] = scopes(results(*FIGURE8).frame)
    found = lines(scope)
    bending = bend(scope, found)
    for line in found.values():
        for arm in line:
            place = at(scope, line, arm.macs, bending)
            mean = scope.sample.mean(arm.place)
            assert place.reach == 0 and place.outside == 0
            assert np.allclose(interval(scope, [(1, place)], bending), np.ravel(mean.bounds()))


def test_a_parabola_is_followed_exactly() -> None:
    """Lines that all bend alike leave no error of the model: between networks and beyond them."""
    [scope] = scopes(results(*FIGURE8).frame)
    found = lines(scope)
    heights = {rule: 10 * place for place, rule in enumerate(found)}
    curve = {}
    for rule, line in found.items():
        for arm in line:
            x = math.log2(arm.macs / line[0].macs)  # 0 at the baseline, where all lines meet
            curve[arm.place] = heights[rule] * x - 2 * x**2
    values = np.array([curve[place] for place in scope.sample.networks])
    bent = replace(scope, sample=replace(scope.sample, values=values, images=None))
    bending = bend(bent, found)
    assert bending.deviation == pytest.approx(0, abs=1e-9)
    for rule, line in found.items():
        for times in (1.5, 3.0, 20.0):
            place = at(bent, line, times * line[0].macs, bending)
            x = math.log2(times)
            assert float(bent.sample.contrast(place.weights).effect) == pytest.approx(
                heights[rule] * x - 2 * x**2
            )


def test_the_control_recommends_compound_and_photographs_resolution() -> None:
    control, photographs = (advice(*words, times=8) for words in (FIGURE8, PHOTOGRAPHS))
    assert control.best.entry.arm.label == "compound phi=3" and control.best.runs == 5
    assert photographs.best.called.startswith("resolution alone at 8.31x")
    assert not control.untold and not photographs.untold
    assert "build compound at 8.11x: 88.6 %" in sentence(control)
    assert sentence(control) == at_largest(results(*FIGURE8))


def test_a_rule_that_falls_is_recommended_where_it_stood_highest() -> None:
    """More pixels than the stripes need cost accuracy: the cheaper network is what the budget should buy."""
    bought = advice(*SINGLE, times=6)
    assert bought.best.entry.run.network.pixels == 30


def test_a_network_that_nobody_trained_is_predicted_and_said_to_be() -> None:
    between = advice(*FIGURE8, times=3)
    beyond = advice(*PHOTOGRAPHS, times=10)
    assert between.best.source == "between trained networks"
    # 96 px hold no network of ten times the cost: resolution's largest trained one stands.
    assert beyond.options["resolution"].runs and beyond.options["resolution"].place.outside == 0
    assert beyond.options["compound"].source.endswith("doublings outside what was trained")
    wide = {each.name: each.high - each.low for each in beyond.standings}
    known = {each.name: each.high - each.low for each in advice(*PHOTOGRAPHS, times=8).standings}
    assert wide["compound"] > known["compound"] and wide["width"] > known["width"]


def test_rules_that_meet_in_one_network_are_one_option() -> None:
    smallest = advice(*FIGURE8, times=1)
    assert list(smallest.options) == ["width"] and smallest.best.called == "the baseline"
    assert sentence(smallest).endswith("no other network within it")
    alone = advice("study=figure8", "study.rules=[resolution]", FIGURE8[1], times=4)
    assert "28 px" in text(alone)
    assert sentence(alone).endswith("of 3 networks within it none is expected to reach more")


@pytest.mark.parametrize("axis", ["times", "macs", "params", "activations"])
def test_every_option_lies_within_the_limit(axis: str) -> None:
    limits = {"times": 5, "macs": 1_100_000, "params": 15_000, "activations": 60_000}
    bought = advice(*FIGURE8, **{axis: limits[axis]})
    assert len(bought.options) > 1
    slack = 1.05 if axis in ("times", "macs") else 1
    for option in bought.options.values():
        row = option.entry.row() | {"times": option.entry.row()["macs"] / 218_984}
        assert row[axis] <= slack * limits[axis]


def test_seconds_of_a_step_are_a_limit_like_any_other() -> None:
    by_pixels = advise(
        results(*FIGURE8), Budget(step_seconds=30), lambda run: float(run.network.pixels)
    )
    assert {option.entry.run.network.pixels for option in by_pixels.options.values()} <= set(
        range(31)
    )


def test_what_is_told_is_told_simultaneously() -> None:
    [scope] = scopes(results(*FIGURE8).frame)
    found = lines(scope)
    bending = bend(scope, found)
    places = {rule: at(scope, line, line[1].macs, bending) for rule, line in found.items()}
    every = standings(scope, places, bending)
    best, second = every[0].name, every[1].name
    alone = standings(scope, {name: places[name] for name in (best, second)}, bending)
    assert every[1].behind == alone[1].behind
    assert every[1].behind_low < alone[1].behind_low


@pytest.mark.parametrize(
    "words, limits",
    [
        (FIGURE8, {"times": 4}),
        (FIGURE8, {"times": 3}),
        (PHOTOGRAPHS, {"params": 300_000}),
        (("study=balance", f"runs={ROOT}/results/stripes/balance"), {"times": 4}),
        (SINGLE, {"times": 4}),
        (("study=grid-search", f"runs={ROOT}/results/stripes/grid-search"), {"times": 2}),
        (("study=figure8", "study.seeds=[0]", FIGURE8[1]), {"times": 8}),
        (
            ("scaling=depth,compound", "phi=0,1,2", "cost=matched", "seed=0,1,2", FIGURE8[1]),
            {"times": 3},
        ),
    ],
)
def test_printed_commands_train_what_they_say(
    words: tuple[str, ...], limits: dict[str, float]
) -> None:
    found = advice(*words, **limits)
    for what, command in commands(found):
        if "not told apart" in what:
            assert "choose by cost" in command
            continue
        said = [word for word in shlex.split(command)[3:] if word != "-m"]
        with hydra():
            planned = {entry.run.network for entry in plan(said).planned}
        wanted = {found.best.entry.run.network}
        if "may tell" in what or "predicted" in what:
            wanted |= {found.options[name].entry.run.network for name in found.untold}
        assert wanted <= planned
    assert found.results.wanted.name in text(found)
    assert len(rows(found)) == min(len(found.options), 10)


@pytest.mark.parametrize(
    "words, limits, said",
    [
        (FIGURE8, {}, "no limit; give one of budget.times"),
        (FIGURE8, {"times": 4.0, "macs": 1e6}, "times and macs at once"),
        (FIGURE8, {"times": 0.0}, "budget.times=0.0: must be at least"),
        (("study=figure8", "study.phis=[2]", FIGURE8[1]), {"times": 3.0}, "only one network of it"),
        (FIGURE8, {"params": 10.0}, "budget.params=10: buys no network of figure8"),
        (("study=figure8", "runs=nowhere"), {"times": 4.0}, "figure8 has no records"),
        (FIGURE8, {"times": 4.0, "setting": "x"}, "budget.setting=x: figure8 has "),
        (
            ("study=controls", f"runs={ROOT}/results/stripes/controls"),
            {"times": 4.0},
            "controls has stripes, enlarged from 20 px",
        ),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(
    words: tuple[str, ...], limits: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        advice(*words, **limits)
    assert "\n" not in str(error.value)


def test_two_networks_have_no_bend_and_say_so() -> None:
    """Two costs say nothing of curvature: no interval between them, and nothing is told."""
    words = ("study=figure8", "study.phis=[0,2]", FIGURE8[1])
    found = advice(*words, times=3)
    assert all(
        math.isnan(each.low) for each in found.standings if not found.options[each.name].runs
    )
    assert "(nan" not in text(found)


def test_a_network_whose_weights_lie_there_is_taken_home(tmp_path: Path) -> None:
    """With the first seed whose weights are kept, not with the one that did best."""
    runs = tmp_path / "runs"
    shutil.copytree(ROOT / "results/stripes/figure8", runs)
    found = advice("study=figure8", f"runs={runs}", times=8)
    same = [
        entry.run
        for entry in found.results.wanted.planned
        if entry.run.network == found.best.entry.run.network
    ]
    kept = sorted(same, key=lambda run: run.seed)[2]
    weights_path(runs, kept.id).parent.mkdir()
    weights_path(runs, kept.id).touch()
    [(what, command)] = commands(found)
    assert what == "take it home"
    assert shlex.split(command)[2:] == [
        "ablation.export",
        "study=figure8",
        f"runs={runs}",
        f"run={kept.id}",
        f"to={kept.id}",
    ]
