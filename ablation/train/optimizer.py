"""Optimizers and schedules of a recipe."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ablation.runs.config import Recipe


def make_optimizer(net: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer; weight decay acts on tensors of two and more dimensions, so never on norms and
    biases."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))
    return TensorFlowRMSprop(groups, lr=recipe.learning_rate, momentum=recipe.momentum)


class TensorFlowRMSprop(Optimizer):
    """RMSProp as in TensorFlow 1, which trained EfficientNet: epsilon inside the root, mean square started at
    one, learning rate multiplied into the momentum buffer. torch.optim.RMSprop differs in all three and
    diverges with the paper's settings."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        alpha: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "alpha": alpha, "momentum": momentum, "eps": eps, "weight_decay": 0.0},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                if not self.state[p]:
                    self.state[p] = {"square": torch.ones_like(p), "buffer": torch.zeros_like(p)}
            if not params:
                continue
            grads = [p.grad for p in params]
            squares = [self.state[p]["square"] for p in params]
            buffers = [self.state[p]["buffer"] for p in params]
            if group["weight_decay"]:
                grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
            torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - group["alpha"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_addcdiv_(buffers, grads, roots, value=group["lr"])
            torch._foreach_sub_(params, buffers)
        return loss


def schedule(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """Learning rate of a step as a fraction of its peak: linear warm-up, then cosine to 0, or exponential in
    a staircase.

    The exponential clock starts at step 0, not after the warm-up, as in the released code.
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if recipe.schedule == "cosine":
            return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
        return recipe.decay_rate ** (step / steps_per_epoch // recipe.decay_epochs)

    return factor
