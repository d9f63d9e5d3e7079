"""Our text encoder with transformers' weights is transformers' text encoder."""

import re

import pytest
import torch

from minidiff.text import TextEncoder, TextEncoderConfig

transformers = pytest.importorskip("transformers")

# From our names to theirs; each pattern is applied once, in this order.
RENAMES = [
    (r"^(token|position)_embedding\.", r"embeddings.\1_embedding."),
    (r"^norm_out\.", "final_layer_norm."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.norm_self\.", ".layer_norm1."),
    (r"\.norm_feed_forward\.", ".layer_norm2."),
    (r"\.self_attention\.(query|key|value)\.", lambda match: f".self_attn.{match[1][0]}_proj."),
    (r"\.self_attention\.out\.", ".self_attn.out_proj."),
    (r"\.feed_forward\.linear\.", ".mlp.fc1."),
    (r"\.feed_forward\.out\.", ".mlp.fc2."),
    (r"^projection\.", "text_projection."),
]


def their_name(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def theirs(config: TextEncoderConfig):
    sizes = transformers.CLIPTextConfig(
        vocab_size=config.vocab_size,
        max_position_embeddings=config.context_length,
        hidden_size=config.dim,
        intermediate_size=config.feed_forward_dim or 4 * config.dim,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        eos_token_id=config.end_token,
        hidden_act=config.activation,
        projection_dim=config.projection_dim or config.dim,
    )
    if config.projection_dim is None:
        return transformers.CLIPTextModel(sizes)
    return transformers.CLIPTextModelWithProjection(sizes)


def weights_of(reference) -> dict:
    """By name; `CLIPTextModelWithProjection` has the prefix text_model., `CLIPTextModel` has it in some versions."""
    return {name.removeprefix("text_model."): weight for name, weight in reference.state_dict().items()}


@pytest.mark.parametrize(
    "config",
    [
        TextEncoderConfig.tiny(60, 12),
        TextEncoderConfig.tiny(60, 7, dim=24, layers=3, heads=3),
        TextEncoderConfig.tiny(60, 20, dim=16, layers=1, heads=1, end_token=9),
        TextEncoderConfig.tiny(60, 12, dim=24, layers=3, heads=3, activation="gelu"),
        TextEncoderConfig.tiny(60, 12, dim=24, heads=3, feed_forward_dim=37),
        TextEncoderConfig.tiny(60, 12, dim=24, layers=3, heads=3, activation="gelu", projection_dim=20),
    ],
    ids=["2 layers", "3 layers", "1 layer", "gelu", "width 37", "gelu and projection"],
)
@torch.no_grad()
def test_the_same_weights_give_the_same_states(config):
    torch.manual_seed(0)
    ours, reference = TextEncoder(config).eval(), theirs(config).eval()
    for parameter in reference.parameters():  # norms and biases too: at 1 and 0 they could be swapped unnoticed
        parameter.add_(0.1 * torch.randn_like(parameter))
    weights = weights_of(reference)
    ours.load_state_dict({name: weights.pop(their_name(name)) for name in ours.state_dict()})
    assert not weights  # nothing of theirs is left over

    tokens = torch.randint(config.vocab_size, (4, config.context_length))
    for row, length in enumerate((2, 3, 5, 7)):
        tokens[row, length - 1 :] = config.end_token
    expected = reference(input_ids=tokens, output_hidden_states=True)
    pooled = expected.pooler_output if config.projection_dim is None else expected.text_embeds
    torch.testing.assert_close(ours(tokens), expected.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooled(tokens), pooled, atol=1e-5, rtol=0)
    for skip in range(config.layers):  # hidden_states[-2], which Stable Diffusion XL reads, is skip=1
        torch.testing.assert_close(ours.states(tokens, skip), expected.hidden_states[-1 - skip], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        TextEncoderConfig.stable_diffusion_1(),
        TextEncoderConfig.stable_diffusion_2(),
        TextEncoderConfig.stable_diffusion_xl()[1],
    ],
    ids=["1", "2", "XL's second"],
)
def test_published_encoders_have_the_names_and_shapes_of_theirs(config):
    with torch.device("meta"):
        ours, reference = TextEncoder(config), theirs(config)
    shapes = {their_name(name): weight.shape for name, weight in ours.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in weights_of(reference).items()}
