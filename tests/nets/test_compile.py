"""The networks as one graph: compiled without a break, and traced for batches of any size."""

import subprocess
import sys

import pytest

# In a program of its own: under pytest every function's shapes are checked, which the compiler cannot look into.
PROGRAM = """
import torch
from torch import nn

from minidiff.nets import VAE, Condition, UNet, UNetConfig, VAEConfig
from minidiff.text import TextEncoder, TextEncoderConfig


class Denoise(nn.Module):  # a graph's inputs are tensors
    def __init__(self):
        super().__init__()
        sizes = {"channels": (16, 32), "attention": (False, True), "heads": (2, 4), "depth": (1, 2), "norm_groups": 4}
        self.unet = UNet(UNetConfig(3, 1, context_dim=6, vector_dim=7, classes=5, **sizes))

    def forward(self, x_t, t, context, vector, labels, image):
        return self.unet(x_t, t, Condition(context, vector, labels, image))


class Call(nn.Module):
    def __init__(self, module, method):
        super().__init__()
        self.module, self.method = module, method

    def forward(self, x):
        return getattr(self.module, self.method)(x)


def latents(batch):
    return (torch.randn(batch, 4, 2, 2),)


def images(batch):
    return (torch.randn(batch, 3, 8, 8),)


def tokens(batch):
    return (torch.tensor([[38, 1, 2, 39, 39, 39, 39, 39]]).repeat(batch, 1) - torch.arange(batch)[:, None] // 8,)


def noisy(batch):
    x_t, context, image = torch.randn(batch, 1, 8, 8), torch.randn(batch, 5, 6), torch.randn(batch, 2, 8, 8)
    return x_t, torch.arange(batch), context, torch.randn(batch, 7), torch.arange(batch) % 5, image


torch.manual_seed(0)
torch.set_num_threads(1)
vae = VAE(VAEConfig.tiny(channels=(4, 8, 8), norm_groups=2))
text = TextEncoder(TextEncoderConfig.tiny(40, 8, dim=16, heads=2, projection_dim=5))
CASES = {
    "U-Net": (Denoise(), noisy),
    "text": (Call(text, "forward"), tokens),
    "pooled": (Call(text, "pooled"), tokens),
    "encode": (Call(vae, "encode"), images),
    "decode": (Call(vae, "decode"), latents),
}


@torch.no_grad()
def main(way):
    for name, (module, inputs) in CASES.items():
        if way == "compiled":
            graph, given = torch.compile(module.eval(), fullgraph=True, backend="eager"), inputs(2)
        else:
            graph, given = torch.jit.trace(module.eval(), inputs(2), check_trace=False), inputs(3)
        for answer, expected in zip(graph(*given), module(*given), strict=True):
            torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)
        print(name, "agrees")


main("WAY")
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["compiled as one graph", "traced at batch 2 and called at batch 3"])
def test_a_network_answers_the_same(way):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.replace("WAY", way.split()[0])]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("agrees") == 5
