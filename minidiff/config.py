"""Configurations of networks, which are written to and read from JSON, and a check of shapes."""

from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from torch import Tensor

Sizes = TypeVar("Sizes", bound="Config")


@dataclass(frozen=True)
class Config:
    """The sizes of a network, as a frozen dataclass that converts to plain values and back."""

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Sizes], sizes: dict) -> Sizes:
        """The inverse of `to_dict`; lists, which JSON has in place of tuples, become tuples. Raises ValueError for unknown keys."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(sizes) - known):
            raise ValueError(f"unknown keys {unknown} in a {cls.__name__}, expected some of {sorted(known)}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()})

    def check_positive(self, *names: str) -> None:
        """Raises ValueError if one of these fields, or one of its entries, is below 1, or if a tuple is empty."""
        for name in names:
            value = getattr(self, name)
            entries = value if isinstance(value, tuple) else (value,)
            if not entries or any(entry is not None and entry < 1 for entry in entries):
                raise ValueError(
                    f"{name} must be at least 1{' in every entry' * isinstance(value, tuple)}, got {value}"
                )


def check_shape(name: str, value: Tensor, *shape: int | str) -> None:
    """Raises ValueError unless `value` has this shape; a letter in the shape stands for any size."""
    sizes = zip(value.shape, shape, strict=False)
    if value.ndim != len(shape) or any(not isinstance(want, str) and size != want for size, want in sizes):
        raise ValueError(f"{name} must have the shape ({', '.join(map(str, shape))}), got {tuple(value.shape)}")
