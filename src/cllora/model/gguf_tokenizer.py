"""The tokenizer that a GGUF file describes, built of the tokenizers library's own parts.

A GGUF file has a vocabulary, merges or scores, and the name of the rule by which text is cut first. The rules here are
those that its name stands for in llama.cpp; a name that is not among them is refused, since another rule would give
other tokens in silence.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from cllora.errors import UsageError
from cllora.model.gguf_fields import SPECIAL_IDS, shown
from cllora.model.libraries import Backend, Metadata, StockTokenizer

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Kinds of token, as `tokenizer.ggml.token_type` numbers them."""
SPACE = "\u2581"
PROBES = ("  two  spaces\n\n\tand a  tab ", "In 2024: 12,345.67 I'll DON'T", "e\u0301 \u00e9 \u4e2d\u6587 \U0001f642")
"""Texts on which rules of cutting differ: runs of space, digits, short forms, letters of several codes."""

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT_FORMS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
LLAMA3 = rf"{_SHORT_FORMS}{_WORDS}|\p{{N}}{{1,3}}{_REST}"
QWEN2 = rf"{_SHORT_FORMS}{_WORDS}|\p{{N}}{_REST}"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2_NAMES = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4")
DIGIT_NAMES = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
SPLITS = (
    dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "dbrx", "smaug-bpe"), LLAMA3)
    | dict.fromkeys(("qwen2", "deepseek-r1-qwen"), QWEN2)
    | {"tekken": TEKKEN}
)
WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "falcon3", "tekken")
"""The tokenizers for which a piece that is a token as a whole is taken whole, whatever the merges; and those whose
texts begin with the beginning-of-text token unless the file says otherwise."""


def build_tokenizer(file: Metadata, name: str) -> StockTokenizer:
    """A transformers tokenizer from a GGUF file's metadata by key.

    Raises:
        UsageError: the file has no tokenizer, or one of a kind or rule that is not known here.
    """
    kind, tokens = file.get("tokenizer.ggml.model"), file.get("tokenizer.ggml.tokens")
    if kind in (None, "none", "no_vocab") or not tokens:
        raise UsageError(f"{name} has no tokenizer in it, so no text can be read with it; choose a file with one")
    _check_tokens(file, name)
    if kind == "gpt2":
        backend, begins = _byte_level(file, name)
    elif kind == "llama":
        backend, begins = _sentencepiece(file, name), True
    else:
        raise UsageError(f"{name}: its tokenizer is of the kind '{shown(kind)}'; gpt2 and llama are read")
    kinds = _kinds(file)
    marked = {
        k: [token for token, kind_of_token in zip(tokens, kinds, strict=True) if kind_of_token == k]
        for k in (CONTROL, USER_DEFINED)
    }
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in marked[CONTROL]])
    backend.add_tokens([AddedToken(token, normalized=False, special=False) for token in marked[USER_DEFINED]])
    special = {f"{role}_token": _special(file, key) for role, key in _SPECIAL.items()}
    _frame(backend, file, special, begins)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        **{role: token for role, token in special.items() if token is not None},
    )
    if template := file.get("tokenizer.chat_template"):
        tokenizer.chat_template = template
    return tokenizer


def check_reread(tokenizer: StockTokenizer, folder: Path, name: str) -> None:
    """Hold a tokenizer that is saved beside its model to be read again as it was.

    For some families transformers takes the tokenizer's class from the model and not from what is saved.

    Raises:
        UsageError: what is read makes other tokens of a text, or another text of tokens.
    """
    again = transformers.AutoTokenizer.from_pretrained(folder)
    for text in (*PROBES, "".join(tokenizer.all_special_tokens) + " x"):
        ids = tokenizer(text)["input_ids"]
        if again(text)["input_ids"] != ids or again.decode(ids) != tokenizer.decode(ids):
            raise UsageError(
                f"{name}: transformers reads texts for a model of this family by another rule than its file has, "
                f"so that {text!r} is not what it was; choose another file"
            )


_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def _special(file: Metadata, key: str) -> str | None:
    """A special token as it is written; None where the file has none."""
    token = file.get(f"tokenizer.ggml.{key}_token_id")
    return None if token is None else str(file["tokenizer.ggml.tokens"][token])


def _kinds(file: Metadata) -> Sequence[int]:
    """The kind of every token: normal ones where the file does not say."""
    kinds: Sequence[int] = file.get("tokenizer.ggml.token_type", [NORMAL] * len(file["tokenizer.ggml.tokens"]))
    return kinds


def _check_tokens(file: Metadata, name: str) -> None:
    """Refuse lists about tokens that are not as long as the vocabulary, or name tokens outside of it.

    Raises:
        UsageError: it is not.
    """
    tokens = file["tokenizer.ggml.tokens"]
    vocabulary = set(tokens)
    if len(vocabulary) < len(tokens):
        raise UsageError(f"{name}: its tokenizer has {len(tokens) - len(vocabulary)} tokens twice; choose another file")
    for key in ("token_type", "scores"):
        per_token = file.get(f"tokenizer.ggml.{key}", tokens)
        if len(per_token) != len(tokens):
            raise UsageError(
                f"{name}: tokenizer.ggml.{key} is of {len(per_token)} tokens, but there are {len(tokens)}; "
                "choose another file"
            )
    for key in SPECIAL_IDS:
        token = file.get(f"tokenizer.ggml.{key}_token_id", 0)
        if token >= len(tokens):
            raise UsageError(
                f"{name}: tokenizer.ggml.{key}_token_id is {token}, but there are {len(tokens)} tokens; "
                "choose another file"
            )
    merges = file.get("tokenizer.ggml.merges", [])
    if len(set(merges)) < len(merges):
        raise UsageError(f"{name}: tokenizer.ggml.merges has a merge twice; choose another file")
    for merge in merges:
        if lacking := [token for token in (*merge.split(" "), merge.replace(" ", "")) if token not in vocabulary]:
            raise UsageError(
                f"{name}: tokenizer.ggml.merges has '{shown(merge)}', but '{shown(lacking[0])}' is no token; "
                "choose another file"
            )


def _frame(backend: Tokenizer, file: Metadata, special: Mapping[str, str | None], begins: bool) -> None:
    """Put the tokens of beginning and end around a text, where the file or its kind of tokenizer asks for them."""
    first = special["bos_token"] if file.get("tokenizer.ggml.add_bos_token", begins) else None
    last = special["eos_token"] if file.get("tokenizer.ggml.add_eos_token", False) else None
    special_tokens = [
        (token, backend.token_to_id(token)) for token in dict.fromkeys((first, last)) if token is not None
    ]
    if special_tokens:
        single = [first, "$A", last]
        pair = [first, "$A", last, first, "$B:1", last]
        backend.post_processor = processors.TemplateProcessing(
            single=[part for part in single if part],
            pair=[part for part in pair if part],
            special_tokens=special_tokens,
        )


def _byte_level(file: Metadata, name: str) -> tuple[Tokenizer, bool]:
    """Byte-level BPE, and whether its texts begin with a token of their own by default."""
    rule = file.get("tokenizer.ggml.pre")
    cut: Backend = pre_tokenizers.ByteLevel(add_prefix_space=bool(file.get("tokenizer.ggml.add_space_prefix", False)))
    if rule in SPLITS:
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLITS[rule]), behavior="isolated"), plain])
    elif rule in DIGIT_NAMES:
        cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cut])
    elif rule not in GPT2_NAMES:
        choices = ", ".join(sorted((*SPLITS, *DIGIT_NAMES, *GPT2_NAMES)))
        message = (
            "does not say by which rule its texts are cut"
            if rule is None
            else f"cuts its texts by the rule '{shown(rule)}'"
        )
        raise UsageError(f"{name} {message} (tokenizer.ggml.pre); known are {choices}")
    merges = file.get("tokenizer.ggml.merges")
    if not merges:
        raise UsageError(f"{name}: its tokenizer has no merges, so it is not whole; choose another file")
    backend = Tokenizer(
        models.BPE(
            vocab=_vocabulary(file),
            merges=[tuple(merge.split(" ")) for merge in merges],
            ignore_merges=rule in WHOLE_WORDS,
        )
    )
    if rule in ("qwen2", "deepseek-r1-qwen"):
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = cut
    backend.decoder = decoders.ByteLevel()
    return backend, rule in WHOLE_WORDS


def _sentencepiece(file: Metadata, name: str) -> Tokenizer:
    """SentencePiece's BPE as Llama 2 has it: spaces are a letter of their own, unknown characters are bytes."""
    vocabulary, prefix = _vocabulary(file), bool(file.get("tokenizer.ggml.add_space_prefix", True))
    scores = file.get("tokenizer.ggml.scores")
    if scores is None:
        raise UsageError(f"{name}: its tokenizer has no scores, so it is not whole; choose another file")
    unknown = _special(file, "unknown")
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(file, vocabulary, scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback="<0x0A>" in vocabulary,
        )
    )
    before = [normalizers.Prepend(SPACE)] if prefix else []
    backend.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return backend


def _merges(file: Metadata, vocabulary: Mapping[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every pair of tokens that is a token, likeliest first: what SentencePiece would join, in its order.

    Of the pairs that make one token that with the longest first part comes first, as in transformers' conversion.
    """
    tokens = file["tokenizer.ggml.tokens"]
    merges = [
        (-score, -cut, token[:cut], token[cut:])
        for token, score, kind in zip(tokens, scores, _kinds(file), strict=True)
        if kind == NORMAL
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(merges)]


def _vocabulary(file: Metadata) -> dict[str, int]:
    return {token: index for index, token in enumerate(file["tokenizer.ggml.tokens"])}
