import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec


def built(name, **options):
    """A float64 network whose every weight counts, and its weights as (weight, bias) in order."""
    size = name.info.crop_size_px
    spec = network_spec(name, num_classes=10, crop_size_px=size, options=options)
    network = build_network(spec).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    flat = list(network.parameters())
    image = 20 * torch.randn((2, 3, size, size), generator=generator, dtype=torch.float64)
    return network, list(zip(flat[::2], flat[1::2], strict=True)), image


def max_pool(x):
    """3×3 at stride 2; a window that reaches over the edge has what is inside."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)


def average_pool(x):
    """The sum of what is inside a window, by how many that are."""
    ones = F.pad(torch.ones_like(x), (0, 1, 0, 1))
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2) / F.avg_pool2d(ones, 3, 2)


def same_map(x):
    """1 + 5e-5/9 times the sum of squares of the 3×3 neighbourhood, to the power of 0.75."""
    weight = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    return x / (1 + 5e-5 / 9 * F.conv2d(x * x, weight, padding=1, groups=x.shape[1])) ** 0.75


def lrn(x):
    """1 + 0.001/9 times the sum of squares of nine channels, to the power of 0.75."""
    squares = F.pad(x * x, (0, 0, 0, 0, 4, 4))
    total = sum(squares[:, i : i + x.shape[1]] for i in range(9))
    return x / (1 + 0.001 / 9 * total) ** 0.75


def local(x, weight_LPO, bias_OHW):
    """Each unit has its own 3×3 filter."""
    out = torch.empty(len(x), *bias_OHW.shape, dtype=x.dtype)
    padded, side = F.pad(x, (1, 1, 1, 1)), x.shape[2]
    for row in range(side):
        for column in range(side):
            seen = padded[:, :, row : row + 3, column : column + 3]  # N, C, 3, 3
            inputs = seen.permute(0, 2, 3, 1).flatten(1)  # by row, column, channel
            out[:, :, row, column] = inputs @ weight_LPO[row * side + column]
    return out + bias_OHW


def conv(x, layer):
    return F.relu(F.conv2d(x, *layer, padding=2))


def reference_80sec(w, x):
    x = average_pool(conv(average_pool(conv(max_pool(conv(x, w[0])), w[1])), w[2]))
    return F.linear(F.relu(F.linear(x.flatten(1), *w[3])), *w[4])


def reference_19pct(w, x):
    x = average_pool(conv(average_pool(conv(max_pool(conv(x, w[0])), w[1])), w[2]))
    return F.linear(x.flatten(1), *w[3])


def reference_18pct(w, x):
    x = same_map(max_pool(conv(x, w[0])))
    x = same_map(average_pool(conv(x, w[1])))
    return F.linear(average_pool(conv(x, w[2])).flatten(1), *w[3])


def reference_13pct(w, x):
    x = max_pool(conv(max_pool(conv(x, w[0])), w[1]))
    x = F.relu(local(F.relu(local(x, *w[2])), *w[3]))
    return F.linear(x.flatten(1), *w[4])


def reference_11pct(w, x):
    x = max_pool(lrn(conv(lrn(max_pool(conv(x, w[0]))), w[1])))
    x = F.relu(local(F.relu(local(x, *w[2])), *w[3]))
    return F.linear(x.flatten(1), *w[4])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        (Network.CUDA_CONVNET_80SEC, {}, reference_80sec),
        (Network.CUDA_CONVNET_19PCT, {}, reference_19pct),
        (Network.CUDA_CONVNET_18PCT, {}, reference_18pct),
        (Network.CUDA_CONVNET_13PCT, {}, reference_13pct),
        (Network.CUDA_CONVNET_11PCT, {}, reference_11pct),
        (Network.CUDA_CONVNET_18PCT, {"lrn": False}, reference_19pct),
        (Network.CUDA_CONVNET_19PCT, {"lrn": True}, reference_18pct),
        (Network.CUDA_CONVNET_13PCT, {"lrn": True}, reference_11pct),
        (Network.CUDA_CONVNET_11PCT, {"lrn": False}, reference_13pct),
    ],
)
def test_forward_is_the_published_table(name, options, reference):
    network, weights, image = built(name, **options)
    torch.testing.assert_close(network(image), reference(weights, image), rtol=1e-10, atol=1e-10)
