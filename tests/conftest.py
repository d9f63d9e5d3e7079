"""What all tests share: one seeded generator, and hypothesis that tries the same examples every time."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def _seeded_on_one_thread() -> None:
    """One thread, because the tests' networks are too small for more; one seed, so that their weights are the same in every run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def small(schedule, prediction_type):
    """An untrained text-to-image model with all its parts, each as small as possible."""
    from minidiff import nets, text  # here, so that tests which do not need them start faster
    from minidiff.conditioner import Conditioner
    from minidiff.pipelines import TextToImage

    torch.manual_seed(0)
    tokenizer = text.Tokenizer.train(2 * ["a red seven", "a blue two on navy"], vocab_size=560, context_length=12)
    text_config = text.TextEncoderConfig.tiny(tokenizer.vocab_size, context_length=12, dim=16, heads=2)
    unet_config = nets.UNetConfig.tiny(
        4, channels=(16, 16), attention=(True, True), heads=2, patch_size=1, context_dim=16
    )
    return TextToImage(
        nets.VAE(nets.VAEConfig.tiny(channels=(8, 8, 16), norm_groups=4, latent_scale=0.7)),
        Conditioner(tokenizer, text.TextEncoder(text_config)),
        nets.UNet(unet_config),
        schedule,
        prediction_type,
        size=16,
        guidance_scale=3,
    )


@pytest.fixture(scope="session")
def small_model():
    """A small untrained text-to-image model on a schedule that keeps the variance."""
    return small({"name": "cosine", "T": 50}, "v")


@pytest.fixture(scope="session")
def small_flow_model():
    """The same networks as a flow-matching model."""
    return small({"name": "flow", "T": 50, "shift": 1.5}, "u")


@pytest.fixture(scope="session")
def small_pixel_model():
    """A small untrained model of pixels, without prompts."""
    from minidiff.nets import UNet, UNetConfig
    from minidiff.pipelines import PixelDiffusion

    torch.manual_seed(0)
    unet = UNet(UNetConfig.tiny(channels=(16, 16), attention=(False, True), heads=2))
    return PixelDiffusion(unet.eval(), {"name": "cosine", "T": 50}, "v", size=16)
