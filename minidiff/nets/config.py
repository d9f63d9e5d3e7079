"""What the configurations of all networks share: they become plain values, and come back from them."""

from dataclasses import asdict, dataclass, fields
from typing import TypeVar

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
