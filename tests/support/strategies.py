"""A federation without a network: strategies are played against an engine whose training ends where a test says."""

from collections.abc import Callable, Mapping

import numpy as np

from cllora.federated import Client, ClientTurn, Setting, Strategy, Turn, Updates, client_turns, strategies
from cllora.federated.old_names import made
from cllora.model.frozen import parts_of
from cllora.spec import LocalSpec
from cllora.types import Arrays, Job, Layout, Losses, Model, Task, Trained, Vector, model_of

R, M, N = 3, 6, 5
LAYOUT = Layout(
    (
        "layers.0.q_proj.lora_A.weight",
        "layers.0.q_proj.lora_B.weight",
        "layers.0.norm.weight",
        "layers.1.v_proj.lora_A.weight",
        "layers.1.v_proj.lora_B.weight",
    ),
    ((R, N), (M, R), (4,), (R, M), (M, R)),
    {"layers.0.q_proj": 2.0, "layers.1.v_proj": 0.5},
)
CLIENTS = 4
End = Callable[[Job], Vector]
LossOf = Callable[[Model, int], float]


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def adapter(seed: int, layout: Layout = LAYOUT) -> Vector:
    """One whose every number is drawn."""
    return np.random.default_rng(seed).normal(size=layout.size).astype(np.float32)


def initial(layout: Layout = LAYOUT) -> Vector:
    """One as training starts at: B is zero."""
    values = adapter(99, layout)
    values[layout.part("B")] = 0
    return values


def flat_layout(size: int) -> Layout:
    """A layout without adapted matrices."""
    return Layout(("norm.weight",), ((size,),))


def setting(layout: Layout = LAYOUT, **changes: object) -> Setting:
    fields = {"num_clients": CLIENTS, "num_rounds": 3, "clients_per_round": 2, "seed": 7}
    return Setting(**{**fields, "layout": layout, "initial": initial(layout), **changes})


def strategy(name: str, setting_: Setting | None = None, **options: object) -> Strategy:
    return made(strategies.bind(name, options), setting_ or setting())


class Engine:
    """Training ends where `end` says, but for what the work does not train; a model's loss is what `loss` says.

    A client has as many samples as its ids, each of ten tokens; the ids begin at 1,000 times its number.
    """

    def __init__(self, layout: Layout, end: End, loss: LossOf = lambda model, client: 1.0) -> None:
        self.layout, self._end, self._loss = layout, end, loss
        self.calls: list[tuple[list[Job], LocalSpec]] = []

    def train(self, jobs: list[Job], local: LocalSpec, seed: int) -> list[Trained]:
        self.calls.append((jobs, local))
        return [self._trained(job) for job in jobs]

    def evaluate(self, name: str, model: Model | Vector, ids: np.ndarray, context: int | None = None) -> Losses:
        tokens = np.full(len(ids), 10)
        return Losses(name, ids, self._loss(model_of(model), int(ids[0]) // 1000) * tokens, tokens)

    def _trained(self, job: Job) -> Trained:
        begin, end = job.start.adapter, self._end(job)
        if job.work.trainable is not None:
            end = np.where(job.work.trainable, end, begin)
        gradient = begin - end if job.work.gradient else None
        return Trained(end, len(job.ids), 10 * len(job.ids), 2, 1.0, gradient)


def ends_at(ends: Mapping[int, Vector]) -> End:
    """Client k's training ends at ends[k], wherever it starts."""
    return lambda job: ends[int(job.name[2])]


def turns(
    s: Strategy,
    state: Arrays,
    memories: dict[int, Arrays],
    samples: Mapping[int, int],
    engine: Engine,
    number: int = 1,
) -> list[ClientTurn]:
    """The turns of some clients in a round; their memories are kept in `memories`."""
    chosen = tuple(sorted(samples))
    clients = [
        Client(
            Task(number, k, s.send(state, Turn(number, k, chosen))),
            np.arange(1000 * k, 1000 * k + samples[k]),
            memories.get(k, {}),
        )
        for k in chosen
    ]
    done = client_turns(s, engine, LocalSpec(), 0, clients)
    memories.update({turn.part.update.client: turn.memory for turn in done})
    return done


def play(
    s: Strategy,
    state: Arrays,
    memories: dict[int, Arrays],
    ends: Mapping[int, Vector],
    samples: Mapping[int, int] | None = None,
    layout: Layout = LAYOUT,
    number: int = 1,
) -> Arrays:
    """The state after a round in which client k's training ends at ends[k]."""
    counts = {k: (samples or {}).get(k, 10) for k in ends}
    done = turns(s, state, memories, counts, Engine(layout, ends_at(ends)), number)
    return s.aggregate(state, Updates([turn.part.update for turn in done], s.needs))


def function_of(model: Model, layout: Layout = LAYOUT) -> dict[str, np.ndarray]:
    """What a model is as a function: all that is added to each matrix, and what is trained beside LoRA."""
    added = dict(layout.delta(model.adapter))
    for matrix in layout.matrices:
        dense, factors = parts_of(model.frozen, matrix)
        if dense is not None:
            added[matrix.name] = added[matrix.name] + dense
        if factors is not None:
            added[matrix.name] = added[matrix.name] + factors[1].astype(np.float64) @ factors[0].astype(np.float64)
    return {**added, "rest": model.adapter[layout.part("rest")]}


def assert_same_function(one: Model, other: Model, layout: Layout = LAYOUT, **tolerance: float) -> None:
    first, second = function_of(one, layout), function_of(other, layout)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], **{"rtol": 1e-5, "atol": 1e-5, **tolerance})
