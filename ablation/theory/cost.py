"""What a network costs, counted from its convolution specs; that of a function of the user's comes counted
(train.own).

"FLOPs" in the paper are multiply-adds, here `macs`: convolutions and the classifier, without biases, norms
and activations.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

from ablation.theory.blocks import Convolution
from ablation.theory.network import Network
from ablation.theory.own import Own


@dataclass(frozen=True)
class Cost:
    """Per image: macs (multiply-adds of one forward pass) and activations (output elements of every
    convolution and the classifier, Dollar et al. 2021); params of the whole network (weights, biases,
    scales and shifts). grouped: of the macs those of grouped convolutions; products: number of convolutions
    and fully connected layers, each a product of matrices."""

    macs: int
    params: int
    activations: int
    grouped: int
    products: int


@lru_cache(maxsize=65536)
def cost(network: Network | Own) -> Cost:
    """Of one network."""
    return counted(network) if isinstance(network, Own) else summed(network)


def counted(network: Own) -> Cost:
    """As torch counted it."""
    return Cost(**{field.name: getattr(network, field.name) for field in fields(Cost)})


def summed(network: Network) -> Cost:
    """Sum over the network's convolution specs."""
    macs = params = activations = grouped = products = 0
    for conv in network.convolutions():
        own = weight_count(conv) * conv.pixels_out**2
        macs += own
        grouped += own if conv.groups > 1 else 0
        products += 1
        params += weight_count(conv) + 2 * conv.normed
        params += conv.outputs * (conv.bias + conv.layer_scale)
        activations += conv.outputs * conv.pixels_out**2
    return Cost(macs, params, activations, grouped, products)


def weight_count(conv: Convolution) -> int:
    """Weights of a convolution, without its bias: each is used once for every pixel that comes out."""
    return conv.outputs * (conv.inputs // conv.groups) * conv.kernel**2


def training_flops(network: Network | Own, images: int) -> int:
    """Floating-point operations to train on `images` images, an image counted once per epoch: 3 x forward x 2
    x macs.

    The backward pass costs two forwards. torch's own counter is wrong on depthwise backward (pytorch issue
    183405).
    """
    return 3 * 2 * cost(network).macs * images
