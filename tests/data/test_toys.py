"""The toy distributions have the curves and moments that their docstrings state."""

import math

import pytest
import torch

from minidiff.data import toys

N = 20_000
TOYS = [toys.swiss_roll, toys.moons, toys.eight_gaussians]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("toy", TOYS)
def test_centred_and_of_unit_scale(toy):
    points = toy(N, seeded())
    assert points.shape == (N, 2)
    assert points.dtype == torch.float32
    torch.testing.assert_close(points.mean(0), torch.zeros(2), atol=5 / math.sqrt(N) * 1.3, rtol=0)
    assert points.var(0).mean().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("toy", TOYS)
def test_same_seed_same_points_and_the_global_generator_is_left_alone(toy):
    before = torch.get_rng_state()
    assert torch.equal(toy(50, seeded(3)), toy(50, seeded(3)))
    assert not torch.equal(toy(50, seeded(3)), toy(50, seeded(4)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("n", [0, -1])
def test_no_points_is_an_error(toy, n):
    with pytest.raises(ValueError, match=f"got {n}"):
        toy(n, seeded())


@pytest.mark.parametrize("toy", TOYS)
def test_scaled_by_constants_and_not_by_the_sample(toy):
    """A sample scaled by its own statistics would have mean 0 exactly, and a single point would lie at the origin."""
    assert toy(100, seeded()).mean(0).abs().max() > 1e-4
    assert toy(1, seeded()).abs().max() > 0.1


def test_swiss_roll_lies_on_its_spiral():
    """The brute-force distance to the documented curve has the standard deviation of the noise."""
    phi = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 4000)
    curve = torch.stack([phi * phi.cos() - 2, phi * phi.sin() - 2 / (3 * math.pi)], dim=1) / 6.8
    distance = torch.cdist(toys.swiss_roll(2000, seeded()), curve).min(dim=1).values
    assert distance.max() < 5 * toys.SWISS_ROLL_NOISE
    assert distance.square().mean().sqrt().item() == pytest.approx(toys.SWISS_ROLL_NOISE, rel=0.1)


def test_swiss_roll_goes_round_one_and_a_half_times_evenly():
    points = toys.swiss_roll(N, seeded()) * 6.8 + torch.tensor([2.0, 2 / (3 * math.pi)])
    turns = points.norm(dim=1) / math.pi  # on the spiral the radius is the angle
    quarters = torch.histc(turns, bins=4, min=1.5, max=4.5) / N
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_moons_are_two_equal_half_circles():
    angle = torch.linspace(0, math.pi, 2000)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = toys.moons(4000, seeded()) * 0.71 + torch.tensor([0.5, 0.25])
    distances = torch.stack([torch.cdist(points, moon).min(dim=1).values for moon in (upper, lower)])
    nearest, which = distances.min(dim=0)
    assert nearest.max() < 5 * toys.MOONS_NOISE * 0.71
    assert which.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert torch.cdist(torch.cat([upper, lower]), points).min(dim=1).values.max() < 0.15  # no part of a moon is empty


def test_eight_gaussians_are_equal_and_as_wide_as_said():
    points = toys.eight_gaussians(N, seeded())
    centres = toys.eight_gaussians_centres()
    nearest = torch.cdist(points, centres).argmin(dim=1)
    torch.testing.assert_close(nearest.bincount() / N, torch.full((8,), 1 / 8), atol=0.015, rtol=0)
    assert (points - centres[nearest]).std().item() == pytest.approx(toys.EIGHT_GAUSSIANS_STD, rel=0.02)


def test_the_eight_centres_lie_evenly_on_a_circle():
    centres = toys.eight_gaussians_centres()
    torch.testing.assert_close(centres.norm(dim=1), torch.full((8,), 1.4))
    side = 2 * 1.4 * math.sin(math.pi / 8)  # of a regular octagon
    torch.testing.assert_close((centres - centres.roll(1, 0)).norm(dim=1), torch.full((8,), side))
