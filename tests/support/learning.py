"""Learners on tiny models, and stock losses to hold them to."""

import numpy as np
import torch

from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from support.samples import made_up_samples

CONTEXT = 40


LOCAL = LocalSpec(epochs=2, batch_size=7, learning_rate=5e-3)


def learner_of(folder, samples=None, dropout=0.0, precision="float32", targets=None):
    model = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device="cpu")
    base = load_base(model, LoraSpec(lora_dropout=dropout, target_modules=targets))
    return Learner(base, samples or made_up_samples(), CONTEXT)


def random_adapter(learner, seed=1):
    return np.random.default_rng(seed).normal(0, 0.1, learner.layout.size).astype(np.float32)


def stock_losses(model, learner, ids):
    """What a model of transformers' or PEFT's own says of a learner's texts, each by itself."""
    found = []
    with torch.no_grad():
        for i in ids:
            text = torch.from_numpy(learner.samples.tokens_of(int(i), learner.context))[None]
            found.append(float(model(input_ids=text, labels=text).loss) * (text.shape[1] - 1))
    return found
