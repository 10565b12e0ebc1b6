"""The text that is trained is the text: ten kinds of tokenizers, with answers, ends, and special tokens in a text."""

import json

import numpy as np
import pytest
import tokenizers as tk
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from cllora.corpus import load_samples
from cllora.errors import UsageError
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import DataSpec

TRAINED_ON = [
    "Question: how many? Answer: 18 and 19, or so.",
    "Answer: eighteen words of text\nin two lines",
    "def f(x):\n    return x  # ok",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>"]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
LOSSY = {"wordpiece", "nfkc"}
"""Tokenizers that change what they are given."""


def template(single):
    return processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])


def with_bytes():
    return [*SPECIAL, *(f"<0x{i:02X}>" for i in range(256))]


def metaspace(prepend):
    made = tk.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if prepend == "normaliser":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=prepend, split=False)
    made.train_from_iterator(TRAINED_ON, trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL))
    parts = json.loads(made.to_str())
    vocab = parts["model"]["vocab"]
    parts["model"]["vocab"] = {**vocab, **{word: len(vocab) + i for i, word in enumerate(with_bytes()[3:])}}
    made = tk.Tokenizer.from_str(json.dumps(parts))
    strip = [] if prepend == "never" else [decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    made.post_processor = template("<s> $A")
    return made


def unigram():
    scored = [(word, 0.0) for word in with_bytes()]
    words = sorted(
        {piece for text in TRAINED_ON for word in text.split() for piece in (f"▁{word}", *word)} | {"▁", "<"}
    )
    scored += [(word, -float(3 + len(word) % 5)) for word in words if word not in SPECIAL]
    made = tk.Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    made.post_processor = template("<s> $A </s>")
    return made


def byte_level(pattern=None, prefix=False, normaliser=None, ends="$A", trim=True):
    made = tk.Tokenizer(models.BPE())
    split = [pre_tokenizers.Split(tk.Regex(pattern), "isolated")] if pattern else []
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern is None)
    made.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TRAINED_ON, trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    if normaliser is not None:
        made.normalizer = normaliser
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=trim), template(ends)])
    return made


def wordpiece():
    made = tk.Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TRAINED_ON, trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL))
    made.decoder = decoders.WordPiece()
    made.post_processor = template("<s> $A </s>")
    return made


def words():
    made = tk.Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(tk.Regex(r"\s"), "isolated")
    many = {word for text in [*TRAINED_ON, *TEXTS] for word in text.replace("\n", " ").split(" ")}
    made.train_from_iterator([[*many, " ", "\n", *"0123456789"]], trainers.WordLevelTrainer(special_tokens=SPECIAL))
    made.decoder = decoders.Fuse()
    return made


TOKENIZERS = {
    "llama2": lambda: metaspace("normaliser"),
    "mistral": lambda: metaspace("first"),
    "metaspace-never": lambda: metaspace("never"),
    "unigram": unigram,
    "gpt2": byte_level,
    "llama3": lambda: byte_level(LLAMA3, ends="<s> $A"),
    "qwen": lambda: byte_level(QWEN, normaliser=normalizers.NFC()),
    "prefix-space": lambda: byte_level(prefix=True),
    "both-ends": lambda: byte_level(ends="<s> $A </s>", trim=False),
    "nfkc": lambda: byte_level(normaliser=normalizers.NFKC()),
    "wordpiece": wordpiece,
}

TEXTS = ["Answer:18", "Answer: 18", " two  spaces ", "tab\tand\nline\n", "naïve 𝄞 ﬁne", "def f(x):\n    return x"]
PAIRS = [
    ("Answer:", "18"),
    ("Answer: ", "18"),
    ("x\n", " y"),
    ("eight", "een"),
    ("Question:", " how\n\n"),
    ("𝄞", "é 𝄞"),
]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A function from a tokenizer's name to it, saved and loaded again."""
    made = {}

    def get(name, eos="</s>", make=None):
        if (name, eos) not in made:
            folder = tmp_path_factory.mktemp("tokenizers")
            tokenizer = (make or TOKENIZERS[name])()
            transformers.PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos, unk_token="<unk>"
            ).save_pretrained(folder)
            made[name, eos] = ModelTokenizer(str(folder)), transformers.AutoTokenizer.from_pretrained(folder)
        return made[name, eos]

    return get


def samples_of(tmp_path, tokenizer, rows, **fields):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_samples(DataSpec(path=str(file), **fields), tokenizer, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_what_is_decoded_is_what_was_given(name, load, tmp_path):
    tokenizer, stock = load(name)
    samples = samples_of(tmp_path, tokenizer, [{"text": text} for text in TEXTS])
    for i, text in enumerate(TEXTS):
        ids = samples.tokens_of(i, 999).tolist()
        assert ids == stock(text)["input_ids"]
        said = stock.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if name not in LOSSY:
            own = [text.removeprefix(" ")] if name in ("mistral", "unigram") else []
            assert said in (text, f" {text}", *own), name  # a space before the text is the tokenizer's own


@pytest.mark.parametrize("name", TOKENIZERS)
def test_prompt_and_answer_are_encoded_as_one(name, load, tmp_path):
    """The ids are those of the whole; the border is where the first token ends that has a part of the answer."""
    tokenizer, stock = load(name)
    rows = [{"q": prompt, "a": answer} for prompt, answer in PAIRS]
    samples = samples_of(tmp_path, tokenizer, rows, text="q", answer="a", loss_on="answer")
    for i, (prompt, answer) in enumerate(PAIRS):
        ids = samples.tokens_of(i, 999).tolist()
        whole = stock(prompt + answer)["input_ids"]
        assert ids == (whole if whole[-1] == 2 else [*whole, 2]), "it ends with one </s>"
        border = int(samples.prompts[i])
        before = stock.decode(ids[:border], skip_special_tokens=True, clean_up_tokenization_spaces=False).lstrip()
        after = stock.decode(ids[border:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if name not in LOSSY:
            assert prompt.lstrip().startswith(before), "nothing of the answer is before the border"
            longer = stock.decode(ids[: border + 1], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert not prompt.startswith(longer.lstrip()) or not longer.strip() or "�" in longer, "nor is it too early"
            assert (prompt + answer).endswith(after.lstrip())
            whole = stock.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert whole.lstrip() == prompt + answer


def test_a_number_that_follows_directly_has_no_space_before_it(load, tmp_path):
    """The example: encoded apart, a Llama-2-like tokenizer makes "Answer: 18" of it."""
    tokenizer, stock = load("llama2")
    samples = samples_of(tmp_path, tokenizer, [{"q": "Answer:", "a": "18"}], text="q", answer="a", loss_on="answer")
    assert stock.decode(samples.tokens_of(0, 99)) == "<s> Answer:18</s>"
    assert stock.decode(samples.tokens_of(0, 99)[samples.prompts[0] :]) == "18</s>"
    assert samples.predicted(np.array([0]), 99).tolist() == [2]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_in_a_text_stay_text(name, load, tmp_path):
    tokenizer, stock = load(name)
    texts = ["<s> and </s>", "</s>", "x</s>y <unk> z"]
    samples = samples_of(tmp_path, tokenizer, [{"text": text} for text in texts])
    for i, text in enumerate(texts):
        ids = samples.tokens_of(i, 999).tolist()
        plain = stock("Answer")["input_ids"]
        begins, ends = plain[0] == 1, plain[-1] == 2
        inner = ids[begins : len(ids) - ends]
        assert not {1, 2} & set(inner)
        if name not in LOSSY:
            assert stock.decode(inner, clean_up_tokenization_spaces=False).strip() == text


def test_special_tokens_that_are_words_of_the_vocabulary_stay_text(load, tmp_path):
    """A vocabulary of words has </s> as one, whatever transformers is told about splitting it."""
    tokenizer, _ = load("words", make=words)
    samples = samples_of(tmp_path, tokenizer, [{"text": "Answer: </s> 18"}])
    ids = samples.tokens_of(0, 99).tolist()
    assert 2 not in ids
    assert ids[0] == tokenizer.encode(["Answer: 18"])[0][0]


@pytest.mark.parametrize(
    ("end", "answered", "alone"), [(None, True, False), ("all", True, True), ("none", False, False)]
)
def test_what_ends(end, answered, alone, load, tmp_path):
    tokenizer, _ = load("gpt2")
    fields = {} if end is None else {"end": end}
    with_answer = samples_of(tmp_path, tokenizer, [{"text": "Q:", "a": "18"}], answer="a", **fields)
    text = samples_of(tmp_path, tokenizer, [{"text": "Q:", "a": "18"}], **fields)
    assert (with_answer.tokens[-1] == 2, text.tokens[-1] == 2) == (answered, alone)
    twice, _ = load("both-ends")
    ended = samples_of(tmp_path, twice, [{"text": "Q:", "a": "18"}], answer="a", **fields)
    own = twice.encode(["Q:18"])[0]
    assert own[-1] == 2
    assert ended.tokens.tolist() == (own[:-1] if end == "none" else own), "one that ends texts itself ends them once"
    alone = samples_of(tmp_path, twice, [{"text": "Q:"}], **fields)
    assert alone.tokens.tolist() == (own[:3] if end == "none" else [*own[:3], 2])
    assert ["ends every text itself" in note for note in alone.notes] == [True] * (end is None)


def test_a_tokenizer_without_an_end(load, tmp_path):
    tokenizer, _ = load("gpt2", eos=None)
    samples = samples_of(tmp_path, tokenizer, [{"text": "Q:", "a": "18"}], answer="a")
    assert samples.tokens.tolist() == tokenizer.encode(["Q:18"])[0]
    assert samples.notes == ("the model's tokenizer has no end-of-text token, so answers do not end with one",)
    again = samples_of(tmp_path, tokenizer, [{"text": "Q:", "a": "18"}], answer="a")
    assert again.notes == samples.notes, "it is said again when the samples come from the cache"
    with pytest.raises(UsageError, match=r"data\.end: the model's tokenizer has no end-of-text token"):
        samples_of(tmp_path, tokenizer, [{"text": "Q:"}], end="all")


def test_a_slow_tokenizer(tmp_path):
    """ByT5's, in Python: a byte a token, from 3 on, and </s> (1) at the end of every text."""
    transformers.ByT5Tokenizer().save_pretrained(tmp_path / "slow")
    tokenizer = ModelTokenizer(str(tmp_path / "slow"))
    samples = samples_of(tmp_path, tokenizer, [{"q": "A: ", "a": "18</s>"}], text="q", answer="a", loss_on="answer")
    assert samples.tokens.tolist() == [*(3 + byte for byte in b"A: 18</s>"), 1]
    assert samples.prompts.tolist() == [3]


def test_the_embedded_tokenizer_gives_the_ids_that_it_gave(tmp_path):
    tokenizer = ModelTokenizer("embedded")
    assert tokenizer.encode(["Return the mean.\n\n  x : array"]) == [[2, 426, 272, 1128, 17, 2344, 732, 306, 532]]
