"""Data to learn from: points in the plane, handwritten digits, emoji, any folder of pictures; and tensors back into pictures.

Pictures are float32 in [-1, 1], shape (N, C, H, W): -1 is black, +1 is white.
"""

from minidiff.data import digits, emoji, files, images, pictures, toys

__all__ = ["digits", "emoji", "files", "images", "pictures", "toys"]
