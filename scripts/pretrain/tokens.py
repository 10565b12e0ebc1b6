"""The byte-level BPE tokenizer, with OPT's special tokens at OPT's ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
START = "</s>"  # OPT starts every text with the token that ends one
SPECIAL_TOKENS = ["<s>", "<pad>", START, "<unk>"]
START_ID = SPECIAL_TOKENS.index(START)
PAD_ID = SPECIAL_TOKENS.index("<pad>")
CONTEXT = 2048


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Learn the merges from texts. Any text survives encoding and decoding, since every byte is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, START_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=START,
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[np.ndarray]:
    """Return each text's token ids (uint16), its leading start token included."""
    backend, ids = tokenizer.backend_tokenizer, []
    for start in tqdm(range(0, len(texts), 1000), desc="tokenize", unit="thousand"):
        ids += [np.array(coded.ids, dtype=np.uint16) for coded in backend.encode_batch(texts[start : start + 1000])]
    return ids
