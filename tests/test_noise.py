import pytest
import torch

from minidiff import noise


def test_an_image_s_noise_does_not_depend_on_its_batch():
    together = noise.randn_like(torch.zeros(4, 1, 8, 8), noise.seeded(10, 4))
    alone = noise.randn_like(torch.zeros(1, 1, 8, 8), noise.seeded(12, 1))
    assert torch.equal(together[2], alone[0])


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    noise.randn_like(torch.zeros(3, 2), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("generator", [None, 3, [None, None]])
def test_without_a_generator_there_is_no_noise(generator):
    with pytest.raises(TypeError):
        noise.randn_like(torch.zeros(2, 2), generator)


def test_one_generator_an_image():
    with pytest.raises(ValueError, match="3 generators for 2 images"):
        noise.randn_like(torch.zeros(2, 2), noise.seeded(0, 3))
