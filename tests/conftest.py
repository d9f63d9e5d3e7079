"""What all tests share: one seeded generator, and hypothesis that tries the same examples every time."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("same")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
