"""A module of one's own as a baseline: the docs' example, what it costs and is called, and bad ones."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hydra import compose
from torch import nn

from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan, single
from ablation.door import hydra
from ablation.runs.config import Recipe
from ablation.runs.sources import bare
from ablation.theory.baselines import BASELINES
from ablation.theory.cost import cost
from ablation.theory.matching import TOLERANCE, nominal
from ablation.theory.scaling import Coefficients
from ablation.train.model import ConvNet, module_of, refuse_corrupting
from ablation.train.own import counted
from tests.conftest import TINY

DEEPEST = 60  # blocks of a table that is counted here as a whole
RULES = ("depth", "width", "resolution", "compound")
NET = """
import torch
from torch import nn
from helper import convolution  # of ours

class Net(nn.Module):
    def __init__(self, depth, width, classes):
        super().__init__()
        channels = [3] + round(2 * depth) * [round(8 * width)]
        self.layers = nn.Sequential(*map(convolution, channels[:-1], channels[1:]))
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, x):
        return self.classifier(self.layers(x).mean((2, 3)))

def small(depth, width, pixels, classes):
    return Net(depth, width, classes)
"""
HELPER = """
from torch import nn

def convolution(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())
"""


def words(factory: str, *more: str) -> list[str]:
    return [
        f"baseline.factory={factory}",
        "baseline.pixels=16",
        "recipe.zero_init=false",
        "cache=cache",
        *more,
    ]


def planned(*given: str) -> Plan:
    with hydra():
        return plan([word for word in arguments(given) if word != "-m"])


def run_ids(*given: str) -> list[str]:
    return [entry.run.id for entry in planned(*words("net:small", *given)).planned]


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module and its helper, as the current one."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("net", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", BASELINES)
def test_torch_counts_what_the_table_says(name: str) -> None:
    """Depth is cut where there are hundreds of blocks, to save time."""
    whole = BASELINES[name]
    blocks = sum(whole.network.layers)
    network = nominal(whole, Coefficients(depth=min(1.0, DEEPEST / blocks))).network
    with torch.device("meta"):
        module = ConvNet(network).eval()
    assert counted(module, network.pixels, network.classes) == dataclasses.asdict(cost(network))


def test_the_example_of_the_docs_meets_every_budget(folder: Path) -> None:
    own = ("baseline.factory=nets:small", "baseline.pixels=20", "recipe.zero_init=false")
    axes = (f"scaling={','.join(RULES)}", "phi=0,1", "cost=matched")
    wanted = planned(*own, *axes, f"cache={folder / 'cache'}")
    assert len({entry.run.id for entry in wanted.planned}) == 1 + len(RULES)
    for entry in wanted.planned:
        assert abs(entry.point.budget_error) <= TOLERANCE
        assert entry.row()["depths"] == entry.row()["widths"] == []
    by_rule = {entry.arm.name: entry.point.realised for entry in wanted.planned}
    assert by_rule["depth"].width == by_rule["depth"].resolution == 1 < by_rule["depth"].depth
    assert by_rule["width"].depth == by_rule["width"].resolution == 1 < by_rule["width"].width
    with hydra():
        for job in wanted.jobs:
            assert single(compose("config", list(job.overrides)))[0].run == job.planned.run


def test_nominal_cost_asks_for_the_formulas_multipliers(net: Path) -> None:
    [entry] = planned(*words("net:small", "scaling=compound", "phi=2")).planned
    network = entry.run.network
    assert (network.depth, network.width) == pytest.approx((1.44, 1.21))
    assert network.pixels == 22
    assert entry.run.data.classes == network.classes


def test_equal_networks_are_one_run(net: Path) -> None:
    by_coefficients = ("scaling=coefficients", "scaling.depth=1.1")
    assert run_ids(*by_coefficients) == run_ids("phi=0") != run_ids("scaling=depth", "phi=1")


def test_what_was_counted_is_counted_once(net: Path) -> None:
    """A second process plans it without torch."""
    before = run_ids("phi=0,1")
    code = (
        "import sys; from ablation.command.planning import plan; from ablation.door import hydra\n"
        "with hydra(): found = plan(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules; print(*[each.run.id for each in found.planned])"
    )
    given = arguments(words("net:small", "phi=0,1"))
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.stdout.split() == before, done.stderr


def test_an_edit_is_another_network_and_a_comment_is_none(net: Path) -> None:
    first = run_ids()
    (net / "net.py").write_text(NET.replace("# of ours", "# mine") + "\n\n# the end\n")
    assert run_ids() == first
    (net / "helper.py").write_text(HELPER.replace("nn.ReLU()", "nn.LeakyReLU()"))
    edited = run_ids()
    (net / "net.py").write_text(NET.replace(".mean((2, 3))", ".amax((2, 3))"))
    assert len({*first, *edited, *run_ids()}) == 3


def test_a_comment_is_no_part_of_a_source() -> None:
    assert bare("a = '# no'  # yes\n\n  # yes\nb = 1\n") == "a = '# no'\nb = 1"


def test_every_batch_norm_has_the_momentum_of_the_recipe(net: Path) -> None:
    [entry] = planned(*words("net:small", "phi=0", "recipe.norm_momentum=0.03")).planned
    module = module_of(entry.run.network, entry.run.recipe)
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.03}


def test_weights_follow_the_seed_and_what_changed_is_refused(net: Path) -> None:
    [entry] = planned(*words("net:small", "phi=0")).planned
    network, recipe = entry.run.network, Recipe(1, 2, 0.1)
    torch.manual_seed(7)
    one = module_of(network, recipe).state_dict()
    torch.manual_seed(7)
    assert all(map(torch.equal, one.values(), module_of(network, recipe).state_dict().values()))
    other = dataclasses.replace(network, digest="another")
    with pytest.raises(ValueError, match="builds another network than was planned"):
        module_of(other, recipe)


def test_it_trains_and_resumes_and_is_reported(
    net: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep in processes of its own, with one record lost in between; then the page."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    own = [*words("net:small"), f"cache={cache}", "runs=runs", "results=results", *TINY]
    axes = ["-m", "scaling=depth,width", "phi=0,1", "cost=matched", "data.upsample=true"]

    def call(name: str) -> str:
        command = [sys.executable, "-W", "ignore", "-m", f"ablation.{name}", *axes, *own]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "3 of 3 runs done" in call("run")
    records = sorted((net / "runs").glob("*/record.json"))
    record = json.loads(records[0].read_text())
    told = record["config"]["network"]
    assert told["factory"] == "net:small"
    assert told["sources"] == {"net": NET, "helper": HELPER}
    assert record["macs"] == told["macs"] > 0
    call("report")
    assert (net / "results" / "sweep").is_dir()


BAD: Sequence[tuple[str, str, str]] = (
    ("net", "", "say package.module:function"),
    ("nowhere:small", "", "there is no module nowhere"),
    ("net:large", "", "net has no function large"),
    ("net:few", "def few(depth): pass", "is called as function\\(depth, width, pixels, classes\\)"),
    ("net:none", "def none(*_): return 3", "returns a int; it should return a torch.nn.Module"),
    ("net:fault", "def fault(*_): return 1 / 0", "pixels=16 classes=6: ZeroDiv"),
    ("net:broken", "x = undefined", "net cannot be imported from .*: NameError"),
    ("net:wrong", "x = (", "is no Python"),
    ("net:lin", "def lin(*_): return nn.Linear(3, 3)", "its module fails on images of"),
    ("net:flat", "def flat(*_): return nn.Flatten(0)", "puts out \\(1536,\\) for 2 images and 6"),
    (
        "net:narrow",
        "def narrow(depth, width, *rest): return Net(depth, 1, rest[1])",
        "its parameters are 894 at width=1 and at width=2",
    ),
    (
        "net:chance",
        "import random\n\ndef chance(d, w, p, classes):\n    net = Net(d, w, classes)\n"
        "    nn.init.constant_(net.classifier.bias, random.random())\n    return net",
        "builds two networks at one seed \\(classifier.bias differs\\)",
    ),
)


@pytest.mark.parametrize("factory, text, said", BAD, ids=[row[0] for row in BAD])
def test_a_bad_function_is_named_in_one_line(net: Path, factory: str, text: str, said: str) -> None:
    (net / "net.py").write_text(f"{NET}\n{text}\n")
    with pytest.raises(ValueError, match=said) as caught:
        planned(*words(factory, "phi=0"))
    assert f"baseline.factory={factory}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given, said",
    [
        ("recipe.zero_init=true", "recipe.zero_init=true: .* add recipe.zero_init=false"),
        ("recipe.dropout=0.2", "recipe.dropout=0.2: .* add recipe.dropout=0.0"),
        ("recipe.drop_path=0.2", "recipe.drop_path=0.2: .* add recipe.drop_path=0.0"),
        ("baseline.pixels=null", "baseline.pixels is not set"),
        ("baseline.pixels=17", "baseline.step_pixels=1 fits every side"),
        ("baseline.step=0", "baseline.step=0: between multipliers"),
        ("baseline.factory=null", "say which function"),
    ],
)
def test_a_bad_setting_is_named(net: Path, given: str, said: str) -> None:
    replaced = [word for word in words("net:small") if word.split("=")[0] != given.split("=")[0]]
    with pytest.raises(ValueError, match=said):
        planned("baseline=factory", *replaced, given)


def test_a_depth_that_changes_nothing_meets_no_budget(net: Path) -> None:
    text = "def shallow(depth, width, pixels, classes): return Net(1, width, classes)"
    (net / "net.py").write_text(f"{NET}\n{text}\n")
    with pytest.raises(ValueError, match="no network of net:shallow costs within 5% of 2 times"):
        planned(*words("net:shallow", "scaling=depth", "phi=1", "cost=matched"))


@pytest.mark.parametrize(
    "conv, refused",
    [
        (nn.Conv2d(3, 16, 1, 2), True),
        (nn.Conv2d(7, 16, 1, (1, 2)), True),
        (nn.Conv2d(8, 16, 1, 2), False),
        (nn.Conv2d(3, 16, 1, 1), False),
        (nn.Conv2d(3, 16, 3, 2), False),
        (nn.Conv2d(4, 4, 1, 2, groups=4), False),
    ],
)
def test_what_corrupts_memory_on_a_cpu_is_refused(conv: nn.Conv2d, refused: bool) -> None:
    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.1)
    net, cpu = nn.Sequential(conv), torch.device("cpu")
    refuse_corrupting(net, recipe, torch.device("cuda"))
    refuse_corrupting(net, dataclasses.replace(recipe, channels_last=False), cpu)
    with pytest.raises(ValueError, match="channels_last=false") if refused else nullcontext():
        refuse_corrupting(net, recipe, cpu)
