"""The average of a model's weights over its training, which draws better pictures than the last weights do."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def ema_decay(decay: float, n: int) -> float:
    r"""How much of the average is kept at update n: $d_n = \min\big(d, \frac{1 + n}{10 + n}\big)$   (`training.ema_decay`)

    Short at first, so that the average does not remember the random start. Source: the warm-up customary since TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + n) / (10 + n))


def ema_update(average: Tensor, current: Tensor, decay: float) -> Tensor:
    r"""$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta$, in place   (`training.ema`). Source: Polyak & Juditsky, 1992; Song & Ermon, 2020."""
    return average.mul_(decay).add_(current, alpha=1 - decay)


def average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a model, by `ema_update`'s rule: call `update_parameters(model)` after each step.

    The first call copies the weights; from the second on n counts 1, 2, …. Parameters only: a buffer is no weight, and the average
    has the model's own.
    """

    def update(averages: list[Tensor], currents: list[Tensor], n: Tensor) -> None:
        decay_n = ema_decay(decay, int(n))
        for kept, current in zip(averages, currents, strict=True):
            ema_update(kept, current, decay_n)

    return AveragedModel(model, multi_avg_fn=update)
