"""The device that MINIDIFF_DEVICE names computes what the CPU computes."""

import pytest
import torch
from torch.testing import assert_close

from minidiff import devices, noise, samplers
from minidiff.diffusion import forward, losses, oracles, posterior, prediction, schedules
from minidiff.nets import Condition, UNet, UNetConfig

SCHEDULES = [schedules.cosine(20), schedules.flow(20)]
POINTS = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(1))
LEVELS = torch.tensor([1, 7, 20])


def mathematics(schedule, device):
    x_0, t = POINTS[:3].to(device), LEVELS.to(device)
    eps = noise.randn_like(x_0, torch.Generator().manual_seed(2))
    x_t = forward.q_sample(schedule, x_0, t, eps)
    yield from (x_t, *posterior.q_posterior(schedule, x_0, x_t, t), prediction.v(schedule, x_0, eps, t))
    yield losses.min_snr_weight(schedule, t, "v")
    denoise = oracles.dataset(schedule, POINTS.to(device))
    yield from denoise(x_t, t)
    yield from prediction.from_u(schedule, x_t, prediction.u(x_0, eps), t)
    for sampler in samplers.BY_NAME.values():
        yield samplers.final(sampler(denoise, eps, samplers.times(20, 20), generator=noise.seeded(0, 3)))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_mathematics_is_the_same_on_every_device(schedule):
    device, cpu = devices.resolve(), torch.device("cpu")
    for there, here in zip(mathematics(schedule, device), mathematics(schedule, cpu), strict=True):
        assert there.device.type == device.type
        assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


def test_the_network_is_the_same_on_every_device():
    config = UNetConfig.tiny(channels=(16, 16), attention=(False, True), heads=2, context_dim=8, classes=3)
    unet, x_t, device = UNet(config).eval(), torch.randn(2, 1, 16, 16), devices.resolve()
    condition = Condition(context=torch.randn(2, 5, 8), labels=torch.tensor([0, 2]))
    with torch.no_grad():
        here = unet(x_t, 5, condition)
        there = unet.to(device)(x_t.to(device), 5, condition.map(lambda tensor: tensor.to(device)))
    assert_close(there.cpu(), here, atol=1e-4, rtol=1e-3)


def test_the_environment_names_the_device(monkeypatch):
    monkeypatch.setenv("MINIDIFF_DEVICE", "cpu")
    assert devices.resolve("auto").type == "cpu"
    monkeypatch.setenv("MINIDIFF_DEVICE", "gpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        devices.resolve("auto")


def test_an_argument_comes_before_the_environment_and_auto_takes_cuda_if_there_is_one(monkeypatch):
    monkeypatch.setenv("MINIDIFF_DEVICE", "gpu")
    assert devices.resolve("cpu") == torch.device("cpu")
    monkeypatch.delenv("MINIDIFF_DEVICE")
    assert devices.resolve() == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:one", "cuda:-1", "cuda0", "cpu:0", " cpu", ""])
def test_an_unknown_device_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}': choose auto, cpu, cuda or cuda:N"):
        devices.resolve(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:12"])
def test_one_of_several_cuda_devices_can_be_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve(name) == torch.device(name)
    monkeypatch.setenv("MINIDIFF_DEVICE", name)
    assert devices.resolve() == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_device_that_is_not_there_is_an_error(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device {name} was asked for, but PyTorch finds no CUDA here"):
        devices.resolve(name)
