"""timm and torchvision, where they are installed: `make oracle` makes their environment."""

import torch
from torch import nn

try:
    import torchvision
except RuntimeError:
    # Its operators are compiled for another torch: nothing calls them, but the import asks for them by name.
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm


def theirs(name: str) -> nn.Module:
    """The library's own module, by library and architecture."""
    library, architecture = name.split("/")
    return (
        timm.create_model(architecture)
        if library == "timm"
        else torchvision.models.get_model(architecture)
    )
