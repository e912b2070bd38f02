"""The operators of a block and the convolution that they are made of, in plain PyTorch: built by `model`, and
copied as they stand into the file that a trained network leaves in."""

import torch
from torch import Tensor, nn


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = False,
    before: nn.Module | None = None,
    norm: nn.Module | None = None,
    activation: nn.Module | None = None,
    scale: nn.Module | None = None,
) -> nn.Sequential:
    """A convolution with what it has of a norm before it, a norm after it, an activation and a layer
    scale."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
    layers = (before, convolution, norm, activation, scale)
    return nn.Sequential(*(layer for layer in layers if layer is not None))


class StochasticDepth(nn.Module):
    """Drop a sample's residual branch with probability `rate` in training, scale the others by 1 / (1 - rate)
    (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(
            1 - self.rate
        )
        return x * keep / (1 - self.rate)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the mean of all channels (Hu et al. 2018)."""

    def __init__(self, reduce: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce, self.gate = reduce, gate

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        squeezed = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.gate(self.reduce(squeezed))


class LayerNorm(nn.LayerNorm):
    """Over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned factor for each channel, small at first (Touvron et al. 2021; 1e-6 as in ConvNeXt)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return x * self.gamma[:, None, None]


class Separable(nn.Module):
    """Depthwise-separable convolution: depthwise, pointwise (Howard et al. 2017)."""

    def __init__(self, depthwise: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class MBConv(nn.Module):
    """Mobile inverted bottleneck: expand, depthwise, squeeze-excite, project, skip (Sandler et al. 2018)."""

    def __init__(
        self,
        expand: nn.Module,
        depthwise: nn.Module,
        excite: nn.Module,
        project: nn.Module,
        drop: nn.Module,
        skip: bool,
    ) -> None:
        super().__init__()
        self.expand, self.depthwise = expand, depthwise
        self.excite, self.project = excite, project
        self.drop, self.skip = drop, skip

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + self.drop(y) if self.skip else y


class FusedMBConv(nn.Module):
    """Fused inverted bottleneck: spatial, project, skip (Tan & Le 2021)."""

    def __init__(self, spatial: nn.Module, project: nn.Module, drop: nn.Module, skip: bool) -> None:
        super().__init__()
        self.spatial, self.project = spatial, project
        self.drop, self.skip = drop, skip

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.spatial(x))
        return x + self.drop(y) if self.skip else y


class Bottleneck(nn.Module):
    """Residual bottleneck: reduce, spatial, squeeze-excite, expand; the shortcut is added before the last
    activation (He et al. 2016)."""

    def __init__(
        self,
        shortcut: nn.Module,
        reduce: nn.Module,
        spatial: nn.Module,
        excite: nn.Module,
        expand: nn.Module,
        drop: nn.Module,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.reduce, self.spatial = reduce, spatial
        self.excite, self.expand = excite, expand
        self.drop, self.activation = drop, activation

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.excite(self.spatial(self.reduce(x))))
        return self.activation(self.shortcut(x) + self.drop(y))


class Basic(nn.Module):
    """Residual block of two spatial convolutions; the shortcut is added before the last activation (He et al.
    2016)."""

    def __init__(
        self,
        shortcut: nn.Module,
        first: nn.Module,
        second: nn.Module,
        drop: nn.Module,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.first, self.second = first, second
        self.drop, self.activation = drop, activation

    # (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return self.activation(self.shortcut(x) + self.drop(y))


class ConvNeXt(nn.Module):
    """ConvNeXt block: depthwise, expand, project, skip, where the shape changes after a downsampling layer
    (Liu et al. 2022)."""

    def __init__(
        self,
        downsample: nn.Module,
        depthwise: nn.Module,
        expand: nn.Module,
        project: nn.Module,
        drop: nn.Module,
    ) -> None:
        super().__init__()
        self.downsample, self.depthwise = downsample, depthwise
        self.expand, self.project = expand, project
        self.drop = drop

    # (N, C, H, W) -> (N, C', floor(H / stride), floor(W / stride)).
    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        return x + self.drop(self.project(self.expand(self.depthwise(x))))
