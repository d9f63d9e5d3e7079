"""The exponential moving average (EMA) of a model's weights. Averaged weights draw better samples than the last ones."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def ema_decay(decay: float, n: int) -> float:
    r"""The decay of update n: $d_n = \min\big(d, \frac{1 + n}{10 + n}\big)$   (`training.ema_decay`)

    The decay is small at first, so that the average forgets the random initial weights.
    Source: the warm-up customary since TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + n) / (10 + n))


def ema_update(average: Tensor, current: Tensor, decay: float) -> Tensor:
    r"""$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta$, in place   (`training.ema`). Source: Polyak & Juditsky, 1992; Song & Ermon, 2020."""
    return average.mul_(decay).add_(current, alpha=1 - decay)


def average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a model whose weights are averaged by `ema_update`: call `update_parameters(model)` after each step.

    The first call copies the weights; later calls have n = 1, 2, …. Buffers are copied from the model and not averaged.
    """

    def update(averages: list[Tensor], currents: list[Tensor], n: Tensor) -> None:
        decay_n = ema_decay(decay, int(n))
        for kept, current in zip(averages, currents, strict=True):
            ema_update(kept, current, decay_n)

    return AveragedModel(model, multi_avg_fn=update)
