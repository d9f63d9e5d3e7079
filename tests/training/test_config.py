import math

import pytest

from minidiff.training import TrainConfig, learning_rate


def test_learning_rate_rises_then_falls_to_nothing():
    config = TrainConfig(steps=1000, learning_rate=2.0, warmup=100)
    rates = [learning_rate(config, step) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(2 / 100)
    assert max(rates) == pytest.approx(2.0, rel=0.03)
    assert rates.index(max(rates)) == 99
    assert rates[500] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4
    assert learning_rate(TrainConfig(steps=10, learning_rate=2.0, warmup=0), 1) == 2.0


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"clip": -1.0}, {"warmup": -1}, {"ema_decay": 1.0}, {"precision": "float16"}, {"shares": {"a": -0.1}}, {"shares": {"a": math.nan}}],
)  # fmt: skip
def test_invalid_settings_are_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**{"steps": 10} | wrong)
