"""Everything that a denoiser is conditioned on, as one object."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of a network beside x_t and t. Raises ValueError if the fields differ in batch size, the axis _ below."""

    context: Float[Tensor, "_ l d"] | None = None  # read by cross-attention
    vector: Float[Tensor, "_ v"] | None = None  # added to the time embedding, through two linear layers
    labels: Int[Tensor, "_"] | None = None  # class numbers; a learned vector per class is added to the time embedding
    image: Float[Tensor, "_ c h w"] | None = None  # concatenated to the channels of x_t
    control: Float[Tensor, "_ c_control h_control w_control"] | None = None  # the input of a ControlNet, in pixels

    def __post_init__(self) -> None:
        sizes = {name: tensor.shape[0] for name, tensor in self._given().items()}
        if any(size != self.batch for size in sizes.values()):
            raise ValueError(f"all fields of a condition must have the same batch size, got {sizes}")

    @property
    def batch(self) -> int | None:
        """The batch size, or None for an empty condition."""
        return next((tensor.shape[0] for tensor in self._given().values()), None)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Condition":
        """A condition with `function` applied to every tensor in it, integer labels included."""
        return Condition(**{name: function(tensor) for name, tensor in self._given().items()})

    @staticmethod
    def cat(first: "Condition", *others: "Condition") -> "Condition":
        """All conditions as one batch, in order. Raises ValueError if they have different fields, or shapes that differ beyond the batch."""
        given = [condition._given() for condition in (first, *others)]
        for name in {name: None for tensors in given for name in tensors}:  # in order, each once
            shapes = [tuple(tensors[name].shape[1:]) if name in tensors else None for tensors in given]
            if any(shape != shapes[0] for shape in shapes):
                raise ValueError(f"{name} must have the same shape in all conditions, after the batch; got {shapes}")
        return Condition(**{name: torch.cat([tensors[name] for tensors in given]) for name in given[0]})

    def _given(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}
