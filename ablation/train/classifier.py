"""How a network is trained: a LightningModule around it, its optimizer and schedule, averaged weights, and
the final measurement."""

import math
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, distributed, nn

from ablation.images.augment import partners
from ablation.images.batches import normalise
from ablation.images.splits import Images, Streamed
from ablation.runs.config import Recipe
from ablation.train.optimizer import make_optimizer, schedule

# Images in an evaluation: few enough for a processor's caches, enough to fill a GPU.
AT_ONCE = {
    "cpu": 125,
    "cuda": 500,
}
# A tensor: its module's parameters or buffers, and its name among them.
Held = tuple[dict[str, Any], str]


class Classifier(pl.LightningModule):
    """Cross-entropy on a network; sums stay on the device until the epoch ends. `diverged` once an epoch's
    loss is not finite."""

    def __init__(self, net: nn.Module, recipe: Recipe, steps_per_epoch: int, seed: int) -> None:
        super().__init__()
        self.net, self.recipe, self.steps_per_epoch, self.seed = net, recipe, steps_per_epoch, seed
        self.diverged = False
        self.train_loss, self.train_accuracy = math.nan, math.nan

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def on_train_epoch_start(self) -> None:
        # Dropout and stochastic depth: the same after a resume, others in each process of a run that is
        # split.
        torch.manual_seed(1_000_003 * self.seed + self.current_epoch + (self.global_rank << 48))
        self._sums = torch.zeros(2, device=self.device)  # of losses, of right answers
        self._steps, self._seen = 0, 0

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        images, labels, *shares = batch
        logits = self(images)
        loss = self._loss(logits.float(), labels, *shares)
        self._sums += torch.stack([loss.detach(), (logits.detach().argmax(1) == labels).sum()])
        self._steps += 1
        self._seen += len(labels)
        return loss

    def _loss(self, logits: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
        """Mean cross-entropy; of a mixed image that of both labels, each by the share of its own."""
        smoothing = self.recipe.label_smoothing
        if shares is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        own, partners_ = (
            F.cross_entropy(logits, each, label_smoothing=smoothing, reduction="none")
            for each in (labels, partners(labels))
        )
        return own.lerp(partners_, shares).mean()

    def close_epoch(self) -> None:
        """Read the epoch's sums, those of all processes: the only time that the host waits for the device."""
        if distributed.is_initialized():
            distributed.all_reduce(self._sums)
        loss, right = self._sums / self.trainer.world_size
        self.train_loss = (loss / max(1, self._steps)).item()
        self.train_accuracy = (right / max(1, self._seen)).item()
        if not math.isfinite(self.train_loss):
            self.diverged = True
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.net, self.recipe)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, schedule(self.recipe, self.steps_per_epoch)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Averaging(WeightAveraging):
    """Exponential moving average of weights and of batch-norm statistics, warmed up as min(decay, (1 + n) /
    (10 + n))."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.held: list[tuple[Held, Held]] = []  # of the averages, of what is averaged

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        """Lightning's own asks the device for the number of steps, three times a step."""
        if (index + 1) % trainer.accumulate_grad_batches == 0:
            self.update(module.net, trainer.global_step - 1)

    @torch.no_grad()
    def update(self, net: nn.Module, count: int) -> None:
        """Take in the weights after one more step; count: of steps before it."""
        if not self.held:
            self.held = list(zip(_held(self.network), _held(net), strict=True))
        pairs = [(ours[name], theirs[name]) for (ours, name), (theirs, _) in self.held]
        kept, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(
            kept, current, 1 - min(self.decay, (1 + count) / (10 + count)) if count else 1.0
        )
        # Batches seen.
        for counter, newest in (pair for pair in pairs if not pair[0].is_floating_point()):
            counter.copy_(newest)

    @property
    def network(self) -> nn.Module:
        """The averaged network, while training goes on."""
        assert self._average_model is not None
        return self._average_model.module.net


def _held(net: nn.Module) -> Iterator[Held]:
    """Where each parameter and buffer is held, once: a walk through all modules takes longer than averaging
    them, and a module may put another tensor in the place of its buffer."""
    known: set[int] = set()
    for module in net.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in known:
                    known.add(id(tensor))
                    yield tensors, name


def synchronised(net: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms that see the batches of all processes: torch's on GPUs, which refuses the
    CPU, and there `SyncedNorm`."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncedNorm  # parameters, buffers and settings stay
    return net


class SyncedNorm(nn.BatchNorm2d):
    """Batch norm over the equal batches of all processes together; (N, C, H, W), biased variance in the norm,
    unbiased in the statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = distributed.get_world_size() * x.numel() // x.shape[1]
        mean = AllSum.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = AllSum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class AllSum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return AllSum.forward(ctx, gradient)


class GiveSignalsBack(Callback):
    """Lightning turns SIGTERM into an exit with status 0, so that a killed run looks finished: restore the
    handlers there were."""

    def __init__(self) -> None:
        self.saved = {
            number: signal.getsignal(number)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
        }

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number, handler in self.saved.items():
            signal.signal(number, handler)


def measure(
    net: nn.Module, images: Images | Streamed, precision: str = "fp32", batch: int | None = None
) -> tuple[float, float]:
    """(accuracy as a fraction, mean cross-entropy) of a network, as `answers` finds them."""
    right, loss = answers(net, images, precision, batch)
    return right.mean().item(), loss


@torch.inference_mode()
def answers(
    net: nn.Module, images: Images | Streamed, precision: str = "fp32", batch: int | None = None
) -> tuple[NDArray[np.bool_], float]:
    """(right or wrong for each image (N,), in the order of the rows; mean cross-entropy) of a network in
    evaluation mode; its training mode is restored.

    batch: images at once; None for what suits the device.
    """
    batch = batch or AT_ONCE[images.device.type]
    was_training = net.training
    net.eval()
    right = []
    loss = torch.zeros((), device=images.device)
    for pixels, labels in images.batches(torch.arange(len(images)), batch):
        with torch.autocast(labels.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = net(normalise(pixels)).float()
        right.append(logits.argmax(1) == labels)
        loss += F.cross_entropy(logits, labels, reduction="sum")
    net.train(was_training)
    return torch.cat(right).cpu().numpy(), loss.item() / len(images)
