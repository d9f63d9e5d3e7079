r"""Conversion between sRGB and CIELAB, a colour space in which distance is roughly the visible difference.

A colour is (L*, a*, b*): lightness from 0 (black) to 100 (white), green to red, blue to yellow. Viewers can just
distinguish two patches at a distance of 2. At a distance of 40 nobody confuses them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_KNEE = 6 / 29


def to_lab(rgb: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    r"""Convert sRGB in [0, 1], channels last, to (L*, a*, b*) under daylight (D65). Values outside [0, 1] are clamped.

    $L^* = 116 f(Y) - 16,\quad a^* = 500 (f(X) - f(Y)),\quad b^* = 200 (f(Y) - f(Z))$. Here $f$ is the cube root, and
    below $(6/29)^3$ its tangent at $(6/29)^3$. X, Y and Z are divided by their values for white.

    Source: CIE 15:2004, section 8.2.1; IEC 61966-2-1 for sRGB.
    """
    rgb = rgb.clamp(0, 1)
    light = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor(_TO_XYZ).to(rgb)
    xyz = light @ to_xyz.T / to_xyz.sum(dim=1)  # white is red, green and blue together
    x, y, z = torch.where(xyz > _KNEE**3, xyz ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def to_rgb(lab: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Convert (L*, a*, b*) to sRGB in [0, 1]: the inverse of `to_lab`. Each channel outside sRGB is clamped."""
    lightness, a, b = lab.unbind(-1)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=-1)
    xyz = torch.where(roots > _KNEE, roots**3, 3 * _KNEE**2 * (roots - 4 / 29))
    to_xyz = torch.tensor(_TO_XYZ).to(lab)
    light = (xyz * to_xyz.sum(dim=1) @ torch.linalg.inv(to_xyz).T).clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
