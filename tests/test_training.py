"""Training: optimizer, schedule, averaging, one run end to end, divergence, and the reminder to raise
RESULTS_VERSION."""

import dataclasses
import json
import math
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablation.images.batches import Batches
from ablation.images.splits import Images, load
from ablation.runs.arms import Arm, Planned, expand
from ablation.runs.config import RESULTS_VERSION, Data, Execution, Recipe
from ablation.runs.records import Record, read_record, weights_path
from ablation.theory.baselines import MINI
from ablation.theory.scaling import RULES, Coefficients
from ablation.train.classifier import Averaging, GiveSignalsBack, measure
from ablation.train.execute import execute
from ablation.train.model import ConvNet, net_of
from ablation.train.optimizer import TensorFlowRMSprop, make_optimizer, schedule
from ablation.train.watch import finite

RECIPE = Recipe(
    epochs=2,
    batch_size=16,
    learning_rate=0.1,
    ema=0.9,
    label_smoothing=0.1,
    dropout=0.1,
    drop_path=0.1,
    shift=0.1,
    validate_every=1,
)
DATA = Data("shapes", 12, 96, train_size=96, validation_size=40)


def planned(
    recipe: Recipe = RECIPE, data: Data = DATA, seed: int = 0, evaluate: bool = True
) -> Planned:
    return expand(
        MINI, [Arm("compound", "matched", RULES["compound"], 0.5)], recipe, data, [seed], evaluate
    )[0]


@pytest.fixture
def execution(tmp_path: Path, cache: Path) -> Execution:
    return Execution(tmp_path / "runs", cache, accelerator="cpu", wandb="disabled")


def untimed(record: Record) -> dict[str, object]:
    timed = ("seconds", "total_seconds", "images_per_second", "peak_memory", "finished")
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in timed}


def test_a_run_leaves_a_record_with_everything(execution: Execution) -> None:
    entry = planned()
    record = execute(entry, execution)
    assert read_record(execution.runs, entry.run) is not None
    content = json.loads((execution.runs / entry.run.id / "record.json").read_text())
    assert (
        content["status"],
        content["seed"],
        content["epochs"],
        content["threads"],
        content["cost"],
    ) == ("done", 0, 2, 1, "matched")
    assert content["config"]["network"]["pixels"] == entry.run.network.pixels
    assert content["config"]["recipe"]["ema"] == 0.9
    for name in ("accuracy", "val_accuracy", "train_accuracy"):
        assert 0 <= content[name] <= 1
    for name in ("loss", "val_loss", "train_loss", "seconds", "images_per_second", "peak_memory"):
        assert content[name] > 0
    assert [row["epoch"] for row in record.history] == [1, 2]
    assert all(row["val/accuracy"] is not None and row["train/loss"] > 0 for row in record.history)
    assert record.history[1]["flops"] == 2 * 96 * 6 * record.macs
    assert set(record.versions) == {"python", "torch", "pytorch-lightning", "numpy"}


def test_the_same_run_gives_the_same_numbers_and_a_done_run_is_not_trained_again(
    execution: Execution, tmp_path: Path
) -> None:
    first = execute(planned(), execution)
    elsewhere = dataclasses.replace(execution, runs=tmp_path / "elsewhere")
    assert untimed(execute(planned(), elsewhere)) == untimed(first)
    again = execute(planned(), execution)
    assert again.finished == first.finished
    assert execute(planned(seed=1), execution).train_loss != first.train_loss


def test_evaluate_false_leaves_no_accuracy(execution: Execution) -> None:
    record = execute(planned(evaluate=False), execution)
    assert (record.accuracy, record.loss) == (None, None)
    assert record.val_accuracy >= 0


def test_a_diverged_run_is_a_result(execution: Execution) -> None:
    record = execute(
        planned(dataclasses.replace(RECIPE, learning_rate=1e30, warmup_epochs=0.0)), execution
    )
    assert record.status == "diverged"
    assert record.train_loss is None
    assert (
        json.loads((execution.runs / record.run_id / "record.json").read_text())["status"]
        == "diverged"
    )


def test_training_learns(execution: Execution) -> None:
    """Forty images learned by heart: far above the 8 % of chance."""
    recipe = Recipe(epochs=30, batch_size=16, learning_rate=0.1, flip=False, validate_every=100)
    record = execute(
        planned(recipe, dataclasses.replace(DATA, train_size=32, validation_size=40)), execution
    )
    assert record.train_accuracy > 0.8


def test_results_are_those_of_this_results_version(execution: Execution) -> None:
    """Twenty steps of a tiny run. Where this fails, a change alters results: raise RESULTS_VERSION and store
    the new loss here."""
    recipe = Recipe(
        epochs=4,
        batch_size=16,
        learning_rate=0.05,
        clip=1.0,
        ema=0.9,
        shift=0.1,
        drop_path=0.1,
        weight_decay=1e-3,
        validate_every=9,
    )
    run = expand(
        MINI,
        [Arm("coefficients", "nominal", coefficients=Coefficients(depth=2))],
        recipe,
        dataclasses.replace(DATA, train_size=80),
        [0],
    )[0]
    record = execute(run, execution)
    stored = {1: [2.77812, 2.68811, 2.52846, 2.58974]}[RESULTS_VERSION]
    assert [row["train/loss"] for row in record.history] == pytest.approx(stored, abs=1e-3)


def test_weight_decay_leaves_norms_and_biases_alone() -> None:
    net = ConvNet(MINI.network)
    for name in ("sgd", "adamw", "rmsprop"):
        optimizer = make_optimizer(
            net, dataclasses.replace(RECIPE, optimizer=name, weight_decay=0.5)
        )
        decayed = {
            id(p)
            for group in optimizer.param_groups
            if group["weight_decay"]
            for p in group["params"]
        }
        for module in net.modules():
            for key, p in module.named_parameters(recurse=False):
                assert (id(p) in decayed) == (
                    isinstance(module, nn.Conv2d | nn.Linear) and key == "weight"
                )
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
            list(net.parameters())
        )


def test_rmsprop_is_tensorflows() -> None:
    """Two steps by hand: ms = 0.9 ms + 0.1 g^2 from 1, mom = 0.9 mom + lr g / sqrt(ms + eps)."""
    p = nn.Parameter(torch.tensor([1.0]))
    optimizer = TensorFlowRMSprop([p], lr=0.1, momentum=0.9)
    value, square, buffer = 1.0, 1.0, 0.0
    for gradient in (2.0, -0.5):
        p.grad = torch.tensor([gradient])
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        buffer = 0.9 * buffer + 0.1 * gradient / math.sqrt(square + 1e-3)
        value -= buffer
        assert p.item() == pytest.approx(value, rel=1e-5)


def test_one_epoch_of_a_recipe_that_warms_up_for_one_is_all_warm_up() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1, warmup_epochs=1.0)
    factors = [schedule(recipe, steps_per_epoch=10)(step) for step in range(10)]
    assert factors == [(step + 1) / 11 for step in range(10)]
    with pytest.raises(
        ValueError, match="warmup_epochs=1.5: must be as long as or shorter than recipe.epochs=1"
    ):
        dataclasses.replace(RECIPE, epochs=1, warmup_epochs=1.5)


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    cosine = schedule(dataclasses.replace(RECIPE, epochs=10, warmup_epochs=1.0), steps_per_epoch=10)
    factors = [cosine(step) for step in range(100)]
    assert factors[:10] == sorted(factors[:10]) and factors[0] < 0.2
    assert max(factors) == factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.001


def test_the_papers_schedule_is_a_staircase_from_step_zero() -> None:
    decay = schedule(
        dataclasses.replace(RECIPE, epochs=350, warmup_epochs=5.0, schedule="exponential"),
        steps_per_epoch=100,
    )
    assert decay(499) < 1
    assert decay(500) == pytest.approx(0.97**2)
    assert decay(719) == pytest.approx(0.97**2)
    assert decay(720) == pytest.approx(0.97**3)


def test_averages_warm_up_and_cover_batch_norm_statistics() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.BatchNorm1d(1)

    module, averaging = Module(), Averaging(0.9)
    averaging._average_model = averaged = torch.optim.swa_utils.AveragedModel(
        module, use_buffers=True
    )
    weight, mean = 1.0, 0.0
    for n in range(8):
        module.net.weight.data.fill_(float(n))
        module.net.running_mean.fill_(10.0 * n)
        module.net.num_batches_tracked.fill_(n)
        averaging.update(module.net, n)
        decay = min(0.9, (1 + n) / (10 + n))
        weight, mean = (
            (float(n), 10.0 * n)
            if n == 0
            else (decay * weight + (1 - decay) * n, decay * mean + (1 - decay) * 10 * n)
        )
    assert averaged.module.net.weight.item() == pytest.approx(weight)
    assert averaged.module.net.running_mean.item() == pytest.approx(mean)
    assert averaged.module.net.num_batches_tracked.item() == 7


def test_averages_take_in_each_tensor_once_and_a_buffer_that_its_module_replaces() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
            self.other.weight = self.one.weight
            self.register_buffer("last", torch.zeros(1))
            self.register_buffer("none", None)

    module, averaging = nn.Module(), Averaging(0.9)
    module.net = net = Tied()
    averaging._average_model = torch.optim.swa_utils.AveragedModel(module, use_buffers=True)
    net.one.weight.data.fill_(0.0)
    averaging.update(net, 0)
    net.one.weight.data.fill_(1.0)
    net.last = torch.full((1,), 11.0)
    averaging.update(net, 1)
    average = averaging.network
    assert average.one.weight is average.other.weight
    assert average.one.weight.item() == pytest.approx(9 / 11)  # 1 - (1 + n) / (10 + n), once
    assert average.last.item() == pytest.approx(9.0)


def test_the_averaged_network_is_what_is_measured(execution: Execution) -> None:
    kept = execute(planned(), execution)
    plain = execute(planned(dataclasses.replace(RECIPE, ema=0.0)), execution)
    assert [row["train/loss"] for row in kept.history] == [
        row["train/loss"] for row in plain.history
    ]
    assert kept.val_loss != plain.val_loss


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded:DeprecationWarning"
)  # of Python 3.12 where readers start
def test_streamed_images_train_to_the_same_numbers(execution: Execution, tmp_path: Path) -> None:
    """Dropout, too: reading ahead takes no random number from it; RandAugment and mixing act on both."""
    recipe = dataclasses.replace(
        RECIPE,
        dropout=0.2,
        drop_path=0.2,
        shift=0.1,
        randaugment=2,
        magnitude=9,
        mixup=0.8,
        cutmix=1,
    )
    held, streamed = (
        execute(
            planned(recipe),
            dataclasses.replace(execution, runs=tmp_path / str(resident), resident=resident),
        )
        for resident in (True, False)
    )
    assert untimed(held) == untimed(streamed)


def test_a_batch_in_parts_takes_one_step_with_the_mean_of_their_gradients(
    execution: Execution,
) -> None:
    """By hand: batch norm sees each part by itself, clipping sees the mean."""
    recipe = dataclasses.replace(RECIPE, epochs=1, ema=0.0, clip=0.5, accumulate=4)
    entry = planned(recipe, dataclasses.replace(DATA, train_size=16))
    execute(entry, dataclasses.replace(execution, keep_weights=True))
    run = entry.run
    torch.manual_seed(run.seed)
    net = net_of(run)
    images = load(run.data, run.network.pixels, execution.cache).train
    batches = Batches(images, recipe, run.seed, epoch=lambda: 0)
    torch.manual_seed(0)
    assert (len(batches), batches.steps) == (4, 1)
    for pixels, labels in batches:
        (F.cross_entropy(net(pixels), labels, label_smoothing=0.1) / 4).backward()
    nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
    optimizer = make_optimizer(net, recipe)
    for group in optimizer.param_groups:
        group["lr"] *= schedule(recipe, 1)(0)
    optimizer.step()
    found = torch.load(weights_path(execution.runs, run.id), weights_only=True)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_measure_counts_every_image_once() -> None:
    torch.manual_seed(0)
    net = ConvNet(MINI.network)
    images = Images(
        torch.randint(0, 255, (70, 32, 32, 3), dtype=torch.uint8), torch.arange(70) % 12
    )
    assert measure(net, images, batch=32) == pytest.approx(measure(net, images, batch=70), rel=1e-5)
    assert net.training


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    callback = GiveSignalsBack()
    signal.signal(signal.SIGTERM, lambda *args: None)
    callback.on_train_start(None, None)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGTERM) == before


def test_bf16_and_the_papers_recipe_run(execution: Execution) -> None:
    paper = Recipe(
        2,
        16,
        0.004,
        "rmsprop",
        schedule="exponential",
        ema=0.9999,
        label_smoothing=0.1,
        dropout=0.2,
        drop_path=0.2,
        crop=0.08,
        precision="bf16",
    )
    record = execute(planned(paper), execution)
    assert record.status == "done"


def test_json_has_no_nan() -> None:
    assert [finite(value) for value in (1.0, math.nan, math.inf, None)] == [1.0, None, None, None]
