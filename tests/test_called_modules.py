"""LoRA goes where it does something: on layers that are called; a layer whose weight alone is read gets none."""

import copy
import re

import numpy as np
import peft
import pytest
import torch
import transformers

from cllora.errors import UsageError
from cllora.model.load import add_lora
from cllora.model.text import called_modules, text_modules
from cllora.spec import LoraSpec
from support.models import tiny_config

TEXT = torch.arange(4, 16)[None]


class Reads(torch.nn.Module):
    """A router that reads its layer's weight, as LongCat-Flash's does, or one that calls it; and a gate of its own."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls
        self.classifier = torch.nn.Linear(32, 3, bias=False)
        self.mixed = torch.nn.ModuleList(torch.nn.Linear(32, 32, bias=False) for _ in range(2))

    def forward(self, x):
        scores = self.classifier(x) if self.calls else x @ self.classifier.weight.t()
        return scores.softmax(-1), self.mixed[0](x) + x @ self.mixed[1].weight


class Experts(torch.nn.Module):
    """Experts in a list: those behind the first are for tokens that a short text has not, and a router to each."""

    def __init__(self, calls):
        super().__init__()
        self.router = Reads(calls)
        self.experts = torch.nn.ModuleList(torch.nn.ModuleDict({"up": torch.nn.Linear(32, 32)}) for _ in range(3))
        for expert in self.experts:
            expert["router"] = Reads(False)

    def forward(self, x):
        scores, mixed = self.router(x)
        shares, more = self.experts[1]["router"](x)
        return mixed + scores[..., :1] * (self.experts[1]["up"](x) + shares[..., :1] * more)


@pytest.fixture(scope="module")
def model():
    """An OPT of two layers with experts before its head; the router of the first calls, that of the second reads."""
    plain = transformers.OPTForCausalLM.forward

    class OPTForCausalLM(transformers.OPTForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.model.decoder.more = torch.nn.ModuleDict({"calls": Experts(True), "reads": Experts(False)})

        def forward(self, *inputs, **named):
            out = plain(self, *inputs, **named | {"output_hidden_states": True})
            x = out.hidden_states[-1]
            for experts in self.model.decoder.more.values():
                x = x + experts(x)
            out.logits = self.lm_head(x)
            return out

    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = OPTForCausalLM(tiny_config("opt")).eval()
        for weight in found.parameters():
            weight.data = torch.randn_like(weight) * 0.2
    return found


def adapted(model, **lora):
    """The model with LoRA, every number of it away from where it starts."""
    found = add_lora(copy.deepcopy(model), LoraSpec(r=2, lora_dropout=0.0, **lora), "ours")
    for name, weight in found.named_parameters():
        if weight.requires_grad:
            draw = np.random.default_rng(len(name)).normal(0, 0.3, weight.shape)
            weight.data += torch.from_numpy(draw).to(weight)
    return found


def layers_with_lora(found):
    names = {name.removeprefix("base_model.model.model.decoder.") for name, _ in found.named_parameters()}
    return {name.partition(".lora_A")[0] for name in names if ".lora_A" in name}


def without_gradient(found):
    found.zero_grad()
    found(TEXT).logits.square().sum().backward()
    trained = {name: weight.grad for name, weight in found.named_parameters() if weight.requires_grad}
    return {name for name, gradient in trained.items() if gradient is None or not gradient.any()}


def test_layers_whose_weight_is_read_are_met_but_not_called(model):
    met, called = (
        {path.removeprefix("model.decoder.more.") for path in modules(model)}
        for modules in (text_modules, called_modules)
    )
    read = {"reads.router.classifier", "calls.router.mixed.1", "reads.experts.1.router.classifier"}
    assert read <= met
    assert not read & called
    assert {"calls.router.classifier", "calls.router.mixed.0", "calls.experts.1.up", "reads.router"} <= called


def test_experts_that_a_short_text_leaves_out_count_like_those_that_it_calls(model):
    called = {path.removeprefix("model.decoder.more.reads.experts.") for path in called_modules(model)}
    for number in "012":
        assert {f"{number}.up", f"{number}.router", f"{number}.router.mixed.0"} <= called
        assert not {f"{number}.router.classifier", f"{number}.router.mixed.1"} & called


@pytest.mark.parametrize("lora", [{"target_modules": "all-linear"}, {"target_modules": "all-linear", "use_dora": True}])
def test_all_linear_is_all_that_are_called(model, lora, tmp_path, caplog):
    found = adapted(model, **lora)
    assert "classifier is never called, but its weight read" in " ".join(caplog.text.split())
    layers = layers_with_lora(found)
    assert "more.calls.router.classifier" in layers
    assert "more.reads.experts.2.up" in layers
    assert not [
        layer for layer in layers if re.search(r"reads\.router\.classifier|experts.*classifier|mixed\.1", layer)
    ]
    idle = without_gradient(found)
    assert all(re.search(r"experts\.[02]\.", name) for name in idle)
    with torch.no_grad():
        logits = found(TEXT).logits
        found.save_pretrained(tmp_path)
        torch.testing.assert_close(peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path)(TEXT).logits, logits)
        torch.testing.assert_close(found.merge_and_unload()(TEXT).logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("usual", [["q_proj", "classifier"], ["classifier", "fc1"]])
def test_the_default_leaves_out_what_is_not_called(model, usual, monkeypatch):
    from cllora.model import targets

    monkeypatch.setattr(targets, "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING", {"opt": usual})
    layers = layers_with_lora(adapted(model))
    assert [layer for layer in layers if "classifier" in layer] == ["more.calls.router.classifier"]
    assert len(layers) == 3


@pytest.mark.parametrize(
    "targets",
    [("q_proj", "classifier"), "classifier", "reads.router.classifier", r".*(classifier|q_proj)", ("router.mixed.1",)],
)
def test_what_is_not_called_is_refused_by_name(model, targets):
    with pytest.raises(UsageError, match=r"LoRA would do nothing on \S+ of 'ours', which is never called") as refusal:
        adapted(model, target_modules=targets)
    assert re.search(r"on model\.decoder\.more\.\S+(classifier|mixed\.1) ", str(refusal.value))
    assert "\n" not in str(refusal.value)


def test_a_name_is_taken_where_it_is_called(model):
    assert layers_with_lora(adapted(model, target_modules=("calls.router.classifier",))) == {
        "more.calls.router.classifier"
    }


@pytest.mark.parametrize("name", ["reads.router.classifier", "reads.router"])
def test_a_weight_that_is_read_can_be_trained_whole(model, name, tmp_path):
    """What PEFT puts in the layer's place gives its own weight to whoever reads it."""
    found = adapted(model, target_modules=("q_proj",), modules_to_save=(name,))
    assert without_gradient(found) == set()
    with torch.no_grad():
        logits, base = found(TEXT).logits, model(TEXT).logits
        assert (logits - base).abs().max() > 1e-2
        found.save_pretrained(tmp_path)
        torch.testing.assert_close(peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path)(TEXT).logits, logits)
        torch.testing.assert_close(found.merge_and_unload()(TEXT).logits, logits, rtol=1e-4, atol=1e-4)
