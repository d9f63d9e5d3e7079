"""Words: prompts become tokens, tokens become the vectors that a picture is drawn from.

`bpe` is the algorithm, `Tokenizer` CLIP's use of it, `TextEncoder` CLIP's text transformer; `contrastive` trains it,
together with an image encoder, on pictures and their captions.
"""

from minidiff.text.contrastive import CLIP, ImageEncoder, info_nce
from minidiff.text.encoder import TextEncoder, TextEncoderConfig
from minidiff.text.tokenizer import Tokenizer

__all__ = ["CLIP", "ImageEncoder", "TextEncoder", "TextEncoderConfig", "Tokenizer", "info_nce"]
