"""Data sets (points in the plane, handwritten digits, emoji, any folder of pictures), and picture files made from tensors.

Pictures are float32 in [-1, 1], shape (N, C, H, W): -1 is black, +1 is white.
"""

from minidiff.data import digits, emoji, images, pictures, toys

__all__ = ["digits", "emoji", "images", "pictures", "toys"]
