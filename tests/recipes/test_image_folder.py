import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import pictures
from minidiff.recipes.emoji import EMOJI
from minidiff.recipes.image_folder import IMAGE_FOLDER, folder_with_captions


def test_a_folder_of_captioned_images_is_training_data(tmp_path):
    for i, caption in enumerate(("a dot", "a line", "a dot")):
        pictures.save_png(pictures.grid(torch.full((1, 3, 32, 32), i / 3), columns=1), tmp_path / f"{i}.png")
        with (tmp_path / "metadata.jsonl").open("a") as lines:
            lines.write(json.dumps({"file_name": f"{i}.png", "text": caption}) + "\n")
    data = folder_with_captions(tmp_path)
    assert data.captions == [("a dot",), ("a line",), ("a dot",)]
    assert data.concepts.tolist() == [0, 1, 0]
    assert_close(data.images[1], torch.full((3, 32, 32), 1 / 3).half(), atol=0.01, rtol=0)


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no picture"):
        folder_with_captions(tmp_path)


def test_a_folder_is_learned_with_the_numbers_of_the_emoji_recipe():
    """Its prompts are unknown, so no samples are drawn during training."""
    assert replace(EMOJI, subject="pictures", preview_prompts=(), snapshots=None) == IMAGE_FOLDER
