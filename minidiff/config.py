"""What all networks share: configurations that become plain values and come back from them, and a check of shapes."""

from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from torch import Tensor

Sizes = TypeVar("Sizes", bound="Config")


@dataclass(frozen=True)
class Config:
    """The sizes of a network, for a JSON file and back."""

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Sizes], sizes: dict) -> Sizes:
        """The inverse of `to_dict`, through JSON too, which knows lists only. Raises ValueError on unknown keys."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(sizes) - known):
            raise ValueError(f"unknown keys {unknown} in a {cls.__name__}; it has {sorted(known)}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()})

    def check_positive(self, *names: str) -> None:
        """Raises ValueError where one of these fields, or an entry of it, is below 1, or has no entries."""
        for name in names:
            value = getattr(self, name)
            entries = value if isinstance(value, tuple) else (value,)
            if not entries or any(entry is not None and entry < 1 for entry in entries):
                raise ValueError(f"{name} must be at least 1{' at each level' * isinstance(value, tuple)}, got {value}")


def check_shape(name: str, value: Tensor, *shape: int | str) -> None:
    """Raises ValueError where `value` does not have this shape; a letter in it stands for any size."""
    sizes = zip(value.shape, shape, strict=False)
    if value.ndim != len(shape) or any(not isinstance(want, str) and size != want for size, want in sizes):
        raise ValueError(f"{name} must have the shape ({', '.join(map(str, shape))}), got {tuple(value.shape)}")
