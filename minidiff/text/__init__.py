"""Text: prompts become tokens, and tokens become the vectors that cross-attention reads.

`bpe` is byte-pair encoding, `Tokenizer` is CLIP's tokenizer, `TextEncoder` CLIP's text transformer. `contrastive` trains the text encoder
together with an image encoder, on images and their captions.
"""

from minidiff.text.contrastive import CLIP, ImageEncoder, info_nce
from minidiff.text.encoder import TextEncoder, TextEncoderConfig
from minidiff.text.tokenizer import Tokenizer

__all__ = ["CLIP", "ImageEncoder", "TextEncoder", "TextEncoderConfig", "Tokenizer", "info_nce"]
