"""What was made fast, against what it replaces."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cllora.errors import UsageError
from cllora.model import attention, precision
from cllora.model.adapters import Adapters
from cllora.model.load import add_lora
from cllora.spec import LoraSpec
from support.models import tiny_config

SHAPES = [(4, 4, 8, [7]), (8, 2, 16, [5, 1, 33]), (9, 3, 4, [64, 64, 2, 30]), (4, 1, 8, [1]), (2, 2, 8, [300, 20])]


def draw(heads, kv_heads, width, lengths):
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, h, sum(lengths), width) for h in (heads, kv_heads, kv_heads)]
    return [torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes]


def dense(q, k, v, lengths, scale):
    """Softmax over an explicit mask: of the same text, and not later."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    visible = (text[:, None] == text) & torch.ones(len(text), len(text)).tril().bool()
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * scale
    return torch.einsum("bhij,bhjd->bihd", scores.masked_fill(~visible, float("-inf")).softmax(-1), v)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaling", [None, 1.0])
@pytest.mark.parametrize("short", [0, 256])
def test_packed_attention_equals_dense_attention_forward_and_backward(shape, scaling, short, monkeypatch):
    monkeypatch.setattr(attention, "SHORT", short)
    tensors, lengths = draw(*shape), shape[-1]
    packing = attention.Packing.of_lengths(np.array(lengths), torch.device("cpu"))
    found, weights = attention.packed_attention(torch.nn.Module(), *tensors, None, scaling=scaling, packing=packing)
    expected = dense(*tensors, lengths, shape[2] ** -0.5 if scaling is None else scaling)
    assert weights is None
    torch.testing.assert_close(found, expected)
    pull = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(
        torch.autograd.grad((found * pull).sum(), tensors),
        torch.autograd.grad((expected * pull).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_later_token_or_another_text_never_changes_an_output():
    q, k, v = (t.detach() for t in draw(2, 2, 8, [9, 12, 4]))
    packing = attention.Packing.of_lengths(np.array([9, 12, 4]), torch.device("cpu"))
    before, _ = attention.packed_attention(torch.nn.Module(), q, k, v, None, packing=packing)
    for token in range(25):
        changed = [t.clone() for t in (q, k, v)]
        for tensor in changed:
            tensor[:, :, token] += 1
        after, _ = attention.packed_attention(torch.nn.Module(), *changed, None, packing=packing)
        moved = (before != after).any(-1).any(-1)[0].nonzero().flatten()
        end = next(end for end in (9, 21, 25) if token < end)
        assert moved.tolist() == list(range(token, end))


def test_without_a_packing_it_is_stock_attention():
    q, k, v = draw(2, 2, 4, [6])
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    mask[0, 0, 3:, 1] = False
    found, _ = attention.packed_attention(torch.nn.Module(), q, k, v, mask)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2))
    packing = attention.Packing.of_lengths(np.array([6]), torch.device("cpu"))
    with pytest.raises(UsageError, match="packed texts"):
        attention.packed_attention(torch.nn.Module(), q, k, v, mask, packing=packing)


def loss_and_gradients(family, dtype, quick):
    """Of a random model with a random adapter; the weights are the same whatever the dtype."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32)
    model = add_lora(model.bfloat16().to(dtype), LoraSpec(lora_dropout=0, use_rslora=True), family)
    learning = [p for p in model.parameters() if p.requires_grad]
    adapters = Adapters(model) if quick else None
    for parameter in learning:
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    ids = torch.arange(4, 84).view(2, 40)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = [adapters.gradients[0]] if quick else [parameter.grad for parameter in learning]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    with model.disable_adapter():
        assert not torch.isclose(model(input_ids=ids, labels=ids).loss, loss)
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama"])
def test_quick_lora_layers_equal_pefts(family):
    """In float32 to rounding; in bfloat16 about as near to float32 as PEFT's own layers are."""
    loss, truth = loss_and_gradients(family, torch.float32, quick=False)
    quick_loss, quick = loss_and_gradients(family, torch.float32, quick=True)
    assert quick_loss == pytest.approx(loss, rel=1e-6)
    assert float((quick - truth).norm() / truth.norm()) < 1e-5
    errors = {}
    for quick in (False, True):
        rough_loss, rough = loss_and_gradients(family, torch.bfloat16, quick)
        assert rough_loss == pytest.approx(loss, rel=2e-3)
        errors[quick] = float((rough - truth).norm() / truth.norm())
    assert errors[True] < min(0.06, 3 * errors[False])


def test_precision_is_measured_once_kept_and_said(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "cllora")
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path))
    monkeypatch.setattr(precision, "slow_bfloat16", lambda: False)
    for seconds, expected in (
        (lambda dtype: 1.0, "float32"),
        (lambda dtype: 2.0 if dtype == torch.float32 else 1.0, "bfloat16"),
    ):
        monkeypatch.setattr(precision, "product_seconds", seconds)
        (tmp_path / "precision.json").unlink(missing_ok=True)
        assert precision.automatic(torch.device("cpu")) == expected
        monkeypatch.setattr(precision, "product_seconds", lambda dtype: pytest.fail("measured again"))
        assert precision.automatic(torch.device("cpu")) == expected
        assert f"precision auto: {expected}" in caplog.messages[-1]
    assert next(iter(json.loads((tmp_path / "precision.json").read_text()).values()))["times_faster"] == 2.0
