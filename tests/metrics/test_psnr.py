import math

import pytest
import torch

from minidiff.metrics import psnr


def test_each_picture_has_its_own():
    references = torch.zeros(3, 3, 4, 4)
    images = torch.stack([torch.full((3, 4, 4), error) for error in (1.0, 0.1, 0.0)])
    assert psnr(images, references).tolist() == pytest.approx([0, 20, math.inf])


def test_no_pictures_have_none():
    with pytest.raises(ValueError, match=r"got \(0, 3, 4, 4\)"):
        psnr(torch.zeros(0, 3, 4, 4), torch.zeros(0, 3, 4, 4))
