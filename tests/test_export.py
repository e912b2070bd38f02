"""A trained network as a folder: what a stranger loads computes what was evaluated, and says what it is."""

import dataclasses
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ablation import export, pack
from ablation.command.overrides import arguments
from ablation.command.planning import Taken, plan
from ablation.door import hydra
from ablation.images.batches import normalise
from ablation.images.cache import about, decoded, images_of
from ablation.images.pixels import deep_sample, levels_of, square
from ablation.images.splits import resize
from ablation.runs.config import Data, Recipe, Run
from ablation.runs.records import Record, read_archive, read_record, weights_path, write_record
from ablation.theory.baselines import BASELINES
from ablation.theory.network import Network
from ablation.train import exported
from ablation.train.checkpoints import read_weights
from ablation.train.execute import execute
from ablation.train.model import ConvNet
from ablation.train.written import prepare, written
from tests.conftest import TINY
from tests.test_model import MIXED

ASKED = ("scaling=compound", "phi=1", "seed=3", *TINY, "wandb.mode=disabled", "accelerator=cpu")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> list[str]:
    """What trained a network that kept its weights."""
    runs = tmp_path_factory.mktemp("runs")
    asked = [*ASKED, f"runs={runs}", f"cache={cache}", f"results={runs / 'results'}"]
    with hydra():
        wanted = plan([*asked, "keep_weights=true"])
    execute(wanted.planned[0], wanted.execution)
    return asked


@pytest.fixture(scope="module")
def folder(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What left."""
    to = tmp_path_factory.mktemp("taken") / "a network"
    take(words, to)
    return to


def take(words: list[str], to: Path | None = None, *more: str) -> None:
    given = [*words, *([f"to={to}"] if to else []), *more]
    with hydra():
        export.show(arguments(given), False)


def done(words: list[str]) -> tuple[Run, Record, Path]:
    """The run that was trained, its record, and where its weights lie."""
    with hydra():
        wanted = plan(words)
    run, runs = wanted.planned[0].run, wanted.execution.runs
    record = read_record(runs, run)
    assert record
    return run, record, weights_path(runs, run.id)


def own_logits(words: list[str], images: Tensor) -> Tensor:
    run, _, weights = done(words)
    net = ConvNet(run.network)
    net.load_state_dict(read_weights(weights))
    with torch.inference_mode():
        return net.eval()(images)


def ten(pixels: int) -> Tensor:
    return torch.randn(10, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


STRANGER = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("ablation", "pytorch_lightning", "hydra", "PIL", "pandas", "datasets"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
try:
    import ablation
except ImportError:
    pass
else:
    sys.exit("ablation is there")
sys.path.insert(0, ".")
import torch
from model import load

net, config = load()
assert not net.training
with torch.inference_mode():
    torch.save(net(torch.load(sys.argv[1])), sys.argv[2])
"""


def test_a_stranger_with_torch_alone_computes_the_same_logits(
    words: list[str], folder: Path, tmp_path: Path
) -> None:
    images = ten(done(words)[0].network.pixels)
    torch.save(images, tmp_path / "images.pt")
    command = [sys.executable, "-I", "-B", "-c", STRANGER]
    subprocess.run(
        [*command, str(tmp_path / "images.pt"), str(tmp_path / "logits.pt")], cwd=folder, check=True
    )
    found = torch.load(tmp_path / "logits.pt")
    torch.testing.assert_close(found, own_logits(words, images), atol=1e-5, rtol=0)


def test_the_lines_of_the_card_classify_an_image_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert code
    lines = [line for line in code[1].splitlines() if line]
    assert len(lines) <= 10
    here = folder.parent
    Image.new("RGB", (130, 100), "red").save(here / "photo.jpg")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    exec(code[1], {})
    del sys.modules["model"]
    assert re.fullmatch(r"(\d+\.\d%  \d+ degrees\n){3}", capsys.readouterr().out)


def test_the_folder_says_what_the_network_is(words: list[str], folder: Path) -> None:
    run, record, _ = done(words)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.py",
        "model.safetensors",
    ]
    told = json.loads((folder / "config.json").read_text())
    assert told["run"] == run.id
    assert told["accuracy"] == {
        "value": record.accuracy,
        "split": "evaluation",
        "images": 60,
        "precision": "fp32",
    }
    network = told["network"]
    assert (network["rule"], network["phi"], network["baseline"]) == ("compound", 1, "micro")
    assert (network["macs"], network["params"]) == (record.macs, record.params)
    assert "say yourself" in told["data"]["licence"]
    card = (folder / "README.md").read_text()
    assert f"{record.accuracy:.1%} of 60 images of the evaluation split" in card
    assert "6: 0 degrees, 30 degrees" in card


def test_a_run_with_the_evaluation_split_closed_reports_validation(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(words, tmp_path / "closed", "evaluate=false")
    _, record, _ = done(words)
    accuracy = json.loads((tmp_path / "closed" / "config.json").read_text())["accuracy"]
    assert (accuracy["value"], accuracy["split"]) == (record.val_accuracy, "validation")
    assert accuracy["images"] == 50
    assert "on the validation split" in capsys.readouterr().out
    card = (tmp_path / "closed" / "README.md").read_text()
    assert "of the validation split; the evaluation split was not opened" in card


def test_onnx_runtime_computes_the_same_logits(words: list[str], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    take(words, tmp_path / "taken", "onnx=true")
    images = ten(done(words)[0].network.pixels)
    session = onnxruntime.InferenceSession(
        tmp_path / "taken" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(found), own_logits(words, images), atol=1e-5, rtol=0
    )
    assert "`model.onnx` takes `images`" in (tmp_path / "taken" / "README.md").read_text()


def test_what_onnx_needs_is_said(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^onnx=true: .*pip install onnx onnxscript onnxruntime$"):
        take(words, tmp_path / "taken", "onnx=true")
    assert not (tmp_path / "taken").exists()


def module_of(network: Network, recipe: Recipe) -> type[nn.Module]:
    """The class that the written file of a network defines."""
    data = Data("a", network.classes, network.pixels)
    defined: dict[str, Any] = {}
    exec(compile(written(Run(network, recipe, data, 0), "About."), "model.py", "exec"), defined)
    return defined["Model"]


def random_state(net: nn.Module) -> Mapping[str, Tensor]:
    """Weights of the shapes of a module without any, that leave no path of it silent."""
    torch.manual_seed(0)
    state = {}
    for name, tensor in net.state_dict().items():
        if name.endswith(("running_var", "gamma")) or (tensor.ndim == 1 and "weight" in name):
            state[name] = torch.rand(tensor.shape) + 0.5
        elif tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 100
            state[name] = torch.randn(tensor.shape) * fan_in**-0.5
        else:
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return state


def check_equal(network: Network, recipe: Recipe, pixels: int) -> None:
    kind = module_of(network, recipe)
    with torch.device("meta"):
        ours, theirs = ConvNet(network).eval(), kind().eval()
    assert [(name, each.shape) for name, each in ours.state_dict().items()] == [
        (name, each.shape) for name, each in theirs.state_dict().items()
    ]
    if not pixels:
        return
    state = random_state(ours)
    images = torch.randn(2, 3, pixels, pixels)
    logits = []
    for net in (ours, theirs):
        net.load_state_dict(state, assign=True)
        with torch.inference_mode():
            logits.append(net(images))
    assert logits[0].isfinite().all()
    assert logits[0].std() > 0
    assert torch.equal(*logits)


# So deep or wide that shapes and names have to do.
LARGE = ("resnet-1001", "wide-resnet-50-2", "resnet-200", "resnet-152")
PLAIN = Recipe(epochs=1, batch_size=8, learning_rate=0.1)


@pytest.mark.parametrize("name", BASELINES)
def test_the_written_module_of_every_baseline_is_the_projects(name: str) -> None:
    network = BASELINES[name].network
    pixels = 0 if name in LARGE else min(network.pixels, 40)
    check_equal(network, PLAIN, pixels)


def test_the_written_module_of_every_operator_is_the_projects() -> None:
    network = Network(
        61, 5, 12, MIXED, 40, stem_kernel=5, stem_pool=2, activation="relu", hidden=30
    )
    recipe = dataclasses.replace(PLAIN, drop_path=0.3, dropout=0.2, norm_momentum=0.01)
    check_equal(network, recipe, 61)
    with torch.device("meta"):
        ours = ConvNet(network, norm_momentum=0.01, dropout=0.2, drop_path=0.3)
        theirs = module_of(network, recipe)()
    assert repr(ours.dropout) == repr(theirs.dropout)
    settings = [
        [
            getattr(each, name)
            for each in net.modules()
            for name in ("rate", "eps", "momentum")
            if hasattr(each, name)
        ]
        for net in (ours, theirs)
    ]
    assert [value for value in settings[0] if value] == [value for value in settings[1] if value]


def encoded(mode: str, size: tuple[int, int]) -> bytes:
    """A picture of noise as PNG."""
    rng = np.random.default_rng(0)
    channels = {"RGB": (3,), "RGBA": (4,), "I;16": ()}[mode]
    dtype = np.uint16 if mode == "I;16" else np.uint8
    values = rng.integers(0, np.iinfo(dtype).max, (size[1], size[0], *channels), dtype)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "mode, size, detail, background",
    [
        ("RGB", (96, 96), None, None),
        ("RGB", (150, 121), None, None),
        ("RGB", (70, 90), 32, None),
        ("RGBA", (100, 120), None, "white"),
        ("RGBA", (100, 120), None, None),
        ("I;16", (100, 120), None, None),
    ],
)
def test_an_image_is_prepared_as_in_training(
    mode: str, size: tuple[int, int], detail: int | None, background: str | None, folder: Path
) -> None:
    content = encoded(mode, size)
    levels = levels_of([deep_sample(content)]) if mode == "I;16" else {}
    native, _ = square(content, 96, background, levels=levels)
    wanted = normalise(resize(native[None], np.array([0]), 23, detail))
    changed = {"detail": detail, "background": background, "levels": levels}
    told = json.loads((folder / "config.json").read_text())["images"] | changed
    assert (told["native"], told["pixels"]) == (96, 23)
    own = runpy.run_path(str(folder / "model.py"))["prepare"]
    found = own(Image.open(io.BytesIO(content)), told)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_an_image_of_more_bits_than_the_data_had_is_refused(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())["images"]
    with pytest.raises(ValueError, match="more than 8 bits a channel; convert it"):
        prepare(Image.open(io.BytesIO(encoded("I;16", (30, 30)))), told)


def test_records_say_what_classes_are_called_and_packing_keeps_it(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, record, _ = done(words)
    images = record.config["images"]
    assert images["classes"] == [f"{30 * number} degrees" for number in range(6)]
    assert len(images["mean"]) == len(images["deviation"]) == 3
    with hydra():
        wanted = plan(words)
        pack.show(words, False)
    packed = read_archive(wanted.results / wanted.name)[run.id]
    assert packed["config"]["images"] == images


def test_classes_are_called_as_their_folders(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(8):
            file = tmp_path / "photos" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (30 * number, 0, 0)).save(file)
    data = Data("photos", 2, 8, path=str(tmp_path / "photos"), files="x", validation_size=2)
    assert images_of(data, about(data, tmp_path)) == {"classes": None}  # not decoded
    decoded(data, tmp_path)
    assert images_of(data, about(data, tmp_path)) == {"classes": ["cat", "dog"]}


def test_an_older_record_gets_names_from_the_data_at_hand(words: list[str], cache: Path) -> None:
    _, record, weights = done(words)
    with hydra():
        entry = plan(words).planned[0]
    older = {name: value for name, value in record.config.items() if name != "images"}
    old = dataclasses.replace(record, config=older)
    assert exported.trained(entry, old, weights, cache).images["classes"][1] == "30 degrees"
    unknown = dataclasses.replace(
        record, config=older | {"images": record.config["images"] | {"classes": None}}
    )
    found = exported.trained(entry, unknown, weights, cache)
    assert found.images["classes"] == list("012345")
    assert not found.named
    text = exported.card(exported.config(found), found.named)
    assert "| classes | 6, by number: their names are not known |" in text


def refused(message: str, words: list[str], *more: str) -> str:
    with pytest.raises(ValueError, match=message) as refusal:
        take(words, None, *more)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_folder_is_needed(words: list[str]) -> None:
    refused(r"^to= is not set: say which folder to write, to=FOLDER$", words)


def test_one_run_has_to_be_meant(words: list[str], tmp_path: Path) -> None:
    run = done(words)[0]
    several = [word for word in words if not word.startswith(("phi=", "seed="))]
    several += ["phi=0,1,2", "seed=2,3", f"to={tmp_path / 'taken'}"]
    said = refused(r"^the words ask for 6 runs; pick one, such as run=", several)
    assert said.count("run=") == 3
    assert f"such as run={run.id} (compound phi=1 seed=3)" in said  # the one with weights
    said = refused(
        r"^run=feed: not among these; the words ask for 6 runs, such as ", several, "run=feed"
    )
    assert said.endswith("; give the words that trained it, too, as in study=quick run=feed")
    take(several, None, f"run=runs/{run.id}")
    assert (tmp_path / "taken" / "model.py").exists()


def command_in(said: str) -> list[str]:
    """The overrides of the command that an error ends with."""
    program = "python -m ablation.run "
    return shlex.split(said.partition(program)[2])


@pytest.mark.parametrize("study", [False, True])
def test_without_a_record_the_command_that_trains_is_said(
    study: bool, words: list[str], tmp_path: Path
) -> None:
    asked = [*TINY, f"runs={tmp_path}", f"cache={tmp_path}", f"to={tmp_path / 'taken'}"]
    if study:
        asked = ["study=figure8", "study.seeds=[0]", *asked]
        with hydra():
            wanted = plan(asked).planned[-1].run.id
        asked += [f"run={wanted}"]
    else:
        asked = ["scaling=depth", "phi=1", *asked]
        with hydra():
            wanted = plan(asked).planned[0].run.id
    said = refused(r" has no record below .*; this trains it: python -m ablation.run ", asked)
    with hydra():
        again = plan(arguments(command_in(said)))
    assert [entry.run.id for entry in again.planned] == [wanted]
    assert again.execution.keep_weights
    assert again.taken == Taken()


def test_without_weights_the_command_that_trains_once_more_is_said(
    words: list[str], tmp_path: Path
) -> None:
    _, record, _ = done(words)
    write_record(tmp_path, record)
    elsewhere = [*words, f"runs={tmp_path}", f"to={tmp_path / 'taken'}"]
    refused(r" has no weights below .*; this trains it: .* keep_weights=true$", elsewhere)


def test_a_diverged_run_is_refused(words: list[str], tmp_path: Path) -> None:
    _, record, _ = done(words)
    write_record(tmp_path, dataclasses.replace(record, status="diverged"))
    elsewhere = [*words, f"runs={tmp_path}", f"to={tmp_path / 'taken'}"]
    refused(r" diverged: its weights are of no use; take another run$", elsewhere)


def test_a_folder_with_other_files_is_refused_and_stays(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    refused(r": the folder holds README.md, which no export wrote; say", words, f"to={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    refused(r": a file lies there; say a folder", words, f"to={tmp_path / 'README.md'}")


def test_an_earlier_export_is_replaced_unless_something_was_added(
    words: list[str], tmp_path: Path
) -> None:
    to = tmp_path / "taken"
    take(words, to)
    (to / "model.py").write_text("broken")
    take(words, to)
    assert "class Model" in (to / "model.py").read_text()
    (to / "notes.txt").write_text("mine")
    refused(r": the folder holds notes.txt, which no export wrote", words, f"to={to}")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_other_logits_are_never_written(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(run: Run, about: str) -> str:
        return written(run, about).replace("nn.SiLU()", "nn.ReLU()")

    monkeypatch.setattr(exported, "written", wrong)
    with pytest.raises(
        RuntimeError, match=r"^model.py computes logits that differ by .* nothing was"
    ):
        take(words, tmp_path / "taken")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_ones_own_does_not_leave_its_docstring(words: list[str], cache: Path) -> None:
    _, record, weights = done(words)
    with hydra():
        entry = plan(words).planned[0]
    named = dataclasses.replace(entry, baseline='"""\nimport os\\')
    found = exported.first_words(exported.trained(named, record, weights, cache))
    assert not {'"', "\n", "\\"} & set(found)


def test_ids_and_paths_are_words() -> None:
    assert arguments(["run=123456789012", "run=12e456789012", "to=a,b"]) == [
        'run="123456789012"',
        'run="12e456789012"',
        'to="a,b"',
    ]


def test_a_command_that_trains_takes_nothing_away(words: list[str], tmp_path: Path) -> None:
    with hydra():
        wanted = plan([*words, f"to={tmp_path}"])
    with pytest.raises(ValueError, match=r"^to=.*: only ablation.export has a use for this; leave"):
        wanted.taken.refuse()
