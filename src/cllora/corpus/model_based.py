"""Features that ask the frozen base: how much a text surprises it, and how much its beginning helps."""

from typing import Annotated

import numpy as np
from pydantic import Field

from cllora.corpus.feature import TextRows, features
from cllora.types import Array


@features.register()
def perplexity(rows: TextRows) -> Array:
    """The frozen base's loss on a text as it sees it, in nats per predicted token: the logarithm of its perplexity.

    Short texts are high, since the first tokens of a text are the hardest. Low is not always good.
    """
    return rows.nll() / np.maximum(1, rows.samples.predicted(rows.ids, rows.context))


@features.register()
def prefix_ifd(rows: TextRows, *, prefix: Annotated[int, Field(ge=2)] = 16) -> Array:
    """Prefix-IFD: the frozen base's loss on a text after its beginning, over that without it; high is little help.

    The instruction-following difficulty of Li et al. 2024 (arXiv:2308.12032) for texts without an instruction: the
    first `prefix` tokens stand for it, of short texts half of the tokens seen. With `data.loss_on: answer` it is the
    prompt itself. Both losses are of the same tokens. 1: no help; low: the rest follows from the beginning. 1 as well
    where there is no rest, or no beginning but the text's very first token (for most tokenizers one that starts any).
    """
    seen = rows.samples.seen(rows.ids, rows.context)
    prompts = rows.samples.prompts[rows.ids].astype(np.int64)
    given = np.where(prompts > 0, prompts, np.minimum(prefix, seen // 2))
    scored = (given > 1) & (given < seen)
    given = np.where(scored, given, seen)  # nothing is predicted, and so nothing computed
    given_prefix, alone = rows.nll(given), rows.nll(given, hidden=True)
    return np.divide(given_prefix, alone, out=np.ones(len(seen)), where=scored & (alone > 0))
