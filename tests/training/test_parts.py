"""The parts of the loop: learning rate, average of the weights, data order, files."""

import math

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from minidiff.training import TrainConfig, average, learning_rate
from minidiff.training.averaging import ema_decay, ema_update
from minidiff.training.checkpoint import read_tensors, write_json, write_tensors
from minidiff.training.order import Order


def test_learning_rate_rises_then_falls_to_nothing():
    config = TrainConfig(steps=1000, learning_rate=2.0, warmup=100)
    rates = [learning_rate(config, step) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(2 / 100)
    assert max(rates) == pytest.approx(2.0, rel=0.03)
    assert rates.index(max(rates)) == 99
    assert rates[500] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4
    assert learning_rate(TrainConfig(steps=10, learning_rate=2.0, warmup=0), 1) == 2.0


def test_average_is_the_weighted_sum_of_all_weights_seen():
    """Unrolled: each set of weights counts (1 - d_n) times all later d."""
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
    """The recursion written out in float64, for all tensors of a model and as many steps as the decay takes to reach its end."""
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


def test_every_item_is_seen_once_an_epoch_in_new_order():
    order = Order(10, 5, seed=0)
    epochs = [torch.cat([order.next(), order.next()]).tolist() for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_order_goes_on_from_its_state():
    a, b = Order(10, 3, seed=0), Order(10, 3, seed=9)
    for _ in range(5):
        a.next()
    b.load(a.state())
    assert [a.next().tolist() for _ in range(9)] == [b.next().tolist() for _ in range(9)]
    with pytest.raises(ValueError, match="10 items"):
        Order(11, 3, seed=0).load(a.state())


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_fits_the_data(batch_size):
    with pytest.raises(ValueError, match="1 to 10"):
        Order(10, batch_size, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"clip": -1.0}, {"warmup": -1}, {"ema_decay": 1.0}, {"precision": "float16"}, {"shares": {"a": -0.1}}, {"shares": {"a": math.nan}}],
)  # fmt: skip
def test_numbers_that_make_no_run_are_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**{"steps": 10} | wrong)


def test_files_are_whole_or_the_old_ones(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "weights.safetensors"
    write_tensors(path, {"w": torch.arange(3.0)}, {"step": 5})
    monkeypatch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        write_tensors(path, {"w": torch.zeros(9)})
    monkeypatch.undo()
    tensors, metadata = read_tensors(path)
    assert tensors["w"].tolist() == [0, 1, 2]
    assert metadata == {"step": 5}
    write_json(tmp_path / "config.json", {"a": [1, 2]})
    assert (tmp_path / "config.json").read_text().startswith("{")


def test_weights_can_be_read_by_whoever_may_read_other_new_files(tmp_path):
    write_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1)})
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no x\.safetensors"):
        read_tensors(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read"):
        read_tensors(tmp_path / "x.safetensors")
