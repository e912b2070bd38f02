"""Class activation maps: their mean is the logit, and examples are chosen without looking at a network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ablation.images import shapes
from ablation.runs.arms import Arm, expand
from ablation.runs.config import Data, Execution
from ablation.show.activation import activation_figure, class_activation_maps, examples, maps_of
from ablation.theory.baselines import MINI
from ablation.theory.scaling import Coefficients
from ablation.train.execute import execute
from ablation.train.model import ConvNet
from tests.test_training import RECIPE

DATA = Data("shapes", 12, 96, train_size=64, validation_size=40)


def test_a_map_averages_to_the_logit_of_its_class() -> None:
    torch.manual_seed(0)
    net = ConvNet(MINI.network).eval()
    torch.nn.init.normal_(net.classifier.bias)
    images, classes = torch.randn(5, 3, 48, 48), torch.tensor([0, 3, 3, 7, 11])
    maps, logits = class_activation_maps(net, images, classes)
    assert maps.shape == (5, 3, 3)
    assert torch.allclose(logits, net(images), atol=1e-5)
    expected = logits.gather(1, classes[:, None])[:, 0] - net.classifier.bias[classes]
    assert torch.allclose(maps.mean((1, 2)), expected, atol=1e-5)


def test_examples_are_the_first_evaluation_image_of_each_class(cache: Path) -> None:
    found = examples(DATA, cache, 32, RECIPE, count=4)
    assert found.labels.tolist() == [0, 4, 7, 11]
    images, labels = shapes.render("evaluation", 100, 0)
    for pixels, label in zip(
        examples(DATA, cache, 96, RECIPE, count=4).pixels, found.labels.tolist(), strict=True
    ):
        assert np.array_equal(pixels, images[np.flatnonzero(labels == label)[0]])


def test_kept_weights_give_maps_at_every_resolution(tmp_path: Path, cache: Path) -> None:
    execution = Execution(tmp_path, cache, accelerator="cpu", wandb="disabled", keep_weights=True)
    arms = [
        Arm("baseline", "nominal", coefficients=Coefficients()),
        Arm("resolution", "nominal", coefficients=Coefficients(resolution=1.5)),
    ]
    planned = expand(MINI, arms, RECIPE, DATA, [0])
    assert maps_of(planned[0], execution) is None
    for entry in planned:
        execute(entry, execution)
    found = [maps_of(entry, execution) for entry in planned]
    assert [maps.maps.shape[1:] for maps in found] == [(2, 2), (3, 3)]
    for maps in found:
        assert maps.maps.amin((1, 2)).tolist() == pytest.approx([0.0] * 4)
        assert maps.maps.amax((1, 2)).tolist() == pytest.approx([1.0] * 4)
    figure = activation_figure(examples(DATA, cache, 96, RECIPE), found)
    assert len(figure.axes) == 4 * 3
    assert figure.axes[1].get_title() == "baseline\nmap of 2 x 2"
