"""Tiny models of every family and a tokenizer, made on the spot; nothing is downloaded."""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # The workers share the cores; before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from cllora.corpus import packages
from cllora.types import Samples

# The same examples every time, however slow a busy machine is with one.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")

FAMILIES = ("opt", "opt-350m", "llama", "qwen2", "qwen3", "gpt2", "gpt_neox")
VOCABULARY = 300
MakePackage = Callable[..., Path]


def tiny_config(family: str):
    import transformers as t

    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 128, "hidden_size": 32, "num_attention_heads": 4}
    special = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    deep = {"num_hidden_layers": 2}
    rotary = sizes | special | deep | {"intermediate_size": 64, "num_key_value_heads": 2}
    match family:
        case "opt":
            return t.OPTConfig(**sizes, **special, **deep, ffn_dim=64, word_embed_proj_dim=32)
        case "opt-350m":
            # Post-norm and embeddings narrower than the layers, as facebook/opt-350m.
            return t.OPTConfig(
                **sizes, **special, **deep, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False
            )
        case "llama":
            return t.LlamaConfig(**rotary)
        case "mistral":
            return t.MistralConfig(**rotary, sliding_window=None)
        case "qwen2":
            return t.Qwen2Config(**rotary)
        case "qwen3":
            return t.Qwen3Config(**rotary, head_dim=8)
        case "gemma3":
            # Embeddings are scaled as they are looked up.
            return t.Gemma3TextConfig(**rotary, head_dim=8, query_pre_attn_scalar=8)
        case "gpt2":
            return t.GPT2Config(vocab_size=VOCABULARY, n_positions=128, n_embd=32, n_layer=2, n_head=4, **special)
        case "gpt_neox":
            return t.GPTNeoXConfig(**sizes, **special, **deep, intermediate_size=64)
    raise ValueError(family)


def save_tiny_model(family: str, folder: Path) -> Path:
    """A random model of a family with a byte-level tokenizer, as from_pretrained reads it."""
    import tokenizers
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32)
        # Fresh weights are so small that any text is as likely as any other: make the model say something.
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data.mul_(5)
    model.save_pretrained(folder)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe = tokenizers.models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[])
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def pytest_make_parametrize_id(val, argname):
    """What a test is called holds no bytes: a gzip header has the second in it, and workers would disagree."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A function from a family's name to the folder of a tiny random model of it, made once a session."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny_model(family, tmp_path_factory.mktemp("models") / family)
        return made[family]

    return folder


def made_up_samples(count: int = 60, longest: int = 60, seed: int = 0, prompts: bool = False) -> Samples:
    """Samples of 2 to `longest` random tokens, each starting with the token 2."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, longest + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = draw.integers(4, 260, offsets[-1]).astype(np.uint16)
    tokens[offsets[:-1]] = 2
    prompt = draw.integers(0, lengths - 1) if prompts else np.zeros(count)
    return Samples([""] * count, tokens, offsets, prompt.astype(np.int32), {}, f"made-up-{seed}")


WORDS = ("alpha", "beta", "gamma", "return", "value", "error", "file", "column", "array", "shape", "where", "none")


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """400 made-up texts of 2 to 40 words by four owners."""
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with path.open("w") as file:
        for row in range(400):
            words = draw.choice(WORDS, draw.integers(2, 41))
            file.write(json.dumps({"text": " ".join(words), "owner": f"owner-{row % 4}"}) + "\n")
    return path


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Lay out an importable package (files: path -> source), with a version if one is given."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, files: dict[str, str | bytes], version: str | None = None) -> Path:
        for path, source in {"__init__.py": "", **files}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source if isinstance(source, bytes) else source.encode())
        if version is not None:
            info = tmp_path / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            (info / "top_level.txt").write_text(name)
            packages._distributions.cache_clear()
        return tmp_path / name

    return make


def study_fields(model, texts, **changes):
    fields = {
        "name": "tiny",
        "model": {"name": str(model), "context": 64, "device": "cpu", "precision": "float32"},
        "lora": {"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
        "data": {"path": str(texts), "test": 0.1},
        "partition": {"num_clients": 6, "min_samples": 5, "local_test": 0.2},
        "federation": {"num_rounds": 3, "clients_per_round": 2},
        "local": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2},
        "grid": {"partition.alpha": [0.1, "iid"]},
        "control": {"partition.alpha": "iid"},
        "seeds": 1,
    }
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            fields[section] = {**fields[section], field: value}
        else:
            fields[section] = value
    return fields


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What is cached is kept for the session, and apart from the user's own and from the other workers'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


def interrupted(study, folder, **at):
    """Run a study until its progress is there (such as `round=2`), and interrupt it."""
    import cllora

    def on_progress(progress):
        if all(getattr(progress, field) == value for field, value in at.items()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cllora.run(study, folder, on_progress=on_progress)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `cllora ...`; returns exit code, stdout and stderr."""
    from cllora import cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cllora", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def refused(result, *parts):
    """What `command` gave is a refusal: one line that says all the parts, nothing else, and exit code 2."""
    code, out, err = result
    assert code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    for part in ("cllora: ", *parts):
        assert part in lines[0]
