import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from minidiff.training import average
from minidiff.training.ema import ema_decay, ema_update


def test_average_is_the_weighted_sum_of_all_weights_seen():
    """Unrolled: each set of weights has the factor (1 - d_n) times all later decays."""
    model = nn.Linear(1, 1, bias=False)
    ema = average(model, 0.9)
    seen = [1.0, 5.0, -2.0, 4.0, 4.0, 7.0]
    for value in seen:
        nn.init.constant_(model.weight, value)
        ema.update_parameters(model)
    decays = [min(0.9, (1 + n) / (10 + n)) for n in range(1, len(seen))]
    expected = seen[0] * math.prod(decays) + sum(
        (1 - decays[n - 1]) * seen[n] * math.prod(decays[n:]) for n in range(1, len(seen))
    )
    assert_close(ema.module.weight.item(), expected)
    assert ema_decay(0.9, 10**6) == 0.9


def test_average_is_pytorch_s_own_with_the_recursion_as_its_rule(generator):
    """The recursion in float64, for all tensors of a model, until the decay has reached its largest value."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4, bias=False))
    ema, expected = average(model, 0.5), {}
    for n in range(30):
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.normal_(generator=generator)
                d = min(0.5, (1 + n) / (10 + n)) if n else 0.0
                expected[name] = d * expected.get(name, 0.0) + (1 - d) * weight.double()
        ema.update_parameters(model)
        for name, weight in ema.module.named_parameters():
            assert_close(weight.double(), expected[name], rtol=1e-6, atol=1e-6)
    assert isinstance(ema, AveragedModel)


def test_ema_update_moves_the_average_a_share_of_the_way_in_place():
    kept, current = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([3.0, 2.0], dtype=torch.float64)
    made = ema_update(kept, current, 0.75)
    assert made is kept
    assert_close(kept, torch.tensor([1.5, -1.0], dtype=torch.float64))  # a quarter of the way
    assert_close(current, torch.tensor([3.0, 2.0], dtype=torch.float64))


def test_buffers_are_copied_from_the_model_not_averaged():
    model = nn.BatchNorm1d(2)
    ema = average(model, 0.9)
    for value in (0.0, 10.0, 20.0):
        model.running_mean.fill_(value)
        ema.update_parameters(model)
    assert_close(ema.module.running_mean, model.running_mean)
