"""Metrics of losses: of the global model, of clients' own adapters, and of how the loss went over the rounds."""

import math

from cllora.metrics import curves
from cllora.metrics.catalogue import LOG_RATIO, NATS, RATIO, ROUNDS, SCATTER, metrics
from cllora.metrics.formats import signed
from cllora.metrics.matched import local_difference
from cllora.metrics.record import RunRecord


@metrics.register(title="rounds", unit=ROUNDS, places=("table",))
def rounds(run: RunRecord) -> float:
    """The last round that was evaluated."""
    return run.last_round


@metrics.register(title="base loss", unit=NATS, places=())
def base_loss(run: RunRecord) -> float:
    """The loss of the untrained base on the global test set, in nats per token."""
    first = run.tables.curve.iloc[0]
    return float(first["loss"]) if first["round"] == 0 else math.nan


@metrics.register(title="global loss late in training", unit=NATS, better="lower", short="late loss")
def late_loss(run: RunRecord) -> float:
    """The mean global loss over the evaluated rounds after half of the last one, in nats per token.

    With few clients a round the last round alone is the lottery of who came last.
    """
    return curves.late(run.tables.curve, "loss")


@metrics.register(
    title="global loss late in training, mean over texts",
    unit=NATS,
    better="lower",
    places=("forest",),
)
def late_loss_per_sample(run: RunRecord) -> float:
    """`late_loss` with every text counted once: the mean of the texts' own nats per token."""
    return curves.late(run.tables.curve, "loss_per_sample")


@metrics.register(title="final global loss", unit=NATS, better="lower", short="final loss", places=("table", "forest"))
def final_loss(run: RunRecord) -> float:
    """The loss of the global model on the global test set after the last round, in nats per token."""
    return float(run.tables.curve["loss"].iloc[-1])


@metrics.register(title="final global loss, mean over texts", unit=NATS, better="lower", places=())
def final_loss_per_sample(run: RunRecord) -> float:
    """The final global loss with every text counted once: the mean of the texts' own nats per token."""
    return float(run.tables.curve["loss_per_sample"].iloc[-1])


@metrics.register(
    title="change against base", unit=NATS, better="lower", short="− base", places=("table", "terminal"), format=signed
)
def change(run: RunRecord) -> float:
    """`late_loss` minus the base's loss, in nats per token: minus what training gained."""
    return late_loss(run) - base_loss(run)


@metrics.register(title="lowest global loss", unit=NATS, better="lower", places=())
def best_loss(run: RunRecord) -> float:
    """The lowest global loss of all evaluated rounds: the better, the more rounds there are to choose from."""
    return float(run.tables.curve["loss"].min())


@metrics.register(title="round of the lowest global loss", unit=ROUNDS, places=())
def best_round(run: RunRecord) -> float:
    """The first evaluated round with the lowest global loss."""
    curve = run.tables.curve
    return int(curve["round"].iloc[int(curve["loss"].argmin())])


@metrics.register(title="area under the global loss", unit=NATS, better="lower", places=("forest",))
def area(run: RunRecord) -> float:
    """The mean change of the global loss over the rounds, in nats per token; lower for a run that learns early."""
    return curves.area(run.tables.curve)


@metrics.register(title="rounds to the control's final loss", unit=ROUNDS, better="lower", places=("forest",))
def rounds_to_control(run: RunRecord, control: RunRecord) -> float:
    """The first evaluated round whose global loss is no higher than the control's final one.

    A run that never comes there is censored and counts its last round, the least that it can be. A control is compared
    with itself, so its own number may be below its last round. Means are thus of the time restricted to the rounds that
    were run, and differences of censored runs are bounds: read them with `reached_control`.
    """
    return curves.rounds_to(run.tables.curve, final_loss(control))[0]


@metrics.register(title="reached the control's final loss", unit=RATIO, better="higher", places=())
def reached_control(run: RunRecord, control: RunRecord) -> float:
    """Whether the global loss came down to the control's final one: 1 or 0."""
    return float(curves.rounds_to(run.tables.curve, final_loss(control))[1])


@metrics.register(
    title="oscillation of the global loss", unit=SCATTER, better="lower", short="oscillation", places=("forest",)
)
def oscillation(run: RunRecord) -> float:
    """The oscillation of the global loss from round to round, whatever its trend, in nats per token."""
    return curves.oscillation(run.tables.curve)


@metrics.register(
    title="oscillation over the control's, logarithm",
    unit=LOG_RATIO,
    better="lower",
    short="log oscillation",
    places=(),
)
def oscillation_ratio(run: RunRecord, control: RunRecord) -> float:
    """ln(oscillation / the control's): 0 where they are equal, 0.69 where it is twice as large."""
    both = [oscillation(record) for record in (run, control)]
    return math.log(both[0] / both[1]) if min(both) > 0 else math.nan


@metrics.register(title="forgetting, mean over classes", unit=NATS, better="lower", places=("forest",))
def forgetting(run: RunRecord) -> float:
    """The most that the global model forgot of a class of texts, mean over classes, in nats per token."""
    return float(run.forgetting["forgotten"].mean())


@metrics.register(title="forgetting, worst class", unit=NATS, better="lower", places=())
def forgetting_worst(run: RunRecord) -> float:
    """The most that the global model forgot of any class of texts, in nats per token."""
    return float(run.forgetting["forgotten"].max())


@metrics.register(title="forgetting at the end, mean over classes", unit=NATS, better="lower", places=())
def forgetting_at_end(run: RunRecord) -> float:
    """The forgetting of the global model after the last round, mean over classes of texts."""
    return float(run.forgetting["forgotten_at_end"].mean())


@metrics.register(title="local loss, own texts", unit=NATS, better="lower", places=("table",), texts="own")
def local_loss(run: RunRecord) -> float:
    """The loss of a client's own adapter after its last local training on its own test texts, mean over clients."""
    return float(run.last_gaps["own_local"].mean())


@metrics.register(
    title="local loss minus the base's, own test texts",
    unit=NATS,
    better="lower",
    places=(),
    format=signed,
    texts="own",
)
def local_change(run: RunRecord) -> float:
    """`local_loss` minus the untrained base's on the same texts, mean over clients."""
    return float(run.last_gaps["own_change"].mean())


@metrics.register(title="local minus global loss, own test texts", unit=NATS, places=(), format=signed, texts="own")
def own_gap(run: RunRecord) -> float:
    """`local_loss` minus the global model's of the same round on the same texts, mean over clients."""
    return float(run.last_gaps["own_gap"].mean())


@metrics.register(
    title="local loss minus the base's, texts like its own",
    unit=NATS,
    better="lower",
    short="local",
    places=("terminal", "forest"),
    format=signed,
)
def matched_change(run: RunRecord) -> float:
    """The loss of global test texts under adapters of clients that hold texts of their class, each after its last local
    training, minus the untrained base's; every token counted once."""
    return local_difference(run, "base")


@metrics.register(
    title="local loss minus the base's, texts like its own, mean over texts",
    unit=NATS,
    better="lower",
    places=(),
    format=signed,
)
def matched_change_per_sample(run: RunRecord) -> float:
    """`matched_change` with every text counted once."""
    return local_difference(run, "base", "text")


@metrics.register(
    title="what local training adds, texts like its own", unit=NATS, better="lower", places=(), format=signed
)
def matched_turn(run: RunRecord) -> float:
    """`matched_change` against the global model that the client was sent in place of the base: the last local training
    alone, without what the federation had learnt before. NaN if the round before was not evaluated."""
    return local_difference(run, "sent")


@metrics.register(title="local minus global loss, texts like its own", unit=NATS, places=("forest",), format=signed)
def matched_gap(run: RunRecord) -> float:
    """`matched_change` against the global model of the same round in place of the base: below zero, clients' own
    adapters serve their kind of texts better."""
    return local_difference(run, "global")


@metrics.register(title="local minus global loss, global test set", unit=NATS, places=(), format=signed)
def test_gap(run: RunRecord) -> float:
    """The gap of a client's own adapter to the global model on the global test set, mean over clients."""
    return float(run.last_gaps["test_gap"].mean())


@metrics.register(title="personal loss, own texts", unit=NATS, better="lower", places=(), texts="own")
def personal_loss(run: RunRecord) -> float:
    """The loss of every client's final adapter of its own on its own test texts, mean over clients."""
    return float(run.tables.personal["loss"].mean())


@metrics.register(title="barrier between two clients' adapters", unit=NATS, better="lower", places=())
def barrier(run: RunRecord) -> float:
    """The rise of the loss on the way between two clients' adapters of the last round, in nats per token."""
    surface = run.probe("loss_surface")
    return math.nan if surface is None else float(surface.loc[surface["kind"] == "line", "rise"].max(skipna=False))
