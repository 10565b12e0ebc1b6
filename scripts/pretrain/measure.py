"""Bits per byte of a model on documents, and of a general compressor on the same documents."""

from __future__ import annotations

import lzma
import math
from collections.abc import Sequence

import numpy as np
import torch
from tokens import START_ID
from tqdm import tqdm
from transformers import PreTrainedModel


@torch.inference_mode()
def nats(
    model: PreTrainedModel, documents: Sequence[np.ndarray], context: int | None = None, progress: bool = False
) -> tuple[float, int]:
    """Return the summed negative log-likelihood of token documents and the number of predicted tokens.

    A document's own tokens and the token that ends it are predicted, from its start token on. A document longer than
    the context (the model's, if none is given) is cut into windows that do not overlap; each starts with the start
    token in place of what came before.
    """
    total, predicted, context = 0.0, 0, context or model.config.max_position_embeddings
    for document in tqdm(documents, desc="measure", unit="document", disable=not progress):
        targets = np.append(document[1:], START_ID).astype(np.int64)
        for start in range(0, len(targets), context):
            window = torch.from_numpy(targets[start : start + context])
            inputs = torch.cat([torch.tensor([START_ID]), window[:-1]])
            logits = model(input_ids=inputs[None], use_cache=False).logits[0].float()
            total += torch.nn.functional.cross_entropy(logits, window, reduction="sum").item()
            predicted += len(window)
    return total, predicted


def figures(
    model: PreTrainedModel, texts: Sequence[str], documents: Sequence[np.ndarray], context: int | None = None
) -> dict[str, float]:
    """Return what the card says about one set of texts (and the same texts as tokens)."""
    size = sum(len(text.encode()) for text in texts)
    total, predicted = nats(model, documents, context, progress=True)
    return {
        "documents": len(texts),
        "bytes": size,
        "tokens": predicted,
        "bytes_per_token": size / predicted,
        "nats_per_token": total / predicted,
        "bits_per_byte": total / math.log(2) / size,
        "xz_bits_per_byte": 8 * len(lzma.compress("\0".join(texts).encode(), preset=9)) / size,
    }
