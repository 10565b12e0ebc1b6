"""Generation of text by a finished run's models: the base, the global model, and clients' own."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cllora.corpus.recipes import read_template
from cllora.errors import UsageError
from cllora.registry import load_plugins
from cllora.runs.again import base_again, samples_again
from cllora.spec import Experiment
from cllora.store import last_round, read_experiment, read_partition
from cllora.types import Model, Round

if TYPE_CHECKING:
    from cllora.federated import Federation
    from cllora.model.learner import Learner

OnWork = Callable[[str, int | None], None]
"""Called with what is being done, and how many tokens there are of it."""
ENDED = {"end": "ended by itself", "length": "cut off", "window": "cut off at the last position"}


@dataclass(frozen=True)
class Passage:
    """A passage that one model wrote. `model` is `base`, `global` or `client K`, and `how` says what that is.

    `stopped` is `end`, `length` or `window`, see `cllora.model.generation.Written`.
    """

    model: str
    how: str
    text: str
    tokens: int
    stopped: str

    def to_text(self) -> str:
        """The passage for a terminal: its model, the text, and how it ended. Control characters are not sent to it."""
        text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in self.text)
        count = f"{self.tokens:,} token{'s' * (self.tokens != 1)}"
        return f"[{self.model}: {self.how}]\n{text}\n({count}, {ENDED[self.stopped]})\n\n"


def client_numbers(written: str | None) -> list[int] | None:
    """Clients as they are written on the command line: `3`, `0,4`, or `none`; None if nothing is said.

    Raises:
        UsageError: something else is written.
    """
    if written is None:
        return None
    if written.strip().lower() == "none":
        return []
    try:
        return [int(part) for part in written.split(",")]
    except ValueError:
        raise UsageError(f"--client takes numbers, such as 3 or 0,4, or none; not '{written}'") from None


@dataclass(frozen=True)
class Asked:
    """A prompt, and how to go on from it.

    Greedy, unless a `temperature` is given: then draws go by `seed`, the same for every model. With `chat` the prompt
    is a user's turn; None: as it is in the texts that the run was trained on. Without `clients` the first of those
    chosen in the last round is taken.
    """

    prompt: str
    clients: Sequence[int] | None = None
    max_new_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    chat: bool | None = None

    def check(self) -> None:
        """Refuse values that cannot be."""
        if not self.prompt.strip():
            raise UsageError("the prompt is empty; write something for the models to go on from")
        if self.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens is {self.max_new_tokens}; give 1 or more")
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"--temperature is {self.temperature:g}; give 0 (the likeliest token each time) or more")


def generate(run: Path, asked: Asked, on_work: OnWork | None = None) -> Iterator[Passage]:
    """Yield the passages that the base, the global model and some clients' models of a finished run write after a
    prompt.

    A client's model is its personal adapter where the strategy has one. Else it is not kept in a run's folder, and is
    made: the client trains once more on its own texts, from the global model, as in the round that would follow.

    Raises:
        UsageError: `run` is no finished run, there is no such client, the texts or the base have changed since, or the
            prompt is empty or too long.
    """
    from cllora.federated import global_models
    from cllora.model.generation import Writer

    asked.check()
    experiment, last = _finished(run)
    clients = _clients(experiment, asked.clients)
    tell = on_work or (lambda _work, _tokens: None)
    tell("loading", None)
    federation, learner = federation_of(run, experiment)
    template = None if experiment.data.template is None else read_template(experiment.data.template)
    writer = Writer(learner, asked.prompt, chat=asked.chat, template=template)

    def written(model: str, adapter: Model, how: str) -> Passage:
        passage = writer.write(
            adapter,
            asked.max_new_tokens,
            temperature=asked.temperature,
            seed=asked.seed,
            on_token=lambda count: tell(model, count),
        )
        return Passage(model, how, passage.text, passage.tokens, passage.stopped)

    start = experiment.lora.start
    beginning = (
        ("base", "as training found it") if start is None else ("start", f"the adapter {start}, as training found it")
    )
    yield written(beginning[0], Model(learner.initial(experiment.chance)), beginning[1])
    for name, model in global_models(federation.strategy, last.state).items():
        yield written(name, model, f"after {last.number} round{'s' * (last.number != 1)}")
    for client in clients:
        tell(f"client {client}: training", None)
        yield written(f"client {client}", *_own(federation, last, client))


def _own(federation: "Federation", last: Round, client: int) -> tuple[Model, str]:
    """A client's model and what it is."""
    from cllora.federated import global_models, local_model, personal_model

    personal = personal_model(federation, last, client)
    if isinstance(personal, str):
        return global_models(federation.strategy, last.state)[personal], f"its choice, {personal}"
    if personal is not None and client in last.memories:
        return personal, "its personal adapter"
    texts = len(federation.partition.train(client))
    return local_model(federation, last, client), f"the global model trained once more on its {texts:,} texts"


def _finished(run: Path) -> tuple[Experiment, Round]:
    experiment, last = read_experiment(run), last_round(run)
    if last is None or last.number < experiment.federation.num_rounds:
        done = "no round" if last is None else f"{last.number}"
        raise UsageError(
            f"{run} is not finished ({done} of {experiment.federation.num_rounds} rounds); let `cllora run` finish it"
        )
    return experiment, last


def _clients(experiment: Experiment, clients: Sequence[int] | None) -> list[int]:
    from cllora.federated import chosen_clients

    if clients is None:
        return chosen_clients(experiment, experiment.federation.num_rounds)[:1]
    count = experiment.partition.num_clients
    for client in clients:
        if not 0 <= client < count:
            raise UsageError(f"there is no client {client}; this run's clients are 0 to {count - 1}")
    return list(dict.fromkeys(clients))


def federation_of(run: Path, experiment: Experiment) -> "tuple[Federation, Learner]":
    """The run's texts, partition, strategy and base again, held to be those that it ran with."""
    from cllora.federated import Federation, strategy_of
    from cllora.model.learner import Learner
    from cllora.runs.study_cache import attention_of

    load_plugins(experiment.load)
    samples, base = samples_again(run, experiment), base_again(run, experiment)
    trained, evaluated = attention_of(experiment)
    learner = Learner(base, samples, experiment.model.context, trained, evaluated)
    return Federation(experiment, read_partition(run), strategy_of(experiment, learner), learner), learner
