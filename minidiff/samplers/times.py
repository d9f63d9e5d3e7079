"""The noise levels that a sampler visits."""

import torch

SPACINGS = ("trailing", "leading", "linspace", "karras")
RHO = 7  # Karras et al., table 1


def times(
    T: int, steps: int, spacing: str = "trailing", *, start: int | None = None, end: int = 0, offset: int = 0
) -> list[int] | list[float]:
    r"""A list of the steps + 1 levels that a sampler visits in `steps` steps, descending; the last is `end`.

    With S = start, or S = T where start is None:

    - trailing: round(S - i·(S - end)/steps), which begins at S;
    - leading: 1 + offset + i·⌊S/steps⌋, reversed; Stable Diffusion uses it with end = 1 and offset = 1;
    - linspace: `steps` evenly spaced levels from 1 (or end + 1) to S, rounded;
    - karras: the same with $t^{1/7}$ in place of t, not rounded; low noise levels are closer together.

    Raises ValueError for an unknown spacing, unless 0 ≤ end < start ≤ T, unless 1 ≤ steps ≤ S - end, and for an offset that
    gives levels above T.
    Source: Lin et al., 2024, table 2 (the first three); Karras et al., 2022, eq. 5, applied to t.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}: choose one of {', '.join(SPACINGS)}")
    top = T if start is None else start
    if not 0 <= end < top <= T:
        raise ValueError(f"expected levels 0 ≤ end < start ≤ T, got end {end}, start {top}, T {T}")
    if not 1 <= steps <= top - end:
        raise ValueError(f"from level {top} to level {end} there is room for 1 to {top - end} steps, got {steps}")

    i = torch.arange(steps, dtype=torch.float64)
    if spacing == "trailing":
        levels = (top - i * (top - end) / steps).round()
    elif spacing == "leading":
        above = end if end > offset else 0  # the levels are spaced over 0…S unless `end` is above `offset`
        levels = (1 + max(offset, end) + i * ((top - above) // steps)).flip(0)
    else:
        power = RHO if spacing == "karras" else 1
        levels = torch.linspace(top ** (1 / power), (end + 1) ** (1 / power), steps, dtype=torch.float64) ** power
        levels = levels if spacing == "karras" else levels.round()
        levels[0] = top  # the power of the root is rounded
    if levels[0] > T:
        raise ValueError(f"offset {offset} gives level {levels[0].item():g}, above T = {T}: choose a smaller offset")
    return [level if spacing == "karras" else int(level) for level in levels.tolist()] + [end]
