"""Studies as data: parts, sizes, equal cost of training, and searches that grow with their records."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose

from ablation.command.errors import NotYet
from ablation.command.overrides import arguments
from ablation.command.planning import ANSWERS, FIGURES, Plan, plan
from ablation.command.shipped import studies
from ablation.door import hydra
from ablation.images.splits import resize
from ablation.judge.claims import CLAIMS
from ablation.measure.outlook import table
from ablation.report import DRAWINGS, drawings_of, write_found
from ablation.runs.config import Data, Run
from ablation.runs.records import write_record
from ablation.show.forest import OF_FINDINGS
from ablation.show.results import Results
from ablation.show.searches import SEARCHES
from ablation.theory.baselines import MICRO
from ablation.theory.cost import cost
from ablation.theory.scaling import triples
from tests.test_run_identity import some_record


def planned(*words: str) -> Plan:
    with hydra():
        return plan(words)


def finish(wanted: Plan) -> None:
    """A record for every run: more width is better, by little."""
    rng = np.random.default_rng(0)
    for entry in wanted.planned:
        accuracy = (
            0.5
            + 0.05 * entry.point.realised.width
            + 0.02 * entry.point.realised.depth
            + 0.005 * rng.normal()
        )
        write_record(
            wanted.execution.runs,
            some_record(entry.run, val_accuracy=accuracy, seed=entry.run.seed),
        )


def test_parts_are_told_apart_and_share_what_is_the_same() -> None:
    entries = planned("study=resolution-control").planned
    settings = {entry.setting for entry in entries}
    assert settings == {"native pixels", "enlarged from 20 px"}
    by_arm = {setting: [e for e in entries if e.setting == setting] for setting in settings}
    for native, enlarged in zip(
        by_arm["native pixels"], by_arm["enlarged from 20 px"], strict=True
    ):
        assert native.run.network == enlarged.run.network
        # At 20 px there is nothing to enlarge.
        assert (native.run == enlarged.run) == (native.arm.phi == 0)
        assert enlarged.run.data.detail == (None if enlarged.arm.phi == 0 else 20)


def test_a_run_id_that_reads_like_a_number_stays_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """2e4113010340 is a run id as likely as any other, and to YAML it is infinite."""
    monkeypatch.setattr(Run, "id", property(lambda run: "2e4113010340"))
    with hydra():
        [job] = plan(["scaling=depth", "phi=1"]).jobs
        assert compose("config", list(job.overrides)).expect == "2e4113010340"


def test_a_part_composes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablation.command import compose as composing

    calls = []
    original = composing.compose
    monkeypatch.setattr(composing, "compose", lambda *args: calls.append(args) or original(*args))
    planned("study=quick")
    assert len(calls) == 1
    planned("study=schedule")
    assert len(calls) == 1 + 1 + 4


def test_equal_flops_spends_as_much_on_every_network() -> None:
    entries = [e for e in planned("study=schedule").planned if "FLOPs" in e.setting]
    budget = 8 * cost(MICRO.network).macs
    for entry in entries:
        assert entry.run.recipe.epochs * cost(entry.run.network).macs == pytest.approx(
            budget, rel=0.06
        )
    assert {entry.run.recipe.epochs for entry in entries} == {8, 2}
    with pytest.raises(ValueError, match=r"equal=flops: recipe.epochs=7 .* make 0 epochs"):
        planned("equal=flops", "scaling=depth", "phi=4")


def test_the_papers_size_is_planned_exactly(tmp_path: Path) -> None:
    rows = [entry.row() for entry in planned("study=figure3", "size=paper").planned]
    macs = {(row["rule"], round(row[row["rule"]], 3)): row["macs"] for row in rows}
    # Released builder at the paper's coefficients (reference: own count with the same convention as B0's
    # 385,814,752).
    assert macs["depth", 1.0] == macs["width", 1.0] == 385_814_752
    assert macs["depth", 4.0] == pytest.approx(1.5751e9, rel=1e-4)
    assert macs["width", 2.6] == pytest.approx(2.3911e9, rel=1e-4)
    assert len(rows) == 19 * 3


def test_fresh_seeds_are_trained_too_and_none_of_them_suggested_the_question() -> None:
    wanted = planned("study=quick", "study.confirm=[5,6]")
    assert {entry.run.seed for entry in wanted.planned} == {0, 1, 2, 5, 6}
    assert wanted.confirm == (5, 6)
    with pytest.raises(ValueError, match=r"study.confirm=2: this is one of study.seeds"):
        planned("study=quick", "study.confirm=[2,5]")
    assert planned("study=table3", "study.confirm=[7]").confirm == (7,)


def test_every_study_says_what_answers_it() -> None:
    """By a key that something answers to; another one is refused."""
    asked = {claim.key for claim in CLAIMS}
    across = {"baselines", "pixels", "recipe", "settings", "learning", "chance", "lead"}
    figures = {drawing.name for drawing in SEARCHES}
    assert set(ANSWERS) == asked | across | figures
    for name in studies():
        with contextlib.suppress(NotYet):
            assert planned(f"study={name}").claim in ANSWERS or name == "figure7"  # pictures
    with pytest.raises(ValueError, match=r"study.claim=balanced: choose one of improves"):
        planned("study=quick", "study.claim=balanced")


def test_every_study_says_which_figure_its_page_opens_with() -> None:
    """By the name of a drawing; another one is refused."""
    drawn = {drawing.name for drawing in (*DRAWINGS, *OF_FINDINGS)}
    assert drawn | {"activation"} >= set(FIGURES)
    for name in studies():
        with contextlib.suppress(NotYet):
            assert planned(f"study={name}").figure in FIGURES
    with pytest.raises(ValueError, match=r"study.figure=pie: choose one of single"):
        planned("study=quick", "study.figure=pie")


def test_a_size_that_a_study_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="size=paper: study=quick comes in small; choose one"):
        planned("study=quick", "size=paper")
    with pytest.raises(ValueError, match="size=huge: choose one of small, reference, paper"):
        planned("study=quick", "size=huge")


def test_an_expectation_has_a_sign_and_names_fields_of_findings() -> None:
    with pytest.raises(ValueError, match="study.expected.sign=2: choose one of 1, 0, -1"):
        planned("study=quick", "study.expected=[{claim: improves, sign: 2}]")
    with pytest.raises(ValueError, match="study.expected=rule: choose one of sign, claim, subject"):
        planned("study=quick", "study.expected=[{rule: width, sign: 1}]")
    assert planned("study=quick", "study.expected=[{claim: improves, sign: 1}]").expected


def test_what_a_part_sets_cannot_be_set_beside_it() -> None:
    with pytest.raises(
        ValueError, match="recipe.epochs=1: study=schedule sets it itself; leave it out"
    ):
        planned("study=schedule", "recipe.epochs=1")
    with pytest.raises(
        ValueError,
        match=r"study.parts.0.rule: no such setting of a study; there are setting, overrides",
    ):
        planned("study=quick", "study.parts=[{rule: width}]")


def test_a_grid_search_trains_every_candidate_with_the_whole_schedule() -> None:
    wanted = planned("study=grid-search", "study.grid.step=0.2", "recipe.epochs=4")
    assert wanted.search and {entry.setting for entry in wanted.planned} == {""}
    names = {rule.name for rule in triples(0.2)}
    assert {entry.arm.name for entry in wanted.planned} == names | {"compound"}
    assert {entry.run.recipe.epochs for entry in wanted.planned} == {4}
    assert not any(entry.run.evaluate for entry in wanted.planned)
    rungs = r"study.grid.epochs=\[1, 2\]: every candidate .* recipe.epochs=... for another length"
    with pytest.raises(ValueError, match=rungs):
        planned("study=grid-search", "+study.grid.epochs=[1,2]")
    for size in ("reference", "paper"):
        with pytest.raises(ValueError, match=rf"study.{size}.grid.epochs=8: every candidate"):
            planned("study=grid-search", f"+study.{size}.grid={{phi: 1, step: 0.1, epochs: 8}}")


def test_the_star_check_follows_from_the_star(tmp_path: Path) -> None:
    words = [f"runs={tmp_path}", "recipe.epochs=4"]
    with pytest.raises(NotYet, match="python -m ablation.run study=star"):
        planned("study=star-check", *words)
    finish(planned("study=star", *words))
    check = planned("study=star-check", *words)
    arms = {entry.arm.name: entry for entry in check.planned}
    assert set(arms) == {
        "compound",
        "optimum",
        *(
            f"{word} {name}"
            for word in ("more", "less")
            for name in ("depth", "width", "resolution")
        ),
    }
    for entry in arms.values():
        assert abs(entry.point.budget_error) <= 0.05
        assert entry.run.recipe.epochs == 4
    assert arms["more depth"].point.realised.depth > arms["less depth"].point.realised.depth
    assert check.after == (f"runs={tmp_path} recipe.epochs=4 study=star",)


def test_the_fitted_triple_is_a_rule_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="fitted.yaml does not exist; make grid-search writes it"):
        planned("scaling=fitted", "phi=1", f"results={tmp_path}")
    (tmp_path / "grid-search").mkdir()
    (tmp_path / "grid-search" / "fitted.yaml").write_text(
        yaml.safe_dump({"alpha": 1.3, "beta": 1.1, "gamma": 1.128})
    )
    with pytest.raises(
        NotYet, match="inside.yaml does not exist; make grid-search writes it where"
    ):
        planned("study=transfer", f"results={tmp_path}")
    (tmp_path / "grid-search" / "inside.yaml").write_text(
        yaml.safe_dump({"alpha": 1.2, "beta": 1.1, "gamma": 1.17})
    )
    wanted = planned("scaling=fitted", "phi=1", f"results={tmp_path}")
    [entry], after = wanted.planned, wanted.after
    assert after == (f"results={tmp_path} study=grid-search",)
    assert (entry.arm.name, entry.arm.rule.alpha, entry.arm.rule.gamma) == ("fitted", 1.3, 1.128)
    rules = {entry.arm.name for entry in planned("study=transfer", f"results={tmp_path}").planned}
    tried = {"dw", "dr", "wr", "half depth", "half width", "half resolution"}
    assert rules == {"width", "depth", "resolution", "compound", "fitted", "inside"} | tried
    (tmp_path / "grid-search" / "fitted.yaml").write_text("alpha: 1.3\n")
    with pytest.raises(ValueError, match="needs alpha, beta and gamma as numbers"):
        planned("scaling=fitted", "phi=1", f"results={tmp_path}")


def test_settings_at_their_default_do_not_change_an_id() -> None:
    """A setting that is added later, with a default that does what was done before, keeps every older record
    valid."""
    data = Data("shapes", 12, 96)
    assert data.identity() == {"name": "shapes", "classes": 12, "native": 96}
    assert dataclasses.replace(data, detail=32).identity()["detail"] == 32


def test_detail_takes_information_away_and_keeps_the_pixels() -> None:
    rng = np.random.default_rng(0)
    native = rng.integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    rows = np.arange(4)
    enlarged = resize(native, rows, 64, detail=16)
    assert enlarged.shape == (4, 64, 64, 3)
    assert enlarged.float().std() < 0.5 * resize(native, rows, 64).float().std()
    again = resize(enlarged.numpy(), rows, 16)
    assert (again.float() - resize(native, rows, 16).float()).abs().mean() < 4


@pytest.mark.parametrize("size", ["reference", "paper"])
def test_what_is_typed_comes_before_what_a_size_says(size: str) -> None:
    entries = planned("study=figure8", f"size={size}", "study.seeds=[7]", "study.phis=[1]").planned
    assert {entry.run.seed for entry in entries} == {7} and len(entries) == 4


@pytest.mark.parametrize(
    "study",
    [
        "recipe",
        "figure8",
        "grid-search",
        "pairs",
        "balance",
        "resolution-control",
        "learning-rate",
        "star",
        "baseline-pixels",
    ],
)
def test_the_reference_study_is_planned_without_its_images(study: str, tmp_path: Path) -> None:
    entries = planned(f"study={study}", "size=reference", f"runs={tmp_path}").planned
    assert {entry.run.data.name for entry in entries} == {"imagenette-96"}
    assert all(entry.run.data.files and entry.run.network.pixels <= 96 for entry in entries)
    assert {entry.run.recipe.batch_size for entry in entries} == {128}


def test_the_reference_study_compares_four_rules_at_equal_cost() -> None:
    entries = planned("study=figure8", "size=reference").planned
    assert len({entry.run.id for entry in entries}) == 65
    assert all(
        abs(entry.row()["budget_error"]) < 0.05
        for entry in entries
        if entry.row()["budget_error"] is not None
    )
    # The first part is the recipe as it is.
    assert planned("study=recipe", "size=reference").planned[0].run.recipe == entries[0].run.recipe


def test_a_size_keeps_its_data_where_their_folder_is_given() -> None:
    assert arguments(["study=figure8", "size=reference", "data.path=photos"]) == [
        "study=figure8",
        "size=reference",
        "data.path=photos",
    ]
    assert arguments(["data.path=photos"])[0] == "data=custom"


def test_a_size_takes_other_images_that_are_asked_for() -> None:
    own, asked = (
        planned("study=resolution-control", "size=reference", *words).planned
        for words in ([], ["data=imagenette"])
    )
    assert {entry.run.data.name for entry in asked} == {"frgfm/imagenette"}
    assert [entry.run.recipe for entry in asked] == [entry.run.recipe for entry in own]
    assert [entry.run.data.detail for entry in asked] == [entry.run.data.detail for entry in own]
    with pytest.raises(ValueError, match="baseline=b0: study=figure8 sets it itself"):
        planned("study=figure8", "size=reference", "baseline=b0")


def test_a_baseline_is_taken_from_another_side() -> None:
    """As the same network that resolution alone makes of it, so that no run is trained twice."""
    [alone] = planned("baseline=mini", "baseline.pixels=44", "cost=matched").planned
    [scaled] = planned("baseline=mini", "cost=matched", "scaling=resolution", "phi=1").planned
    assert alone.baseline == "mini at 44 px"
    assert alone.run.id == scaled.run.id
    [same] = planned("baseline=mini", "baseline.pixels=32").planned
    assert same.baseline == "mini"
    for pixels in ("33", "0", "-32"):
        with pytest.raises(
            ValueError, match=f"baseline.pixels={pixels}: mini goes in steps of 2 px"
        ):
            planned("baseline=mini", f"baseline.pixels={pixels}")


def test_compound_from_baselines_of_more_pixels_keeps_its_direction() -> None:
    entries = planned("study=baseline-pixels", "size=reference").planned
    names = dict.fromkeys(entry.baseline for entry in entries)
    assert list(names) == ["midi", "midi at 44 px", "midi at 64 px"]
    assert all(entry.run.network.pixels <= 96 for entry in entries)
    assert max(entry.point.angle or 0 for entry in entries) < 15


def test_images_other_than_the_default_have_their_own_baseline_and_recipe() -> None:
    """The defaults of 20 px, without mirrored images, were made for `stripes`."""
    own = ["baseline=mini", "recipe=short"]
    for words in (["data=imagenette"], ["data=shapes,imagenette"]):
        assert arguments(words) == [*own, *words]
    for word in ("data.path=photos", "data.name=a/b"):
        assert arguments(["study=quick", word]) == ["data=custom", *own, "study=quick", word]
    small = ["size=small", "data=shapes"]  # says no more than the default
    assert arguments(small) == [*own, *small]
    assert arguments(["data=shapes", "baseline=b0"]) == [
        "recipe=short",
        "data=shapes",
        "baseline=b0",
    ]
    # A study of one's own has chosen for itself.
    assert arguments(["study=mine", "data=imagenette"]) == ["study=mine", "data=imagenette"]
    assert arguments(["data=shapes", "baseline.path=x"])[:2] == ["baseline=file", "recipe=short"]
    for word in ("data=stripes", "data=stripes,shapes", "data.train_size=100"):
        assert arguments([word]) == [word]
    with hydra():
        [other] = plan(arguments(["data=shapes"])).planned
        [default] = plan([]).planned
    assert (other.run.network.pixels, other.run.recipe.flip) == (32, True)
    assert (default.run.network.pixels, default.run.recipe.flip) == (20, False)


@pytest.mark.parametrize(
    "study", ["quick", "figure8", "figure3", "balance", "pairs", "star", "table7"]
)
def test_small_images_have_a_baseline_from_which_studies_stay_within_them(study: str) -> None:
    for data, classes in (("cifar10", 10), ("cifar100", 100)):
        words = arguments([f"study={study}", f"data={data}"])
        assert words == ["baseline=mini-10", "recipe=short", f"study={study}", f"data={data}"]
        with hydra():
            runs = [entry.run for entry in plan(words).planned]
        assert max(run.network.pixels for run in runs) <= 32 == runs[0].data.native
        assert {run.network.classes for run in runs} == {classes}
        assert not any(run.data.upsample for run in runs)


def test_a_network_of_more_pixels_than_images_have_is_refused_with_a_way_out_that_works() -> None:
    way_out = r"32 px that uoft-cs/cifar10 holds natively.*mini-10 starts at 10 px"
    with pytest.raises(ValueError, match=way_out), hydra():
        plan(arguments(["study=quick", "data=cifar10", "baseline=mini"]))
    assert arguments(["data=cifar10,shapes"])[0] == "baseline=mini"


def test_a_baseline_that_a_study_chooses_is_not_implied() -> None:
    words = ["study=table3", "data=imagenette"]
    assert arguments(words) == ["recipe=short", *words]
    with hydra():
        assert len({entry.baseline for entry in plan(arguments(words)).planned}) == 3


def test_costs_have_lines_of_their_own(tmp_path: Path) -> None:
    """Nominal and matched are two arms, whether or not they build the same network."""
    lines = table(
        planned("cost=nominal,matched", "scaling=depth", "phi=1", f"cache={tmp_path}"), {}
    ).splitlines()
    assert [line.split()[:3] for line in lines[2:4]] == [
        ["depth", "1", "nominal"],
        ["depth", "1", "matched"],
    ]


# ---------------------------------------------------------------- what is a search; names of settings


def test_a_search_of_few_candidates_is_one(tmp_path: Path) -> None:
    """It says so itself: a map and the fitted triple do not depend on how many candidates there are."""
    words = [
        "study=grid-search",
        "study.grid.step=0.3",
        f"runs={tmp_path}",
        f"results={tmp_path}",
    ]
    wanted = planned(*words)
    assert wanted.search
    assert len({entry.arm.name for entry in wanted.planned}) <= 8
    finish(wanted)
    results = Results.of(wanted)
    [drawing] = drawings_of(results)
    assert drawing.name == "grid"
    assert len(results.shown(drawing)) == len({entry.arm.name for entry in wanted.planned})
    assert results.findings == []
    results.folder.mkdir()
    (best, fitted), (title, inside) = write_found(results)
    assert best.startswith("Best triple")
    assert title.startswith("Best triple in all three")
    for path in (fitted, inside):
        assert yaml.safe_load(Path(path).read_text()).keys() == {"alpha", "beta", "gamma"}
    assert min(yaml.safe_load(Path(inside).read_text()).values()) > 1


def test_many_rules_at_one_phi_are_no_search(tmp_path: Path) -> None:
    rules = [f"{{name: rule{n}, alpha: 1.{n}, beta: 1.1, gamma: 1.1}}" for n in range(1, 7)]
    words = [
        "study=quick",
        "cost=nominal",
        f"study.rules=[depth,width,resolution,compound,{','.join(rules)}]",
        "study.phis=[1]",
        "study.seeds=[0,1]",
        f"runs={tmp_path}",
    ]
    wanted = planned(*words)
    assert not wanted.search
    finish(wanted)
    assert Results.of(wanted).findings


@pytest.mark.parametrize(
    ("override", "settings"),
    [
        ("recipe.learning_rate=0.5,1.5", ["learning_rate=0.5", "learning_rate=1.5"]),
        ("recipe.weight_decay=1e-5,1e-4", ["weight_decay=1e-05", "weight_decay=0.0001"]),
        ("recipe.epochs=2,3", ["epochs=2", "epochs=3"]),
    ],
)
def test_a_swept_setting_keeps_its_whole_value(override: str, settings: list[str]) -> None:
    entries = planned(override, "seed=0,1").planned
    assert list(dict.fromkeys(entry.setting for entry in entries)) == settings
    assert len({entry.run.id for entry in entries}) == 4
