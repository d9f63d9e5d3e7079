"""The text encoder: who sees whom, where the prompt's vector stands, how large the published one is."""

import json

import pytest
import torch
import torch.nn.functional as F

from minidiff.nets.attention import attention_weights
from minidiff.text import TextEncoder, TextEncoderConfig
from minidiff.text.encoder import quick_gelu

CONFIG = TextEncoderConfig.tiny(40, context_length=8, dim=16, heads=2)
END = CONFIG.end_token


def encoder(**overrides):
    return TextEncoder(TextEncoderConfig.tiny(40, 8, **({"dim": 16, "heads": 2} | overrides))).double().eval()


def prompt(*ids):
    """Start (38), the ids, end, and the end again as padding."""
    return torch.tensor([[38, *ids] + [END] * (7 - len(ids))])


def test_a_later_token_never_changes_an_earlier_state():
    model = encoder()
    states, changed = model(prompt(1, 2, 3, 4, 5)), model(prompt(1, 2, 7, 4, 5))
    assert torch.equal(states[:, :3], changed[:, :3])
    for later in range(3, 8):
        assert not torch.allclose(states[:, later], changed[:, later])


def test_a_shorter_prompt_is_the_beginning_of_a_longer_one():
    model, tokens = encoder(), prompt(1, 2, 3, 4)
    torch.testing.assert_close(model(tokens[:, :4]), model(tokens)[:, :4])


def test_causal_attention_is_a_softmax_over_the_keys_up_to_the_query():
    layer, x = encoder().blocks[0].self_attention, torch.randn(3, 5, 16).double()
    expected = torch.empty_like(x)
    for last in range(5):
        so_far = x[:, : last + 1]
        for head in (slice(0, 8), slice(8, 16)):
            weights = attention_weights(layer.query(x)[:, last : last + 1, head], layer.key(so_far)[..., head])
            expected[:, last, head] = (weights @ layer.value(so_far)[..., head])[:, 0]
    torch.testing.assert_close(layer(x), layer.out(expected))


def test_a_block_adds_each_part_to_its_input():
    block, x = encoder().blocks[0], torch.randn(2, 5, 16).double()
    norm = lambda y: F.layer_norm(y, (16,))  # noqa: E731  (fresh LayerNorms scale by 1 and shift by 0)
    y = x + block.self_attention(norm(x))
    torch.testing.assert_close(block(x), y + block.feed_forward(norm(y)))


@torch.no_grad()
def test_states_are_what_the_blocks_but_the_last_ones_make_of_the_embeddings():
    model, tokens = encoder(layers=3), prompt(1, 2, 3)
    x = model.token_embedding.weight[tokens] + model.position_embedding.weight
    expected = [x]
    for block in model.blocks:
        expected.append(block(expected[-1]))
    for skip in range(4):
        torch.testing.assert_close(model.states(tokens, skip), expected[3 - skip])
    torch.testing.assert_close(model(tokens), F.layer_norm(expected[3], (16,)))


@pytest.mark.parametrize("skip", [-1, 3])
def test_more_blocks_cannot_be_skipped_than_there_are(skip):
    with pytest.raises(ValueError, match=rf"skip must be in 0…2, the number of layers, got {skip}"):
        encoder(layers=2).states(prompt(1), skip)


def test_states_come_out_normalised():
    states = encoder()(prompt(1, 2, 3))
    torch.testing.assert_close(states.mean(-1), torch.zeros(1, 8).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(states.var(-1, correction=0), torch.ones(1, 8).double(), atol=0.05, rtol=0)


def test_pooled_is_the_state_at_the_first_end_token():
    model = encoder()
    tokens = torch.cat([prompt(1, 2, 3), prompt(), prompt(1, 2, 3, 4, 5, 6)])
    states = model(tokens)
    torch.testing.assert_close(model.pooled(tokens), torch.stack([states[0, 4], states[1, 1], states[2, 7]]))


def test_pooled_is_projected_where_there_is_a_projection():
    model, plain = encoder(projection_dim=5), encoder()
    plain.load_state_dict({name: weight for name, weight in model.state_dict().items() if name != "projection.weight"})
    tokens = torch.cat([prompt(1, 2, 3), prompt()])
    torch.testing.assert_close(model.pooled(tokens), plain.pooled(tokens) @ model.projection.weight.T)
    torch.testing.assert_close(model(tokens), plain(tokens))  # states are not projected


def test_the_first_of_several_end_tokens_counts_though_added_tokens_have_higher_ids():
    model = encoder(end_token=20)
    tokens = torch.tensor([[38, 1, 39, 20, 20, 39, 20, 39]])
    torch.testing.assert_close(model.pooled(tokens), model(tokens)[:, 3])


def test_padding_changes_nothing_in_the_pooled_state():
    model, tokens = encoder(), prompt(1, 2)
    other = tokens.clone()
    other[:, 4:] = 9
    assert torch.equal(model.pooled(tokens), model.pooled(other))


def test_the_order_of_words_matters():
    """To one layer only positions tell it; a second could tell by how many came before."""
    model = encoder(layers=1)
    assert not torch.allclose(model.pooled(prompt(1, 2)), model.pooled(prompt(2, 1)))
    assert not torch.allclose(model.pooled(prompt(5, 5)), model.pooled(prompt(5)))


def test_prompts_of_a_batch_do_not_touch_each_other():
    model, one, other = encoder(), prompt(1, 2), prompt(3, 4, 5)
    torch.testing.assert_close(model(torch.cat([one, other]))[:1], model(one))


def test_every_weight_is_reached_by_a_gradient_but_a_bias_of_the_keys():
    """A bias adds the same to a query's fit with every key, and the softmax does not feel it."""
    model = encoder()
    tokens = torch.arange(40).reshape(5, 8)  # each id once, each position
    (model(tokens) * torch.randn(5, 8, 16)).sum().backward()
    for name, parameter in model.named_parameters():
        largest = parameter.grad.abs().max()
        assert largest < 1e-12 if name.endswith("key.bias") else largest > 1e-6, name


def test_quick_gelu_is_near_the_gelu_and_is_not_it():
    x = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    assert 0.02 < (quick_gelu(x) - F.gelu(x)).abs().max() < 0.021
    torch.testing.assert_close(quick_gelu(x) - quick_gelu(-x), x)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (TextEncoderConfig.stable_diffusion_1(), 123_060_480),
        (TextEncoderConfig.stable_diffusion_2(), 340_387_840),
        (TextEncoderConfig.stable_diffusion_xl()[0], 123_060_480),
        (TextEncoderConfig.stable_diffusion_xl()[1], 694_659_840),
    ],
    ids=["1", "2", "XL's first", "XL's second"],
)
def test_published_encoders_have_as_many_parameters_as_published(config, count):
    with torch.device("meta"):
        model = TextEncoder(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_laptop_s_size():
    config = TextEncoderConfig.tiny(1000)
    assert (config.context_length, config.end_token) == (16, 999)
    assert sum(parameter.numel() for parameter in TextEncoder(config).parameters()) == 526_848


@pytest.mark.parametrize("unknown", [-1, 40])
def test_an_unknown_id_is_an_error(unknown):
    with pytest.raises(ValueError, match=rf"0…39, got {unknown}"):
        encoder()(prompt(unknown))


def test_more_tokens_than_fit_are_an_error():
    with pytest.raises(ValueError, match="at most 8 tokens, got 9"):
        encoder()(torch.zeros(1, 9, dtype=torch.int64))


def test_a_prompt_without_an_end_has_no_pooled_state():
    with pytest.raises(ValueError, match="end token, id 39"):
        encoder().pooled(torch.cat([prompt(1), torch.zeros(1, 8, dtype=torch.int64)]))


def test_a_feed_forward_is_as_wide_as_it_is_told_and_has_the_activation_it_is_told():
    block, x = encoder(feed_forward_dim=37, activation="gelu").blocks[0].feed_forward, torch.randn(2, 5, 16).double()
    assert block.linear.weight.shape == (37, 16)
    torch.testing.assert_close(block(x), block.out(F.gelu(block.linear(x))))
    block = encoder().blocks[0].feed_forward
    torch.testing.assert_close(block(x), block.out(quick_gelu(block.linear(x))))


def test_a_configuration_of_before_these_fields_is_what_it_was():
    sizes = {"vocab_size": 40, "context_length": 8, "dim": 16, "layers": 2, "heads": 2, "end_token": 39}
    assert TextEncoderConfig.from_dict(sizes) == CONFIG


def test_a_configuration_goes_through_json():
    assert TextEncoderConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    with pytest.raises(ValueError, match="'depth'"):
        TextEncoderConfig.from_dict({"depth": 3})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"heads": 3}, "heads must divide dim=128, got heads=3"),
        ({"end_token": 40}, "0…39, got 40"),
        ({"context_length": 0}, "context_length must be at least 1"),
        ({"feed_forward_dim": 0}, "feed_forward_dim must be at least 1"),
        ({"projection_dim": 0}, "projection_dim must be at least 1"),
        ({"activation": "geglu"}, "activation must be quick_gelu or gelu, got 'geglu'"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        TextEncoderConfig.tiny(40, **sizes)
