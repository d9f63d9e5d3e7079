"""What all tests share: one seeded generator, and hypothesis that tries the same examples every time."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def _seeded_on_one_thread() -> None:
    """Networks as small as those of the tests are slower on many threads; their weights are the same in every run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
