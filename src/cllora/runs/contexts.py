"""Clients with contexts of their own, as owners with different memory would have."""

import dataclasses
from collections.abc import Mapping, Sequence

from cllora.corpus import owner_text
from cllora.errors import UsageError
from cllora.registry import guess
from cllora.spec import Experiment
from cllora.types import Partition, Samples


def with_contexts(experiment: Experiment, samples: Samples, dealt: Partition) -> Partition:
    """A partition that knows how much of a text each client sees in training; as it was without `local.contexts`.

    `realised["clients"]` gets `contexts` (K,), in tokens, and `tokens_in_context` (K,): what the client sees of the
    texts that it trains on.

    Raises:
        UsageError: a name is no client's, clients have no names, or a client sees nothing that it could learn from.
    """
    asked, clients = experiment.local.contexts, dealt.realised.get("clients", {})
    if asked is None:
        return dealt
    if isinstance(asked, Mapping):
        contexts = _by_name(asked, clients.get("names"), experiment.model.context)
    else:
        contexts = [asked[client % len(asked)] for client in range(dealt.num_clients)]
    seen = []
    for client, context in enumerate(contexts):
        ids = dealt.train(client)
        if samples.predicted(ids, context).sum() == 0:
            raise UsageError(
                f"local.contexts: within {context} tokens no text of client {client} has a token left to predict; "
                "raise it"
            )
        seen.append(int(samples.seen(ids, context).sum()))
    realised = {**clients, "contexts": contexts, "tokens_in_context": seen}
    return dataclasses.replace(dealt, realised={**dealt.realised, "clients": realised})


def _by_name(asked: Mapping[str, int], names: Sequence[str] | None, rest: int) -> list[int]:
    """The context of each name (K,), `rest` where there is none for it."""
    if not names:
        raise UsageError("local.contexts: clients have no names under this partition.scheme; give a list of contexts")
    written = {name: owner_text(name, "local.contexts") for name in asked}
    for name, owner in written.items():
        if owner not in names:
            raise UsageError(f"local.contexts: no client is called '{name}'; {guess(name, names)}")
        if list(written.values()).count(owner) > 1:
            raise UsageError(f"local.contexts: the client '{owner}' is given twice")
    contexts = {owner: asked[name] for name, owner in written.items()}
    return [contexts.get(name, rest) for name in names]
