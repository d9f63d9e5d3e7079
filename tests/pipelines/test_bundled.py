"""The bundled models draw what they drew as version 0.1.0: the pictures of then are in bundled.npz."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from minidiff.pipelines import PixelDiffusion, TextToImage

PROMPTS = ["a small red seven on a navy background", "a large yellow 3 on black"]
DRAW = {
    "digits-ddim": lambda: TextToImage.load("digits", "cpu").generate(PROMPTS, seed=3),
    "digits-dpm_solver_pp_sde": lambda: TextToImage.load("digits", "cpu").generate(
        PROMPTS, sampler="dpm_solver_pp_sde", seed=3
    ),
    "emoji-ddim": lambda: TextToImage.load("emoji", "cpu").generate(["red heart", "sailboat"], seed=5),
    "pixel-ddim": lambda: PixelDiffusion.load("digits-pixel", "cpu").generate(2, seed=1, sampler="ddim", steps=25),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
def test_a_bundled_model_draws_the_pictures_of_version_0_1_0(name):
    then = np.load(Path(__file__).with_name("bundled.npz"))[name]
    assert_close(DRAW[name](), torch.from_numpy(then), atol=1e-4, rtol=0)
