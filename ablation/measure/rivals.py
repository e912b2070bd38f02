"""What our speed is held against: a bare loop of PyTorch, the usual pipeline of Lightning templates, and a
matrix product."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ablation.images.batches import MEAN, STD
from ablation.images.splits import Images
from ablation.measure.steps import Trial, seconds_of, seconds_per_call
from ablation.runs.config import Execution, Run
from ablation.train.devices import devices_of, settle
from ablation.train.execute import quiet
from ablation.train.model import module_of

SIDE = 2048  # of the matrices: they fill no cache, and a product takes a second on one slow core


def bare_rate(run: Run, steps: int, where: Execution) -> float:
    """Images a second of a plain loop around the module and the optimizer of a run, from its first step; its
    one batch lies on the device."""
    with _device(where) as device:
        return steps * run.recipe.batch_size / seconds_of(Trial(run, device).train, steps, device)


def step_seconds(run: Run, where: Execution, seconds: float) -> float:
    """Seconds of a step of the same loop, once it is warm: the mean over `seconds`."""
    with _device(where) as device:
        return seconds_per_call(Trial(run, device).train, seconds, device)


def matrix_rate(where: Execution, seconds: float) -> float:
    """FLOP/s of a float32 matrix product, for so many seconds."""
    with _device(where) as device:
        left, right, out = (torch.randn(SIDE, SIDE, device=device) for _ in range(3))
        return (
            2 * SIDE**3 / seconds_per_call(lambda: torch.mm(left, right, out=out), seconds, device)
        )


@contextlib.contextmanager
def _device(where: Execution) -> Iterator[torch.device]:
    settle(where.threads)
    with devices_of(where) as [device]:
        yield device


def usual_rate(
    run: Run, files: Sequence[Path], workers: int, where: Execution, folder: Path
) -> float:
    """Images a second of the usual pipeline with the same network, batch size and optimizer: after its first
    step, so without the start of its workers. files: JPEG images, class by name of their folder. folder: of
    its log."""
    torch.set_num_threads(where.threads)
    torch.manual_seed(run.seed)
    recipe = run.recipe
    loader = DataLoader(
        Pictures(files, run.network.pixels),
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    clock = Clock()
    with quiet():
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator=where.accelerator,
            devices=1,
            logger=CSVLogger(folder),
            log_every_n_steps=1,
            callbacks=[clock],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(
            Usual(
                module_of(run.network, recipe),
                recipe.learning_rate,
                recipe.momentum,
                recipe.weight_decay,
                len(loader),
            ),
            loader,
        )
    return (len(loader) - 1) * recipe.batch_size / clock.seconds


class Pictures(Dataset[tuple[Tensor, int]]):
    """Files decoded and transformed one by one, as torchvision's ImageFolder, Resize, RandomHorizontalFlip,
    ToTensor and Normalize do."""

    def __init__(self, files: Sequence[Path], side: int) -> None:
        self.files, self.side = list(files), side
        names = sorted({file.parent.name for file in files})
        self.labels = [names.index(file.parent.name) for file in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as opened:
            picture = self.shaped(opened.convert("RGB"))
        if torch.rand(1) < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        return planes.sub_(torch.tensor(MEAN)[:, None, None]).div_(
            torch.tensor(STD)[:, None, None]
        ), self.labels[index]

    def shaped(self, picture: Image.Image) -> Image.Image:
        """A picture at the side."""
        return picture.resize((self.side, self.side), Image.Resampling.BILINEAR)


class Usual(pl.LightningModule):
    """The LightningModule of most templates: loss and accuracy logged at every step, torch's own SGD with a
    cosine schedule."""

    def __init__(
        self, net: nn.Module, learning_rate: float, momentum: float, weight_decay: float, steps: int
    ) -> None:
        super().__init__()
        self.net = net
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.steps = steps

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", accuracy, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(),
            self.learning_rate,
            self.momentum,
            weight_decay=self.weight_decay,
            nesterov=True,
        )
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Clock(Callback):
    """Seconds from the end of the first training step to the end of the last."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if index == 0:
            self.started = time.perf_counter()
        self.seconds = time.perf_counter() - self.started


def write_jpegs(images: Images, folder: Path) -> list[Path]:
    """The images as JPEG files in one folder for each class; quality 95."""
    files = []
    for number, (pixels, label) in enumerate(
        zip(images.pixels, images.labels.tolist(), strict=True)
    ):
        files.append(folder / f"{label:04d}" / f"{number}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(files[-1], quality=95)
    return files
