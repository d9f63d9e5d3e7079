"""sRGB to CIELAB, compared with published values and properties of the space."""

import pytest
import torch

from minidiff.data.cielab import to_lab, to_rgb


def lab(*rgb: float) -> list[float]:
    return to_lab(torch.tensor(rgb, dtype=torch.float64)).tolist()


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((119 / 255,) * 3, (50.03, 0, 0)),  # middle grey: half the lightness of white
    ],
)
def test_published_values(rgb, expected):
    assert lab(*map(float, rgb)) == pytest.approx(expected, abs=0.02)


def test_the_two_branches_of_both_curves_meet():
    """sRGB changes its formula at 0.04045, f at (6/29)³, an sRGB value of 0.0935. Both are continuous there."""
    grey = torch.linspace(0, 0.2, 20001, dtype=torch.float64)[:, None].expand(-1, 3)
    steps = to_lab(grey)[:, 0].diff()
    assert (steps > 0).all()
    assert steps.max() < 1.5e-3
    assert to_lab(grey)[:, 1:].abs().max() < 1e-9


def test_what_is_no_colour_is_clamped():
    assert lab(-0.5, 1.5, 0.0) == lab(0.0, 1.0, 0.0)


def test_the_way_back_is_the_inverse(generator):
    rgb = torch.rand(2000, 3, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(to_rgb(to_lab(rgb)), rgb, atol=1e-9, rtol=0)


def test_what_no_screen_shows_is_cut_off():
    too_green = to_rgb(torch.tensor([80.0, -200.0, 100.0], dtype=torch.float64))
    assert ((too_green >= 0) & (too_green <= 1)).all()
