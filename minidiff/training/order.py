"""In which order the data are seen: every item once in each epoch, shuffled anew for the next."""

import torch
from torch import Tensor


class Order:
    """Batches of indices below `size`, endlessly; a last batch that would not be full is left out of its epoch.

    Raises ValueError where a batch is larger than the data.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= size:
            raise ValueError(f"a batch of {batch_size} cannot be drawn from {size} items: choose 1 to {size}")
        self.size, self.batch_size = size, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.position = 0
        self.permutation = torch.randperm(size, generator=self.generator)

    def next(self) -> Tensor:
        """The indices of the next batch, shape (batch_size,)."""
        if self.position + self.batch_size > self.size:
            self.position = 0
            self.permutation = torch.randperm(self.size, generator=self.generator)
        batch = self.permutation[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        return batch

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on from here."""
        return {
            "permutation": self.permutation,
            "position": torch.tensor(self.position),
            "generator": self.generator.get_state(),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from where `state` was taken. Raises ValueError where that was with other data."""
        if len(state["permutation"]) != self.size:
            raise ValueError(f"the run was begun with {len(state['permutation'])} items, and now there are {self.size}")
        self.permutation, self.position = state["permutation"], int(state["position"])
        self.generator.set_state(state["generator"])
