"""The losses after a round: of the server's models, the clients' models after training, and those they finally use."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cllora.errors import UsageError
from cllora.federated.client import Look, check_finite
from cllora.federated.federation import GLOBAL, Federation, global_models, next_message
from cllora.metrics.losses import mean_losses
from cllora.types import ClientRecord, Ids, Losses, Model, Participant, Partition, Round, RoundRecord


def evaluated(
    federation: Federation, after: Round, participants: Sequence[Participant], last: bool
) -> tuple[Losses, ...]:
    """The blocks of the loss table after a round.

    The server's models on every test sample there is, each once; the chosen clients' own on their own test and, unless
    `evaluation.local_models` is `own`, on the global one; after the last round also every personal model on its
    owner's test.

    Raises:
        UsageError: a loss is not finite.
    """
    partition, evaluate = federation.partition, federation.learner.evaluate
    blocks = _of_server(federation, after)
    asked = federation.experiment.evaluation.local_models
    for part in participants if asked else ():
        client = part.update.client
        global_test = partition.global_test[:0] if asked == "own" else partition.global_test
        ids = np.unique(np.concatenate([global_test, partition.test(client)]))
        blocks.append(evaluate(f"local/{client}", part.local, ids))
    if last:
        blocks += _personal(federation, after, blocks)
    for block in blocks:
        subject = f"round {after.number}, model {block.model}:"
        check_finite(subject, {"losses": block.nll.astype(np.float32)}, "lower the rates")
    return tuple(blocks)


def _of_server(federation: Federation, after: Round) -> list[Losses]:
    """`global` first. In round 0 that is the adapter that training starts at, whatever the strategy makes of it."""
    partition, evaluate = federation.partition, federation.learner.evaluate
    everyone = np.unique(np.concatenate([partition.global_test, partition.test_ids]))
    models = dict(global_models(federation.strategy, after.state))
    if after.number == 0:
        models[GLOBAL] = Model(federation.learner.initial(federation.experiment.chance))
    blocks = {name: evaluate(name, model, everyone) for name, model in models.items()}
    first = blocks.pop(GLOBAL) if GLOBAL in blocks else _mean(list(blocks.values()))
    return [first, *blocks.values()]


def _mean(blocks: Sequence[Losses]) -> Losses:
    """Each sample's mean loss over several models: what it has under one of them drawn at random."""
    return replace(blocks[0], model=GLOBAL, nll=np.mean([block.nll for block in blocks], axis=0))


def _personal(federation: Federation, after: Round, blocks: Sequence[Losses]) -> Iterator[Losses]:
    by_name = {block.model: block for block in blocks}
    for client in range(federation.partition.num_clients):
        name, own = f"personal/{client}", federation.partition.test(client)
        model = personal_model(federation, after, client)
        if isinstance(model, str):
            yield _part(by_name[model], name, own)
        elif model is not None:
            yield federation.learner.evaluate(name, model, own)


def _part(block: Losses, name: str, ids: Ids) -> Losses:
    """The losses of some samples of a block, whose samples are sorted, under another name."""
    places = np.searchsorted(block.sample, ids)
    return Losses(name, ids, block.nll[places], block.tokens[places])


def personal_model(federation: Federation, after: Round, client: int) -> Model | str | None:
    """The model that a client finally uses: its own, the name of one of the server's, or None for the global one."""
    strategy, partition = federation.strategy, federation.partition
    memory = after.memories.get(client, {})
    look = Look(federation.learner, partition.train(client), partition.context(client))
    personal = strategy.personal(next_message(federation, after, client), memory, look)
    if isinstance(personal, str) and personal not in (models := global_models(strategy, after.state)):
        raise UsageError(f"the strategy's personal model '{personal}' is none of {', '.join(models)}")
    return personal


def with_losses(record: RoundRecord, losses: Sequence[Losses], partition: Partition) -> RoundRecord:
    """A round's record with the mean losses of its loss table."""
    blocks = {block.model: block for block in losses}
    several = [name for name in blocks if name.startswith(f"{GLOBAL}/")]
    per_token, per_sample = mean_losses(blocks[GLOBAL], partition.global_test)
    return replace(
        record,
        clients=tuple(_with_local_loss(client, blocks, partition) for client in record.clients),
        global_loss=per_token,
        global_loss_per_sample=per_sample,
        global_losses={name: mean_losses(blocks[name], partition.global_test)[0] for name in several},
    )


def _with_local_loss(client: ClientRecord, losses: Mapping[str, Losses], partition: Partition) -> ClientRecord:
    """A client's record with the loss of its local model on its own test set, where there is one."""
    block = losses.get(f"local/{client.client}")
    loss = math.nan if block is None else mean_losses(block, partition.test(client.client))[0]
    return client if math.isnan(loss) else replace(client, local_loss=loss)
