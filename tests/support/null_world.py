"""A world in which nothing differs: real losses of texts under one base and one trained model, whoever holds the texts.

`null_losses.csv` is of docstrings under `embedded-64`, before and after 8 rounds on even clients: characters, tokens
(predicted), base and trained (nats, summed over the text). It was made by `python -m tests.support.null_world FOLDER`.
"""

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cllora
from cllora.metrics import RunRecord, tables
from cllora.partition.assign import assign
from cllora.spec import Experiment, Study
from cllora.types import Samples

FILE = Path(__file__).parents[1] / "data" / "null_losses.csv"
SKEWS = {
    "length": {"scheme": "client_mix", "by": "length"},
    "classes": {"scheme": "class_split", "by": "length"},
    "quantity": {"scheme": "quantity", "by": "length"},
}
ROUNDS = 4
FIELDS: dict[str, Any] = {
    "model": {"name": "embedded-64", "context": 128},
    "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0, "target_modules": ["q_proj", "v_proj"]},
    "data": {"corpus": {"name": "docstrings", "per_package": 100}},
    "federation": {"num_rounds": 8, "clients_per_round": 2},
    "local": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
}


@lru_cache(maxsize=1)
def texts() -> pd.DataFrame:
    """The texts: characters, tokens, base, trained."""
    return pd.read_csv(FILE)


@lru_cache(maxsize=1)
def samples() -> Samples:
    """The texts as samples of as many characters and tokens, whatever is in them."""
    lengths = texts()["tokens"].to_numpy() + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    words = ["x" * int(n) for n in texts()["characters"]]
    return Samples(words, np.full(offsets[-1], 5, np.uint16), offsets, np.zeros(len(words), np.int32), {}, "null world")


def experiment(seed: int, **partition: object) -> Experiment:
    return Experiment.parse({**FIELDS, "partition": {"num_clients": 20, **partition}, "seed": seed})


def run(seed: int, **partition: object) -> RunRecord:
    """A run in which the base is replaced by the trained model at once, and every client's own adapter is that too."""
    asked = experiment(seed, **partition)
    dealt = assign(asked, samples())
    draw = np.random.default_rng(seed)
    rows = [_block(0, "global", "base", np.arange(len(texts())))]
    for number in range(1, ROUNDS + 1):
        rows.append(_block(number, "global", "trained", np.arange(len(texts()))))
        for client in draw.choice(dealt.num_clients, 2, replace=False):
            ids = np.unique(np.concatenate([dealt.global_test, dealt.test(int(client))]))
            rows.append(_block(number, f"local/{client}", "trained", ids))
    rounds = [{"round": number, "clients": []} for number in range(ROUNDS + 1)]
    return RunRecord(Path(), asked, dealt, rounds, tables(pd.concat(rows, ignore_index=True), dealt))


def _block(number: int, model: str, column: str, ids: np.ndarray) -> pd.DataFrame:
    chosen = texts().iloc[ids]
    nll, tokens = chosen[column].to_numpy(), chosen["tokens"].to_numpy()
    return pd.DataFrame({"round": number, "model": model, "sample": ids, "nll": nll, "tokens": tokens})


def main(folder: Path) -> None:
    """Train on even clients, and write down what the global test texts lose before and after."""
    asked = {"data": {**FIELDS["data"], "test": 0.5}, "evaluation": {"local_models": False}}
    cllora.run(Study.parse({**FIELDS, **asked, "partition": {"scheme": "iid", "num_clients": 20}}), folder)
    (one,) = cllora.results(folder).members
    losses = one.losses[one.losses["sample"].isin(one.partition.global_test) & (one.losses["model"] == "global")]
    wide = losses.pivot(index="sample", columns="round", values="nll")
    from cllora.runs.study_cache import samples_of

    read = samples_of(one.experiment)
    table = pd.DataFrame(
        {
            "characters": [len(read.texts[i]) for i in wide.index],
            "tokens": losses.drop_duplicates("sample").set_index("sample")["tokens"].loc[wide.index],
            "base": wide[0],
            "trained": wide[one.last_round],
        }
    )
    table = table[table["tokens"] > 0].head(700)
    table.to_csv(FILE, index=False, float_format="%.4f")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
