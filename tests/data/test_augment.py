"""Random flips and shifts, against pictures moved by hand."""

import pytest
import torch

from minidiff.data.images import augment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(b: int = 400, c: int = 2, h: int = 6, w: int = 7) -> torch.Tensor:
    return torch.arange(c * h * w).float().reshape(1, c, h, w).expand(b, -1, -1, -1)


def moved(picture: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """A shift with the edge repeated, by padding and cutting, one picture (c, h, w) at a time."""
    h, w = picture.shape[1:]
    padded = torch.nn.functional.pad(picture[None], (3, 3, 3, 3), mode="replicate")[0]
    return padded[:, 3 - down : 3 - down + h, 3 - right : 3 - right + w]


def test_without_options_nothing_changes():
    assert torch.equal(augment(ramp(), seeded()), ramp())


def test_a_shift_is_one_of_those_allowed_and_all_of_them_occur():
    original = ramp(1)[0]
    allowed = {(down, right): moved(original, down, right) for down in range(-2, 3) for right in range(-2, 3)}
    seen = set()
    for picture in augment(ramp(), seeded(), shift=2):
        matches = [where for where, candidate in allowed.items() if torch.equal(picture, candidate)]
        assert len(matches) == 1
        seen.update(matches)
    assert seen == set(allowed)


def test_about_half_are_mirrored_and_the_rest_left():
    mirrored = (augment(ramp(), seeded(), flip=True) == ramp().flip(3)).flatten(1).all(1)
    kept = (augment(ramp(), seeded(), flip=True) == ramp()).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert 0.4 < mirrored.float().mean() < 0.6


def test_a_shift_alone_never_mirrors():
    """Digits are shifted only: columns must still ascend after any shift."""
    assert (augment(ramp(), seeded(), shift=3).diff(dim=3) >= 0).all()


def test_flip_and_shift_together_are_a_shift_of_the_mirrored():
    original = ramp(1)[0]
    allowed = [
        moved(side, down, right)
        for side in (original, original.flip(2))
        for down in range(-1, 2)
        for right in range(-1, 2)
    ]
    for picture in augment(ramp(100), seeded(), flip=True, shift=1):
        assert sum(torch.equal(picture, candidate) for candidate in allowed) == 1


def test_the_generator_alone_decides():
    before = torch.get_rng_state()
    first = augment(ramp(), seeded(5), flip=True, shift=2)
    assert torch.equal(first, augment(ramp(), seeded(5), flip=True, shift=2))
    assert not torch.equal(first, augment(ramp(), seeded(6), flip=True, shift=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_given_batch_is_left_alone():
    batch = ramp(4).clone()
    augment(batch, seeded(), flip=True, shift=2)
    assert torch.equal(batch, ramp(4))


@pytest.mark.parametrize("shift", [-1, 6])
def test_a_shift_out_of_range_is_an_error(shift):
    with pytest.raises(ValueError, match=f"got {shift}"):
        augment(ramp(2), seeded(), shift=shift)
