"""The settings of a training run, and its learning rate at each step."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Real


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. A step is one batch. Raises ValueError for invalid settings.

    The learning rate rises to `learning_rate` in `warmup` steps and falls to 0 along a cosine. `clip` is the largest allowed norm of a
    gradient. The saved weights are averages with `ema_decay`. Precision "auto" takes bfloat16 where the device is faster with it.
    `shares` gives parts of the model a share of the learning rate: {"text_encoder": 0.1} is a tenth, 0 freezes the part.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    precision: str = "auto"
    checkpoint_every: int = 200
    preview_every: int = 200
    shares: Mapping[str, Real] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "preview_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.warmup < 0 or self.weight_decay < 0:
            raise ValueError(f"warmup and weight_decay must be at least 0, got {self.warmup} and {self.weight_decay}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        for part, share in self.shares.items():
            if not 0 <= share < math.inf:
                raise ValueError(f"shares must be at least 0 and finite, got {share} for {part!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"unknown precision {self.precision!r}: choose auto, float32 or bfloat16")

    def to_dict(self) -> dict:
        """The settings as plain values, for a JSON file."""
        return asdict(self)


def learning_rate(config: TrainConfig, step: int) -> float:
    r"""The learning rate of step 1…steps.

    $\eta \min\big(1, \frac{i}{w}\big)\,\frac12 \Big(1 + \cos \pi \frac{i - 1}{n}\Big)$   (`training.learning_rate`) for step i of n, with w steps of warm-up

    Source: Loshchilov & Hutter, SGDR, 2017, eq. 5, for one period; Goyal et al., 2017, for the warm-up.
    """
    warm = min(1.0, step / config.warmup) if config.warmup else 1.0
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps))
