"""What a network costs, counted from its convolution specs; and the choice of networks at matched cost.

"FLOPs" in the paper are multiply-adds, here `macs`: convolutions and the classifier, without biases, norms
and activations.
"""

from dataclasses import dataclass
from functools import lru_cache

from ablation.theory.blocks import Convolution
from ablation.theory.network import Network


@dataclass(frozen=True)
class Cost:
    """Per image: macs (multiply-adds of one forward pass) and activations (output elements of every
    convolution and the classifier, Dollar et al. 2021); params of the whole network (weights, biases,
    scales and shifts)."""

    macs: int
    params: int
    activations: int


@lru_cache(maxsize=65536)
def cost(network: Network) -> Cost:
    """Sum over the network's convolution specs."""
    macs = params = activations = 0
    for conv in network.convolutions():
        macs += weight_count(conv) * conv.pixels_out**2
        params += weight_count(conv) + 2 * conv.normed
        params += conv.outputs * (conv.bias + conv.layer_scale)
        activations += conv.outputs * conv.pixels_out**2
    return Cost(macs, params, activations)


def weight_count(conv: Convolution) -> int:
    """Weights of a convolution, without its bias: each is used once for every pixel that comes out."""
    return conv.outputs * (conv.inputs // conv.groups) * conv.kernel**2


def training_flops(network: Network, images: int) -> int:
    """Floating-point operations to train on `images` images, an image counted once per epoch: 3 x forward x 2
    x macs.

    The backward pass costs two forwards. torch's own counter is wrong on depthwise backward (pytorch issue
    183405).
    """
    return 3 * 2 * cost(network).macs * images
