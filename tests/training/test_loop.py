import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from minidiff.diffusion import schedules
from minidiff.nets import VAE, UNet, UNetConfig, VAEConfig
from minidiff.storage import read_tensors, write_tensors
from minidiff.training import Batches, Data, TrainConfig, diffusion_loss, initialised, train

DATA = torch.randn(40, 2, generator=torch.Generator().manual_seed(5))
CONFIG = TrainConfig(
    steps=30, batch_size=8, warmup=5, checkpoint_every=10, preview_every=15, precision="float32", shares={"3": 0.5}
)


def batches(config=CONFIG, tensor=DATA):
    return Batches(tensor, batch_size=config.batch_size, seed=config.seed)


def mlp():
    return initialised(lambda: nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, 2)), seed=1)


def loss(model, batch, generator):
    return (model(batch + 0.1 * torch.randn(batch.shape, generator=generator)) - batch).square().mean()


class StoppedError(Exception):
    """Raised by a test in the middle of a run."""


def stop_at(step, value=None):
    calls = [0]

    def stopping(model, batch, generator):
        calls[0] += 1
        if calls[0] == step:
            if value is None:
                raise StoppedError
            return loss(model, batch, generator) * value
        return loss(model, batch, generator)

    return stopping


def weights(folder):
    return read_tensors(folder / "checkpoint.safetensors")[0]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    """Model, average, optimiser, data order and generators, also that of dropout, after a stop between two checkpoints."""
    train(mlp(), loss, batches(), CONFIG, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(mlp(), stop_at(17), batches(), CONFIG, tmp_path / "stopped")
    torch.randn(7)  # changes the state of the global generator
    train(mlp(), loss, batches(), CONFIG, tmp_path / "stopped", resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(whole["losses"]) == 30


@pytest.mark.slow
def test_a_unet_in_bfloat16_goes_on_bit_for_bit(tmp_path):
    config = TrainConfig(steps=4, batch_size=4, checkpoint_every=2, precision="bfloat16")
    schedule, images = schedules.cosine(100), DATA[:, :1, None, None].expand(40, 1, 32, 32).contiguous()
    small = UNetConfig.tiny(channels=(16, 16), attention=(False, True), heads=2)

    def build():
        return initialised(lambda: UNet(small), seed=0)

    def diffusion(model, batch, generator):
        return diffusion_loss(model, schedule, batch, generator, prediction_type="v")

    train(build(), diffusion, batches(config, images), config, tmp_path / "whole")
    calls = []

    def stopping(model, batch, generator):
        calls.append(1)
        if len(calls) == 4:
            raise StoppedError
        return diffusion(model, batch, generator)

    with pytest.raises(StoppedError):
        train(build(), stopping, batches(config, images), config, tmp_path / "stopped")
    train(build(), diffusion, batches(config, images), config, tmp_path / "stopped", resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_learns_and_writes_its_losses_samples_and_weights(tmp_path):
    config = TrainConfig(
        steps=300, batch_size=20, learning_rate=1e-2, checkpoint_every=100, preview_every=100, precision="float32"
    )
    watched = []
    model = train(
        mlp(),
        loss,
        batches(config),
        config,
        tmp_path,
        preview=lambda model, step: watched.append((step, model.training)),
    )
    losses = weights(tmp_path)["losses"]
    assert losses[-30:].mean() < 0.5 * losses[:30].mean()
    assert watched == [(100, False), (200, False), (300, False)]
    assert not model.training
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    kept, _ = read_tensors(tmp_path / "model.safetensors")
    assert_close(kept, dict(model.state_dict()))
    assert not list(tmp_path.glob("*.partial"))


def test_a_part_learns_at_its_share_of_the_rate(tmp_path):
    """Adam's first step changes each weight by the learning rate, up or down, whatever its gradient."""
    config = TrainConfig(
        steps=1,
        batch_size=8,
        warmup=0,
        weight_decay=0.0,
        learning_rate=1e-3,
        shares={"0": 0.1},
        precision="float32",
    )
    before, after = mlp().state_dict(), mlp()
    train(after, loss, batches(config), config, tmp_path / "slowed")
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in after.state_dict().items()}
    assert moved == {name: pytest.approx(1e-4 if name[0] == "0" else 1e-3, rel=1e-3) for name in before}


def test_a_share_of_zero_leaves_a_part_as_it_was(tmp_path):
    config = TrainConfig(steps=20, batch_size=8, shares={"0": 0}, precision="float32")
    before, after = mlp().state_dict(), mlp()
    train(after, loss, batches(config), config, tmp_path)
    same = {name for name, weight in after.state_dict().items() if torch.equal(weight, before[name])}
    assert same == {"0.weight", "0.bias"}


def test_shares_of_parts_that_are_not_there_are_errors(tmp_path):
    config = TrainConfig(steps=1, batch_size=8, shares={"words": 0.1, "text": 1, "0": 1})
    with pytest.raises(ValueError, match="shares names text, words; the parts of this model are 0, 1, 2, 3"):
        train(mlp(), loss, batches(config), config, tmp_path)


def test_a_run_that_is_older_than_a_setting_goes_on_with_the_default(tmp_path):
    config = TrainConfig(steps=4, batch_size=8, checkpoint_every=2, precision="float32")
    whole = train(mlp(), loss, batches(config), config, tmp_path / "whole")

    def stops(model, step):
        raise FloatingPointError("stopped here")

    with pytest.raises(FloatingPointError, match="stopped here"):
        train(mlp(), loss, batches(config), replace(config, preview_every=2), tmp_path / "old", preview=stops)
    tensors, metadata = read_tensors(tmp_path / "old" / "checkpoint.safetensors")
    del metadata["training"]["shares"]
    metadata["training"]["preview_every"] = config.preview_every
    write_tensors(tmp_path / "old" / "checkpoint.safetensors", tensors, metadata)
    resumed = train(mlp(), loss, batches(config), config, tmp_path / "old", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"shares was {} and is now {'0': 0\.5}"):
        train(mlp(), loss, batches(config), replace(config, shares={"0": 0.5}), tmp_path / "old", resume=True)


class Circle(Data):
    """Endless points on a circle, each made when it is needed: data of a user's own, without a length."""

    def __init__(self, batch_size: int, seed: int = 0) -> None:
        self.batch_size, self.generator = batch_size, torch.Generator().manual_seed(seed)

    def __next__(self) -> Tensor:
        angle = 2 * math.pi * torch.rand(self.batch_size, generator=self.generator)
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def state(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])


def test_a_run_on_an_endless_stream_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    train(mlp(), loss, Circle(8), CONFIG, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(mlp(), stop_at(17), Circle(8), CONFIG, tmp_path / "stopped")
    assert len(weights(tmp_path / "stopped")["losses"]) == 10
    train(mlp(), loss, Circle(8, seed=3), CONFIG, tmp_path / "stopped", resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_batches_are_the_ones_of_the_data(tmp_path):
    """The loss is given one batch after the other, as they come from the iterator."""
    seen = []

    def watching(model, batch, generator):
        seen.append(batch)
        return loss(model, batch, generator)

    train(mlp(), watching, batches(), CONFIG, tmp_path)
    expected = batches()
    assert len(seen) == CONFIG.steps
    assert all(torch.equal(batch, next(expected)) for batch in seen)


def test_data_without_a_state_cannot_be_made():
    class Stateless(Data):
        def __next__(self) -> Tensor:
            return DATA[:8]

    with pytest.raises(TypeError, match=r"load.*state"):
        Stateless()


OLD_NAMES = {  # of version 0.1.0
    "transformer.blocks.0.": "transformer.block.",
    "feed_forward.linear.": "feed_forward.geglu.linear.",
    "middle.1.attention.": "middle.1.",
    "data.": "order.",
}


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNet(UNetConfig.tiny(3, channels=(8, 8), attention=(False, True), heads=2, patch_size=1)),
        lambda: VAE(VAEConfig.tiny(channels=(4, 4), norm_groups=2)),
    ],
    ids=["unet", "vae"],
)
def test_a_run_begun_by_version_0_1_0_goes_on_bit_for_bit(build, tmp_path):
    """Its checkpoint has the names of that version, in the model, in its average and in the order of the data."""
    config = TrainConfig(steps=4, batch_size=2, checkpoint_every=2, preview_every=4, precision="float32")
    images, calls = torch.rand(6, 3, 8, 8), []

    def loss(model, batch, generator):
        calls.append(1)
        return (model(batch, 5) if isinstance(model, UNet) else model.decode(model.encode(batch)[0])).square().mean()

    def stopping(model, batch, generator):
        if len(calls) == 6:
            raise StoppedError
        return loss(model, batch, generator)

    train(initialised(build, seed=0), loss, batches(config, images), config, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(initialised(build, seed=0), stopping, batches(config, images), config, tmp_path / "old")
    tensors, metadata = read_tensors(tmp_path / "old" / "checkpoint.safetensors")
    old = {}
    for name, tensor in tensors.items():
        for now, then in OLD_NAMES.items():
            name = name.replace(now, then)
        old[name] = tensor
    renamed = old.keys() - tensors.keys()
    assert {name.split(".")[0] for name in renamed} == {"model", "ema", "order"}
    write_tensors(tmp_path / "old" / "checkpoint.safetensors", old, metadata)
    train(initialised(build, seed=0), loss, batches(config, images), config, tmp_path / "old", resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "old")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(value, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 17: .*last good checkpoint"):
        train(mlp(), stop_at(17, value), batches(), CONFIG, tmp_path)
    kept = weights(tmp_path)
    assert len(kept["losses"]) == 10
    assert all(tensor.isfinite().all() for tensor in kept.values() if tensor.is_floating_point())


def test_a_run_is_not_overwritten(tmp_path):
    train(mlp(), loss, batches(), CONFIG, tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match="resume it, or choose another folder"):
        train(mlp(), loss, batches(), CONFIG, tmp_path)
    with pytest.raises(ValueError, match="batch_size was 8 and is now 4"):
        train(mlp(), loss, batches(), replace(CONFIG, batch_size=4), tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"shares was {'3': 0\.5} and is now {'3': 0\.1}"):
        train(mlp(), loss, batches(), replace(CONFIG, shares={"3": 0.1}), tmp_path, resume=True)
    with pytest.raises(ValueError, match="another model"):
        train(nn.Sequential(*mlp(), nn.Linear(2, 2)), loss, batches(), CONFIG, tmp_path, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    first = train(mlp(), loss, batches(), CONFIG, tmp_path)
    again = train(mlp(), stop_at(1), batches(), CONFIG, tmp_path, resume=True)
    assert_close(dict(first.state_dict()), dict(again.state_dict()), rtol=0, atol=0)


def test_initial_weights_and_training_leave_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    train(mlp(), loss, batches(), CONFIG, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert_close(dict(mlp().state_dict()), dict(mlp().state_dict()), rtol=0, atol=0)
