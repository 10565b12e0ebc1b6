"""The cache of what a study's cells share, made once: texts, the base, and the base's own losses."""

import gc
import hashlib
import logging
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cllora.corpus import load_samples
from cllora.corpus.samples import dropped_line
from cllora.errors import UsageError
from cllora.model.patterns import Pattern, pattern_of
from cllora.runs.pins import Pins
from cllora.spec import Experiment
from cllora.types import OnRead, Samples

if TYPE_CHECKING:
    from cllora.model.activations import OpenStore
    from cllora.model.engine import Engine
    from cllora.model.learner import Learner
    from cllora.runs.engines.pool import Pool

log = logging.getLogger("cllora")

ACTIVATIONS = "activations"
"""The folder of the files of activations, in a study's."""


class StudyCache:
    """Keeps the last samples and the last base, which neighbouring cells share, and why others could not be had.

    Each file of activations has at most `most_activations` bytes; with 0 there is none. As many as `together` of the
    cells are computed together. Where there is a `pool`, its workers train and evaluate.
    """

    def __init__(self, folder: Path, on_corpus: OnRead | None, most_activations: int = 0, together: int = 1) -> None:
        self.together = together
        self._folder = folder
        self.most_activations = most_activations
        self.pool: Pool | None = None
        self._pins = Pins(folder / "pins.json")
        self._on_corpus = on_corpus
        self._samples: tuple[str, Samples] | None = None
        self._engine: tuple[str, Learner, Engine] | None = None
        self._memos: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)  # by base
        self._refused: dict[str, str] = {}

    def samples(self, experiment: Experiment) -> Samples:
        """The experiment's texts, held against those that the study began with."""
        key, _ = shared_parts(experiment)
        if self._samples is None or self._samples[0] != key:
            self._samples = None
            with self._tried_once(key):
                samples = samples_of(experiment, self._on_corpus)
                self._pins.hold_texts(experiment, samples)
            self._samples = (key, samples)
        return self._samples[1]

    def engine(self, experiment: Experiment, samples: Samples) -> "Engine":
        """The engine on the experiment's base, of which nothing is measured twice."""
        from cllora.model.fingerprint import computed_by, fingerprint_of_arrays
        from cllora.model.learner import Learner
        from cllora.model.load import load_base
        from cllora.runs.cached import Cached, LossFile
        from cllora.runs.spread import Spread

        key = f"{shared_parts(experiment)[1]} {samples.fingerprint}"
        if self._engine is None or self._engine[0] != key:
            self._engine = None
            gc.collect()  # The base before this one refers to itself.
            with self._tried_once(key):
                settled = self._pins.settled(experiment.model)
                base = load_base(settled, experiment.lora)
                self._pins.hold_base(settled, base.fingerprint)
                start = "" if base.start is None else fingerprint_of_arrays(base.start)
                if experiment.lora.start is not None:
                    self._pins.hold_start(experiment.lora.start, start)
                # The base's losses depend on the pattern of evaluation, and on nothing that is of training alone.
                own_model = settled.model_dump_json(exclude={"attention", "checkpointing"})
                evaluated = experiment.evaluation.pattern.model_dump_json()
                measured = f"{samples.fingerprint} {computed_by(base.device)}"
                own = _short_hash(f"{own_model} {evaluated} {base.fingerprint} {start} {measured}")
                attention = attention_of(experiment)
                learner = Learner(base, samples, settled.context, *attention, several_cells=self.together > 1)
                losses = LossFile(self._folder / f"base-{own}.npy", samples)
                if self.most_activations:
                    identity = f"{own_model} {base.fingerprint} {measured}"
                    learner.keep_activations(partial(self._open_store, identity, experiment))
            engine = learner if self.pool is None else Spread(learner, experiment, self.pool)
            self._engine = (key, learner, Cached(engine, losses, self._memos[own]))
        return self._engine[2]

    def learner(self, experiment: Experiment, samples: Samples) -> "Learner":
        """The learner within the engine, which keeps nothing of what it measures."""
        self.engine(experiment, samples)
        assert self._engine is not None
        return self._engine[1]

    def _open_store(self, identity: str, experiment: Experiment, use: str, below: int) -> "OpenStore":
        """The file of activations under the pattern of a use, above so many lower layers of a base."""
        from cllora.runs.activation_file import ActivationFile

        pattern = {"training": experiment.model.attention, "evaluation": experiment.evaluation.pattern}[use]
        name = _short_hash(f"{identity} {pattern.model_dump_json()} {below}")
        return partial(ActivationFile, self._folder / ACTIVATIONS / name, most=self.most_activations)

    @contextmanager
    def _tried_once(self, subject: str) -> Iterator[None]:
        """Refuse at once, in the same words, what could not be read or loaded for an earlier cell."""
        if subject in self._refused:
            raise UsageError(self._refused[subject])
        try:
            yield
        except UsageError as error:
            self._refused[subject] = str(error)
            raise


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def attention_of(experiment: Experiment) -> tuple[Pattern, Pattern]:
    """The patterns of attention in training and in evaluation; one that leaks, or does nothing, is warned of."""
    context = experiment.model.context
    patterns = [pattern_of(choice, context) for choice in (experiment.model.attention, experiment.evaluation.pattern)]
    for pattern, use in zip(patterns, ("training", "evaluation"), strict=True):
        if pattern.leaks(context):
            log.warning(
                "attention in %s is %s, under which tokens see later ones of their text: "
                "what it comes to measures that leak, and is not compared with others",
                use,
                pattern.name,
            )
        if pattern.name != "full" and pattern.is_full(context):
            size = "" if pattern.group is None else f" in groups of {pattern.group:,} tokens"
            log.warning("attention in %s: %s%s is full attention at a context of %s", use, pattern.name, size, context)
    return patterns[0], patterns[1]


def shared_parts(experiment: Experiment) -> tuple[str, str]:
    """The fields in which experiments must agree to share their samples, and their base."""
    data = f"{experiment.data.model_dump_json()} {experiment.model.name}"
    pattern = experiment.evaluation.pattern.model_dump_json()
    return data, f"{experiment.model.model_dump_json()} {experiment.lora.model_dump_json()} {pattern}"


def samples_of(experiment: Experiment, on_corpus: OnRead | None = None) -> Samples:
    """The experiment's texts as its model's tokenizer reads them, from the cache where they are there."""
    from cllora.model.tokenizer import ModelTokenizer

    samples = load_samples(experiment.data, ModelTokenizer(experiment.model.name), progress=on_corpus)
    for note in samples.notes:
        log.warning("%s", note)
    if samples.dropped:
        log.warning("%s", dropped_line(samples.dropped, samples.examples))
    return samples
