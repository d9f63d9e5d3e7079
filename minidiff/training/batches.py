"""Training data: an endless iterator of batches that can be stopped and continued."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Data(Iterator):
    """What `train` iterates over: endless batches, and a state from which a later process continues with the next batch."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that the following batches depend on, as named tensors."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue where `state` was taken. Raises ValueError if the state belongs to other data."""


class Batches(Data):
    """Shuffled batches of tensors in memory. Every epoch contains each row once, in a new order; an incomplete last batch is dropped.

    One tensor (N, …) gives batches (B, …). Several tensors of N rows give tuples of batches with the same rows. Batches are moved to
    `device`, or stay where the tensors are. Raises ValueError if the batch is larger than the data, or if lengths differ.
    """

    def __init__(
        self,
        first: Tensor,
        *others: Tensor,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        self.tensors, self.batch_size, self.device = (first, *others), batch_size, device
        self.size = len(first)
        if any(len(tensor) != self.size for tensor in others):
            lengths = ", ".join(str(len(tensor)) for tensor in self.tensors)
            raise ValueError(f"expected tensors of one length, got {lengths}")
        if not 1 <= batch_size <= self.size:
            raise ValueError(f"a batch of {batch_size} cannot be drawn from {self.size} items: choose 1 to {self.size}")
        self.generator = torch.Generator().manual_seed(seed)
        self._shuffle()

    def __next__(self) -> Tensor | tuple[Tensor, ...]:
        if self.position + self.batch_size > self.size:
            self._shuffle()
        rows = self.permutation[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        batch = tuple(tensor[rows.to(tensor.device)].to(self.device or tensor.device) for tensor in self.tensors)
        return batch if len(batch) > 1 else batch[0]

    def _shuffle(self) -> None:
        self.position, self.permutation = 0, torch.randperm(self.size, generator=self.generator)

    def state(self) -> dict[str, Tensor]:
        """The order of this epoch, the position in it, and the generator of the next epochs' orders."""
        position = torch.tensor(self.position)
        return {"permutation": self.permutation, "position": position, "generator": self.generator.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue where `state` was taken. Raises ValueError if the state belongs to data of another length."""
        if len(state["permutation"]) != self.size:
            raise ValueError(f"the run was begun with {len(state['permutation'])} items, and now there are {self.size}")
        self.permutation, self.position = state["permutation"], int(state["position"])
        self.generator.set_state(state["generator"])
