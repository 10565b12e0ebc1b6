"""Clients with contexts of their own (`local.contexts`), as owners with different memory would have."""

from collections.abc import Mapping, Sequence

from cllora.corpus import owner_text
from cllora.errors import UsageError
from cllora.registry import guess
from cllora.types import Partition, Samples


def contexts_of_clients(
    asked: Sequence[int] | Mapping[str, int], num_clients: int, names: Sequence[str] | None, longest: int
) -> tuple[int, ...]:
    """Every client's context in training, in tokens. Shape (K,).

    Args:
        asked: as `LocalSpec.contexts`: client k has entry k modulo their number; or the context of each owner by name.
        names: the clients', where they have any.
        longest: the context of owners for whom none is given.

    Raises:
        UsageError: a name is no client's, or clients have no names.
    """
    if not isinstance(asked, Mapping):
        return tuple(asked[client % len(asked)] for client in range(num_clients))
    if not names:
        raise UsageError("local.contexts: clients have no names under this partition.scheme; give a list of contexts")
    written = {name: owner_text(name, "local.contexts") for name in asked}
    for name, owner in written.items():
        if owner not in names:
            raise UsageError(f"local.contexts: no client is called '{name}'; {guess(name, names)}")
        if list(written.values()).count(owner) > 1:
            raise UsageError(f"local.contexts: the client '{owner}' is given twice")
    contexts = {owner: asked[name] for name, owner in written.items()}
    return tuple(contexts.get(name, longest) for name in names)


def tokens_in_contexts(partition: Partition, samples: Samples) -> tuple[int, ...]:
    """The tokens that each client sees, within its own context, of the texts that it trains on. Shape (K,).

    Raises:
        UsageError: a client sees nothing that it could learn from.
    """
    assert partition.contexts is not None
    seen = []
    for client, context in enumerate(partition.contexts):
        ids = partition.train(client)
        if samples.predicted(ids, context).sum() == 0:
            raise UsageError(
                f"local.contexts: within {context} tokens no text of client {client} has a token left to predict; "
                "raise it"
            )
        seen.append(int(samples.seen(ids, context).sum()))
    return tuple(seen)
