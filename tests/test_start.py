"""Runs that start from weights: what of a file a network starts with, what such a run is called, and what is
refused."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ablation import export, pack
from ablation.command.budget import Budget
from ablation.command.overrides import arguments
from ablation.command.planning import Plan, plan
from ablation.door import hydra
from ablation.measure.outlook import rows, table
from ablation.report import report
from ablation.runs.arms import Planned, starts
from ablation.runs.records import read_archive, read_record, weights_path
from ablation.show.advice import advise, text
from ablation.show.results import note
from ablation.train import execute as executing
from ablation.train.checkpoints import read_weights
from ablation.train.execute import execute
from ablation.train.model import ConvNet, net_of
from ablation.train.released import ARCHITECTURES, network_of
from ablation.train.start import begin
from tests.conftest import TINY
from tests.test_page import results_of

SOURCE = ("scaling=compound", "phi=0", "seed=3", *TINY, "wandb.mode=disabled", "accelerator=cpu")


def planned(*words: str) -> Plan:
    with hydra():
        return plan(arguments(words))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with a run that kept its weights (runs/) and its export (taken/)."""
    home = tmp_path_factory.mktemp("home")
    words = [*SOURCE, f"runs={home / 'runs'}", f"cache={cache}", f"results={home / 'results'}"]
    wanted = planned(*words, "keep_weights=true")
    execute(wanted.planned[0], wanted.execution)
    with hydra():
        export.show(arguments([*words, f"to={home / 'taken'}"]), False)
    return home


def source(home: Path) -> ConvNet:
    """The network whose weights lie there."""
    [entry] = planned(*SOURCE).planned
    net = ConvNet(entry.run.network)
    net.load_state_dict(read_weights(weights_path(home / "runs", entry.run.id)))
    return net.eval()


def weights_of(home: Path) -> Path:
    return next((home / "runs").glob("*/weights.pt"))


def begun(entry: Planned) -> nn.Module:
    """The network of a run before its first step."""
    torch.manual_seed(entry.run.seed)
    net = net_of(entry.run)
    assert entry.run.init and entry.origin
    begin(net, entry.run.network, entry.origin.network, entry.run.init)
    return net.eval()


def images(pixels: int) -> Tensor:
    return torch.randn(10, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def check_alike(net: nn.Module, other: nn.Module, pixels: int, within: float = 1e-5) -> None:
    ours, theirs = net(images(pixels)), other(images(pixels))
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=within * theirs.abs().max().item(), rtol=0)


# ---------------------------------------------------------------- files of ours


PLACES: dict[str, Callable[[Path], Path]] = {
    "an export's folder": lambda home: home / "taken",
    "its file": lambda home: home / "taken" / "model.safetensors",
    "a run's folder": lambda home: weights_of(home).parent,
    "a run's weights": weights_of,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_starts_as_its_source_ended(home: Path, place: str) -> None:
    given = f"init={PLACES[place](home)}"
    for entry in planned("scaling=resolution", "phi=0,1", given).planned:
        assert entry.run.init and entry.run.init.whole and entry.run.init.share == 1
        check_alike(begun(entry), source(home), entry.run.network.pixels)


def test_other_classes_get_a_classifier_that_is_drawn(home: Path) -> None:
    words = ("data=shapes", "baseline=micro", "recipe=steady", "scaling=resolution", "phi=0")
    [entry] = planned(*words, f"init={home / 'taken'}").planned
    init, network = entry.run.init, entry.run.network
    assert init and init.whole and not init.classifier
    net, before = begun(entry), source(home)
    torch.manual_seed(entry.run.seed)
    drawn = net_of(entry.run)
    assert torch.equal(net.classifier.weight, drawn.classifier.weight)
    check_alike(nn.Sequential(*[*net.children()][:3]), nn.Sequential(*[*before.children()][:3]), 20)
    missing = sum(tensor.numel() for tensor in net.classifier.parameters())
    assert init.share == pytest.approx(1 - missing / sum(p.numel() for p in net.parameters()))
    assert network.classes == 12
    [said] = starts([entry])
    assert re.fullmatch(
        r"all networks start from \.\.\./taken/model.safetensors \(SHA-256 \w{12}\) but for their "
        "classifiers; seeds do not vary these weights, so intervals speak of them alone",
        said,
    )


def test_a_deeper_network_has_each_layer_in_its_stage_and_starts_as_its_baseline(
    home: Path,
) -> None:
    """Added blocks add nothing at first where the recipe starts branches at zero."""
    words = ("init_partial=true", "recipe.zero_init=true", "cost=nominal")
    [entry] = planned("scaling=depth", "phi=1", *words, f"init={home / 'taken'}").planned
    assert entry.run.network.layers == (4, 2, 2)
    net, before = begun(entry), source(home)
    for ours, theirs in {0: 0, 1: 1, 4: 2, 6: 3}.items():
        for name, tensor in before.blocks[theirs].state_dict().items():
            assert torch.equal(tensor, net.blocks[ours].state_dict()[name])
    check_alike(net, before, entry.run.network.pixels)
    held = sum(tensor.numel() for tensor in before.parameters())
    assert entry.run.init
    assert entry.run.init.share == held / sum(tensor.numel() for tensor in net.parameters())


def test_a_wider_network_has_nothing_of_its_source(home: Path) -> None:
    words = ("scaling=width", "phi=1", "init_partial=true", f"init={home / 'taken'}")
    [entry] = planned(*words).planned
    assert entry.run.init and entry.run.init.share == 0 and not entry.run.init.whole


def test_a_network_may_start_from_one_that_is_smaller_and_says_so_beside_it(
    home: Path, cache: Path, tmp_path: Path
) -> None:
    """Of phi=1, which is neither a run's network nor its baseline: the record tells the network."""
    words = ("scaling=depth", "cost=nominal", *TINY, f"cache={cache}", f"runs={tmp_path}")
    wanted = planned(*words, "phi=1", "keep_weights=true", "wandb.mode=disabled")
    execute(wanted.planned[0], wanted.execution)
    place = tmp_path / wanted.planned[0].run.id
    [entry] = planned("scaling=depth", "phi=2", "init_partial=true", f"init={place}").planned
    assert entry.run.init and 0.3 < entry.run.init.share < 0.7
    shutil.copy(place / "weights.pt", tmp_path / "alone.pt")
    with pytest.raises(ValueError, match="not the weights of this network or its baseline: they"):
        planned("scaling=depth", "phi=2", "init_partial=true", f"init={tmp_path / 'alone.pt'}")


# ---------------------------------------------------------------- weights of libraries


def named(name: str) -> tuple[ConvNet, dict[str, Tensor]]:
    """A released network of random numbers, with the statistics of some images, and its state dict as its
    library has it."""
    torch.manual_seed(0)
    network = network_of(name)
    net = ConvNet(network, norm_momentum=1.0)
    with torch.no_grad():
        net(images(64))
    net.eval()
    modules = dict.fromkeys(tensor.rpartition(".")[0] for tensor in net.state_dict())
    theirs = dict(zip(modules, ARCHITECTURES[name].naming.modules(network), strict=True))
    state = {}
    for tensor_name, tensor in net.state_dict().items():
        module, _, leaf = tensor_name.rpartition(".")
        state[f"{theirs[module]}.{leaf}"] = tensor
    return net, state


BIG = ("data.upsample=true", "scaling=resolution", "recipe=short", "phi=-1")


def test_a_file_in_torchvisions_names_is_known_with_its_epsilon(tmp_path: Path) -> None:
    net, state = named("torchvision/mobilenet_v3_small")
    torch.save(state, tmp_path / "v3.pth")
    given = ("baseline=mobilenet-v3-small", *BIG, f"init={tmp_path / 'v3.pth'}")
    [entry] = planned(*given).planned
    assert entry.run.network.norm_epsilon == net.network.norm_epsilon == 1e-3
    assert entry.run.init and entry.run.init.whole and not entry.run.init.classifier
    ours = begun(entry)
    ours.classifier = net.classifier
    check_alike(ours, net, 64)


@pytest.fixture(scope="module")
def b0(tmp_path_factory: pytest.TempPathFactory) -> tuple[ConvNet, Path]:
    """timm's network, and its weights as a file."""
    net, state = named("timm/efficientnet_b0")
    path = tmp_path_factory.mktemp("b0") / "model.safetensors"
    save_file(state, path)
    return net, path


@pytest.fixture
def hub(
    b0: tuple[ConvNet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, str]]:
    """A hub with one repository, its file called by its digest as in the hub's cache, and what is asked of it
    over the network."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir(), snapshot.mkdir(parents=True)
    content = b0[1].read_bytes()
    blob = blobs / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str, local_files_only: bool = False) -> str:
        path = snapshot / file
        if not path.exists():
            if local_files_only or repository != "timm/efficientnet_b0.ra_in1k":
                raise LocalEntryNotFoundError("we cannot find the requested files. Please wait.")
            path.symlink_to(blob)
        if not local_files_only:
            asked.append((repository, file))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def test_weights_of_the_hub_are_fetched_once_and_have_their_own_epsilon(
    hub: list[tuple[str, str]], b0: tuple[ConvNet, Path]
) -> None:
    given = ("baseline=b0", *BIG, "init=timm/efficientnet_b0.ra_in1k")
    [entry] = planned(*given).planned
    again = planned(*given).planned[0]
    assert hub == [("timm/efficientnet_b0.ra_in1k", "model.safetensors")]
    assert entry.run.id == again.run.id
    init = entry.run.init
    assert init and init.source == "timm/efficientnet_b0.ra_in1k" and init.whole
    assert entry.run.network.norm_epsilon == entry.point.network.norm_epsilon == 1e-5
    assert entry.origin and entry.scaled(0.5).run.network == entry.run.network
    ours = begun(entry)
    ours.classifier = b0[0].classifier
    check_alike(ours, b0[0], 64)


def test_a_name_without_a_library_says_which_file_of_which_owner(
    hub: list[tuple[str, str]],
) -> None:
    [entry] = planned("baseline=b0", *BIG, "init=hf:timm/efficientnet_b0.ra_in1k").planned
    assert hub[0] == ("timm/efficientnet_b0.ra_in1k", "model.safetensors")
    assert entry.run.init and entry.run.network.norm_epsilon == 1e-5


def test_a_damaged_download_is_named(hub: list[tuple[str, str]], tmp_path: Path) -> None:
    planned("baseline=b0", *BIG, "init=timm/efficientnet_b0.ra_in1k")
    [blob] = (tmp_path / "blobs").iterdir()
    blob.write_bytes(blob.read_bytes()[:-4])
    with pytest.raises(ValueError, match=f"{blob.name} is damaged; delete it"):
        planned("baseline=b0", *BIG, "init=timm/efficientnet_b0.ra_in1k")


def test_torchvision_says_where_its_weights_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, state = named("torchvision/mobilenet_v3_small")
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / "small-047dcff4.pth")
    url = "https://download.pytorch.org/models/small-047dcff4.pth"
    members = {"IMAGENET1K_V1": SimpleNamespace(url=url)}

    class Known(dict[str, Any]):
        __members__ = members
        DEFAULT = members["IMAGENET1K_V1"]

    asked = []
    known = SimpleNamespace(get_model_weights=lambda name: Known(members))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=known))
    monkeypatch.setitem(sys.modules, "torchvision.models", known)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url))
    given = ("baseline=mobilenet-v3-small", *BIG)
    for tag in ("", ".IMAGENET1K_V1"):
        name = f"torchvision/mobilenet_v3_small{tag}"
        [entry] = planned(*given, f"init={name}").planned
        assert entry.run.init and entry.run.init.source == name
    assert asked == [url, url]
    with pytest.raises(ValueError, match=r"small\.V9: there are IMAGENET1K_V1$"):
        planned(*given, "init=torchvision/mobilenet_v3_small.V9")


# ---------------------------------------------------------------- what such a run is called


def ids(*words: str) -> list[str]:
    return [entry.run.id for entry in planned("scaling=resolution", "phi=0", *words).planned]


def test_what_is_in_a_file_names_a_run_and_where_it_lies_does_not(
    home: Path, tmp_path: Path
) -> None:
    first, moved, edited = (tmp_path / name / "x.safetensors" for name in ("a", "b c", "d"))
    for path in (first, moved, edited):
        path.parent.mkdir()
        shutil.copy(home / "taken" / "model.safetensors", path)
    state = load_file(edited)
    state["classifier.bias"][0] += 1e-3
    save_file(state, edited)
    given = [ids(f"init={path}") for path in (first, moved, edited)]
    assert given[0] == given[1] != given[2]
    drawn = ids()
    assert drawn == ids("init=null") == ids("init_partial=true")
    assert drawn not in given
    assert ids(f"init={first}", "init_partial=true") == given[0]
    assert ids(f"init=null,{moved}") == [*drawn, *given[0]]


def test_a_file_that_changes_after_planning_is_not_trained_from(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    shutil.copy(home / "taken" / "model.safetensors", path)
    [entry] = planned("scaling=resolution", "phi=0", f"init={path}").planned
    path.write_bytes(weights_of(home).read_bytes())
    with pytest.raises(ValueError, match="has changed since the run was planned"):
        begun(entry)


# ---------------------------------------------------------------- what is refused


def wrapped(home: Path, path: Path) -> None:
    torch.save({"model": read_weights(weights_of(home)), "epoch": 3}, path)


def changed(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path, Path], None]:
    def write(home: Path, path: Path) -> None:
        state = dict(read_weights(weights_of(home)))
        change(state)
        torch.save(state, path)

    return write


def flipped(home: Path, path: Path) -> None:
    """One bit of a tensor is another, in a file as long as it was."""
    content = bytearray(weights_of(home).read_bytes())
    weight = read_weights(weights_of(home))["classifier.weight"].numpy().tobytes()
    content[content.index(weight)] ^= 1
    path.write_bytes(content)


REFUSED: Mapping[str, Callable[[Path, Path], object]] = {
    r"holds no weights \(.* in it is damaged\)": flipped,
    r"holds no weights \(": lambda home, path: path.write_bytes(
        weights_of(home).read_bytes()[:900]
    ),
    r"holds no weights \(Weights only load failed": lambda home, path: torch.save(print, path),
    r"holds a mapping of model, epoch, no state dict; save that alone": wrapped,
    r"holds a list, no state dict": lambda home, path: torch.save([1], path),
    r"stem\.0\.weight holds numbers that are not finite": changed(
        lambda state: state["stem.0.weight"].fill_(float("nan"))
    ),
    r"they have no blocks\.2\.expand\.0\.weight, one of 1 differences; give": changed(
        lambda state: state.pop("blocks.2.expand.0.weight")
    ),
    r"they have other\.weight, too, one of 1": changed(
        lambda state: state.update({"other.weight": torch.zeros(3)})
    ),
    r"stem\.0\.weight has shape \(9, 3, 3, 3\), not \(8, 3, 3, 3\), one of 1": changed(
        lambda state: state.update({"stem.0.weight": torch.zeros(9, 3, 3, 3)})
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_file_that_is_no_start_is_refused_in_a_line(
    home: Path, tmp_path: Path, message: str
) -> None:
    path = tmp_path / "given.pt"
    REFUSED[message](home, path)
    with pytest.raises(ValueError, match=message) as refusal:
        planned("scaling=resolution", "phi=0", f"init={path}")
    assert "\n" not in str(refusal.value) and "given.pt" in str(refusal.value)


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("depth", r"depth phi=1 cannot start there, the weights have no blocks\.2\.expand"),
        (
            "width",
            r"width phi=1 cannot start there, stem\.0\.weight has shape \(11, 3, 3, 3\), in the ",
        ),
    ],
)
def test_what_would_not_start_alike_is_refused_before_anything_trains(
    home: Path, rule: str, first: str
) -> None:
    given = f"init={home / 'taken'}"
    with pytest.raises(ValueError, match=f"{first}.*init_partial=true"):
        planned("scaling=resolution," + rule, "phi=0,1", "cost=nominal", given)


def test_weights_of_another_kind_of_network_are_refused(home: Path) -> None:
    """Equal in every shape: a file of ours says which network it is."""
    about = json.loads((home / "taken" / "config.json").read_text())
    network = about["network"]
    taken = home / "copied"
    shutil.copytree(home / "taken", taken, dirs_exist_ok=True)
    network["activation"] = "relu"
    (taken / "config.json").write_text(json.dumps(about))
    with pytest.raises(
        ValueError, match="activation is relu in the weights' network, silu in this"
    ):
        planned("scaling=resolution", "phi=0", f"init={taken}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.pt", r"init=nowhere\.pt: no such file; give a state dict"),
        (".", r"init=\.: the folder has neither model\.safetensors"),
        (
            "timm/resnet50d.ra2_in1k",
            r"init=timm/resnet50d.*: no such weights are known; there are timm/",
        ),
        (
            "timm/tf_efficientnet_b0.in1k",
            r"init=timm/tf_efficientnet_b0.*TensorFlow's SAME padding",
        ),
        ("timm/efficientnet_b0", r"init=timm/efficientnet_b0: timm's weights have a tag, such as"),
        (
            "timm/efficientnet_b0.absent",
            r"https://huggingface.co/timm/efficientnet_b0.absent could not be fetched \(we cannot find the "
            r"requested files. Please wait\); check name and network, or fetch it elsewhere",
        ),
        (
            "hf:owner",
            r"init=hf:owner: model.safetensors of https://huggingface.co/owner/ could not be",
        ),
        ("torchvision/resnet18", r"only torchvision knows where its weights lie; pip install"),
    ],
)
def test_a_name_that_leads_nowhere_says_the_way_out(
    hub: list[tuple[str, str]],
    folder: Path,
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refusal:
        planned("scaling=resolution", "phi=0", f"init={name}")
    assert "\n" not in str(refusal.value)


def test_a_released_network_starts_its_own_kind_alone(hub: list[tuple[str, str]]) -> None:
    given = "init=timm/efficientnet_b0.ra_in1k"
    with pytest.raises(ValueError, match="is .* in the weights' network, .* in this one"):
        planned("baseline=mobilenet-v2", *BIG, given)


# ---------------------------------------------------------------- trained, told, taken home


def test_a_trained_run_started_there_and_says_so_everywhere(
    home: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps too small to move a weight leave what it started from."""
    tracked: list[Mapping[str, Any]] = []

    class Tracker(executing.Tracker):
        def __init__(self, planned: Any, execution: Any, config: Mapping[str, Any]) -> None:
            tracked.append(config)
            super().__init__(planned, execution, config)

    monkeypatch.setattr(executing, "Tracker", Tracker)
    still = ("recipe.learning_rate=1e-12", "recipe.ema=0", "recipe.norm_momentum=1e-6")
    folders = (f"runs={tmp_path / 'runs'}", f"results={tmp_path / 'results'}", f"cache={cache}")
    words = [*SOURCE, *still, *folders, f"init={home / 'taken'}"]
    wanted = planned(*words, "keep_weights=true")
    [entry] = wanted.planned
    execute(entry, wanted.execution)
    after = ConvNet(entry.run.network)
    after.load_state_dict(read_weights(weights_path(tmp_path / "runs", entry.run.id)))
    check_alike(after.eval(), source(home), entry.run.network.pixels, 1e-3)

    record = read_record(tmp_path / "runs", entry.run)
    assert record and entry.run.init
    told = {
        "digest": hashlib.sha256((home / "taken/model.safetensors").read_bytes()).hexdigest(),
        "source": ".../taken/model.safetensors",
        "share": 1.0,
        "whole": True,
        "classifier": True,
    }
    assert record.config["init"] == tracked[0]["init"] == told
    with hydra():
        export.show(arguments([*words, f"to={tmp_path / 'again'}"]), False)
        pack.show(arguments(words), False)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["start"] == told
    card = (tmp_path / "again" / "README.md").read_text()
    assert "It started from `.../taken/model.safetensors` (SHA-256 " in card
    assert "of these weights, and of those that they started from" in card
    archived = read_archive(tmp_path / "results" / "sweep")[entry.run.id]
    assert archived["config"]["init"] == told and str(home) not in json.dumps(archived)


def test_a_plan_a_page_and_a_recommendation_say_that_arms_do_not_start_alike(
    home: Path, tmp_path: Path
) -> None:
    given = ("study=quick", "init_partial=true", f"init={home / 'taken'}")
    results = results_of(tmp_path, *given)
    [said] = starts(results.wanted.planned)
    assert re.search(
        r"so much of their parameters: baseline 100\.0%, width 0\.0%, depth \d\d\.\d% to \d\d\.\d%, "
        r"resolution 100\.0%, compound 0\.0%; the rest is drawn\. They do not start alike: findings "
        "compare their starts as well as their rules; seeds do not vary",
        said,
    )
    shown = table(results.wanted, {})
    assert said in shown
    shares = {row["start_share"] for row in rows(results.wanted, {})}
    assert {0.0, 1.0} < shares
    report(results)
    page = (results.folder / "report.html").read_text()
    assert "They do not start alike" in page and "0.0%" in page
    assert said in (results.folder / "findings.md").read_text()
    assert "started from .../taken/model.safetensors, not alike" in note(results)
    advice = advise(results, Budget(times=2), lambda run: None)
    assert said in text(advice)


def test_networks_that_start_alike_are_not_warned_of(home: Path, tmp_path: Path) -> None:
    given = ("study=quick", "study.rules=[resolution]", f"init={home / 'taken'}")
    wanted = planned(*given)
    [said] = starts(wanted.planned)
    assert said.startswith("all networks start from .../taken/model.safetensors")
    assert starts(planned("study=quick").planned) == []
    both = planned("scaling=resolution", f"init=null,{home / 'taken'}", "phi=0,1")
    [said] = starts(both.planned)
    assert said.startswith('micro, init="') and "all networks start from" in said


def test_a_module_of_ones_own_starts_whole_or_not_at_all(folder: Path, cache: Path) -> None:
    own = ("baseline.factory=nets:small", "baseline.pixels=20", "recipe.zero_init=false")
    words = (*own, *TINY, "runs=runs", "cache=cache", "wandb.mode=disabled", "accelerator=cpu")
    [entry] = planned("phi=0", *own, "cache=cache").planned
    net = net_of(entry.run).eval()
    torch.save(net.state_dict(), "own.pt")
    [started] = planned("phi=0", *words, "init=own.pt").planned
    check_alike(begun(started), net, 20)
    for partial in ("false", "true"):
        with pytest.raises(ValueError, match="not the weights of this network"):
            planned("scaling=depth", "phi=1", *words, "init=own.pt", f"init_partial={partial}")


def test_nothing_to_start_from_loads_nothing() -> None:
    """Planning a run that starts afresh knows no torch."""
    code = (
        "import sys; from ablation.command.planning import plan; from ablation.door import hydra\n"
        "with hydra(): plan(['init=null', 'phi=0,1'])\n"
        "sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
