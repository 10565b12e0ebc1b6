"""Whether training made attention heads look more widely or more narrowly."""

import numpy as np
import pandas as pd

from cllora.model.engine import Evaluator
from cllora.probes.probe import Moment, probes


def change(table: pd.DataFrame) -> dict[str, float]:
    """The mean over heads of the share after training, and how much training changed it."""
    return {"after": float(table["after"].mean()), "change": float(table["change"].mean())}


@probes.register(when="end", title="attention entropy", summary=change)
def attention_entropy(model: Evaluator, moment: Moment) -> pd.DataFrame:
    """Entropy of every attention head, before and after training.

    A row per head: layer and head (from 1); before, after and change, as shares of the most that the visible tokens
    allow; nats_before and nats_after; and texts, how many were measured.
    """
    before, after = (model.head_entropies(adapter, moment.texts) for adapter in moment.before_and_after.values())
    layers, heads = before.share.shape
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(1, layers + 1), heads),
            "head": np.tile(np.arange(1, heads + 1), layers),
            "before": before.share.ravel(),
            "after": after.share.ravel(),
            "change": (after.share - before.share).ravel(),
            "nats_before": before.nats.ravel(),
            "nats_after": after.nats.ravel(),
            "texts": len(moment.texts),
        }
    )
