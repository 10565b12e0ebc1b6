"""One model of a family, compared: cllora's packed texts with stock transformers and PEFT, one text at a time."""

import re
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from configs import POSITIONS
from targets import kind_of, loras_of
from texts import made_up, thresholds

import stock
from cllora.errors import UsageError
from cllora.model.learner import Learner
from cllora.model.load import Base, load_base, save_merged
from cllora.spec import LocalSpec, LoraSpec, ModelSpec
from cllora.types import Job, Samples, Work

TOLERANCE = 1e-5
"""Nats per token: more is a fault, unless float32 itself is further from float64."""
GRADIENT = 1e-4
"""Of the gradient's norm."""
SHORT = (2, 3, 5, 8)


@dataclass
class Result:
    """What was found of one case. Differences are the largest, in nats per token, the gradient's relative to its norm.

    `contexts` are those at which cllora took the model, `refusals` what it said at the others; `targets` what it said
    to targets of LoRA that it did not take, before others were tried;
    `advice` what it said where its own advice was followed.
    """

    model_class: str = ""
    thresholds: dict[str, list[int]] = field(default_factory=dict)
    contexts: list[int] = field(default_factory=list)
    refusals: dict[int, str] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    noise: float = 0.0
    spread: float = 0.0
    targets: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    verdict: str = ""

    def differ(self, kind: str, difference: float, allowed: float, where: str = "") -> None:
        """Note a difference, and a fault if it is more than is allowed or no number."""
        if not difference <= self.differences.get(kind, 0.0):
            self.differences[kind] = difference
        elif difference < self.differences[kind]:
            return
        if not difference <= allowed:
            self.faults = [fault for fault in self.faults if not fault.startswith(f"{kind} off by")]
            self.faults.append(f"{kind} off by {self.differences[kind]:.1e}{where}")


def compare(folder: Path, quick: bool = False) -> Result:
    """Everything compared for the model in a folder; with `quick` at its least limit and its positions alone."""
    result = Result()
    model = _stock(result, folder)
    if model is None:
        _base(result, folder, SHORT[-1], [LoraSpec()])
        result.verdict = _verdict(result, readable=False)
        return result
    result.thresholds = thresholds(model.config)
    # The last token of a text predicts nothing: a limit of n positions is felt from texts of n + 2 tokens on.
    edges = {edge for values in result.thresholds.values() for value in values for edge in range(value - 1, value + 3)}
    lengths = sorted({*SHORT, *(edge for edge in edges if edge < POSITIONS), POSITIONS, POSITIONS + 1})
    samples = made_up(lengths)
    oracle = stock.Oracle(model)
    result.spread = float(
        np.std([oracle.loss(samples.tokens_of(i, POSITIONS)) / (n - 1) for i, n in enumerate(lengths)])
    )
    contexts, loras = [n for n in lengths if n >= SHORT[-1]], loras_of(model)
    limits = {value for values in result.thresholds.values() for value in values}
    for context in sorted({min(limits, default=POSITIONS), POSITIONS}) if quick else contexts:
        base = _base(result, folder, context, loras)
        if base is not None:
            _compare_base(result, base[0], samples, context, oracle)
    if not quick:
        _check_positions(result, folder, samples, loras[0])
    if result.contexts:
        default, *others = loras
        for chosen in [others] if quick or kind_of(default) in result.targets else [[default], others]:
            _compare_adapter(result, folder, samples, max(result.contexts), chosen)
    result.verdict = _verdict(result, readable=True)
    return result


def _stock(result: Result, folder: Path) -> Any:
    """The stock model, if it can read texts; else None, and why."""
    try:
        model = stock.load(folder)
        result.model_class = type(model).__name__
        for length in (SHORT[0], POSITIONS):
            stock.mean_loss(model, tuple(range(4, 4 + length)))
    except Exception as error:  # noqa: BLE001 - whatever a model of another kind raises
        result.notes.append(f"stock transformers reads no text with it: {_line(error)}")
        return None
    return model


def _base(result: Result, folder: Path, context: int, loras: list[LoraSpec]) -> tuple[Base, LoraSpec] | None:
    """The base as cllora loads it with the first of some LoRAs that it takes; None where it refuses it or fails, which
    is noted."""
    spec = ModelSpec(name=str(folder), context=context, device="cpu", precision="float32")
    for number, lora in enumerate(loras, 1):
        try:
            base = load_base(spec, lora)
        except UsageError as error:
            line = str(error).replace(str(folder), "NAME")
            if "target_modules" in line and number < len(loras):
                result.targets[kind_of(lora)] = line
                continue
            result.refusals[context] = line
            if "\n" in line:
                result.faults.append(f"a refusal of {line.count(chr(10)) + 1} lines")
            return None
        except Exception as error:  # noqa: BLE001 - a finding
            result.refusals[context] = _line(error)
            fault = f"traceback when loaded: {_line(error)} {_place(error)}"
            result.faults += [] if fault in result.faults else [fault]
            return None
        result.contexts = sorted({*result.contexts, context})
        return base, lora
    return None


def _check_positions(result: Result, folder: Path, samples: Samples, lora: LoraSpec) -> None:
    """That no context beyond the model's positions is taken, and that what a refusal advises instead is done."""
    beyond = POSITIONS + 1
    limits = [name for name, values in result.thresholds.items() if POSITIONS in values]
    if beyond in result.contexts and limits:
        result.faults.append(f"takes a context of {beyond} tokens where {limits[0]} is {POSITIONS}")
    if max(result.contexts, default=0) != POSITIONS:  # It has windows, too.
        return
    context = 2 * POSITIONS
    for way in re.findall(r"linear|yarn|interpolate", result.refusals[beyond].partition("model.positions to")[2]):
        spec = ModelSpec(name=str(folder), context=context, device="cpu", precision="float32", positions=way)
        try:
            learner = Learner(load_base(spec, lora), samples, context)
            nll = learner.evaluate("base", learner.initial(0), np.arange(len(samples))).nll
            if way != "interpolate":
                oracle = stock.Oracle(stock.load_stretched(folder, way, POSITIONS, context))
                _losses_differ(result, f"{way} positions", nll, samples, context, oracle)
        except UsageError as error:
            result.advice.append(f"{way}: {str(error).replace(str(folder), 'NAME')}")
        except Exception as error:  # noqa: BLE001 - a finding
            result.faults.append(f"advises {way} positions, then: {_line(error)} {_place(error)}")


def _compare_base(result: Result, base: Base, samples: Samples, context: int, oracle: stock.Oracle) -> None:
    """Base losses, packed with longer ones and alone."""
    try:
        learner = Learner(base, samples, context)
        start, ids = learner.initial(0), np.arange(len(samples))
        together = learner.evaluate("base", start, ids).nll
        alone = np.array([learner.evaluate("base", start, ids[i : i + 1]).nll[0] for i in ids])
    except Exception as error:  # noqa: BLE001 - a finding
        result.faults.append(f"traceback at context {context}: {_line(error)} {_place(error)}")
        return
    for kind, losses in (("base", together), ("base alone", alone)):
        _losses_differ(result, kind, losses, samples, context, oracle)


def _losses_differ(
    result: Result, kind: str, losses: Any, samples: Samples, context: int, oracle: stock.Oracle
) -> None:
    texts = [samples.tokens_of(i, context) for i in range(len(samples))]
    off = [abs(nll - oracle.loss(text)) / (len(text) - 1) for nll, text in zip(losses, texts, strict=True)]
    worst = int(np.argmax(off))
    if off[worst] > result.differences.get(kind, 0.0):
        result.noise = max(result.noise, oracle.noise(texts[worst]))
    where = f" (context {context}, text of {len(texts[worst])})"
    result.differ(kind, float(off[worst]), max(TOLERANCE, 10 * result.noise), where)


def _compare_adapter(result: Result, folder: Path, samples: Samples, context: int, loras: list[LoraSpec]) -> None:
    """Losses and a gradient under a random adapter, and losses of the merged export."""
    kind = kind_of(loras[0])
    ids = np.arange(len(samples))
    try:
        loaded = _base(result, folder, context, loras)
        if loaded is None:
            result.faults.append(f"refused with {kind}: {result.refusals.get(context)}")
            return
        base, kind = loaded[0], kind_of(loaded[1])
        learner = Learner(base, samples, context)
        draw = np.random.default_rng(1)
        adapter = (learner.initial(0) + 0.1 * draw.standard_normal(learner.layout.size)).astype(np.float32)
        with tempfile.TemporaryDirectory() as place:
            saved, merged = Path(place) / "adapter", Path(place) / "merged"
            learner.save_adapter(adapter, saved)
            plain, tuned = stock.load(folder, saved), stock.load(folder, saved, trainable=True)
            lost = stock.put_in_what_is_lost(plain, saved)
            stock.put_in_what_is_lost(tuned, saved)
            if lost:
                result.notes.append(
                    f"PEFT does not read back {lost[0]} and {len(lost) - 1} others that it wrote itself"
                )
            oracle = stock.Oracle(plain)
            nll = learner.evaluate("adapter", adapter, ids).nll
            _losses_differ(result, "adapter", nll, samples, context, oracle)
            _compare_gradient(result, learner, adapter, tuned, kind)
            learner.adapters.write(adapter)
            save_merged(base, merged)
            export = stock.Oracle(stock.load(merged))
            exported = [export.loss(samples.tokens_of(int(i), context)) for i in ids]
            _losses_differ(result, "merged", exported, samples, context, oracle)
    except Exception as error:  # noqa: BLE001 - a finding
        result.faults.append(f"traceback with {kind}: {_line(error)} {_place(error)}")


def _compare_gradient(result: Result, learner: Learner, adapter: Any, model: Any, kind: str) -> None:
    """The gradient of one step on one text, and which of LoRA's layers it never reaches."""
    sample = int(np.argmax(learner.samples.seen(np.arange(len(learner.samples)), learner.context)))
    work = Work(start=adapter, gradient=True)
    local = LocalSpec(steps=1, batch_size=1, optim="sgd", learning_rate=1e-9, max_grad_norm=0.0)
    trained = learner.train([Job(work, np.array([sample]), ("one",))], local, 0)[0]
    text = tuple(int(token) for token in learner.samples.tokens_of(sample, learner.context))
    expected = np.concatenate([g.ravel() for g in stock.gradient(model, text, learner.layout.names)])
    off = float(np.linalg.norm(trained.gradient - expected) / np.linalg.norm(expected))
    result.differ("gradient", off, max(GRADIENT, 100 * result.noise), f" ({kind})")
    parts = learner.layout.split(trained.gradient)
    idle = [name for name, part in parts.items() if not part.any()]
    if idle:
        numbers = sum(parts[name].size for name in idle)
        result.faults.append(
            f"{numbers} of {learner.layout.size} trained numbers have no gradient ({kind}), such as {idle[0]}"
        )


def _verdict(result: Result, readable: bool) -> str:
    if result.faults:
        wrong = any("off by" in fault or "gradient" in fault or "takes" in fault for fault in result.faults)
        return "wrong" if wrong else "fails"
    if not result.contexts:
        return "refused"
    return "supported" if readable else "taken unread"


def _line(error: BaseException) -> str:
    problem = " ".join(str(error).split()).partition(" Model type should be")[0]
    return f"{type(error).__name__}: {problem[:200]}"


def _place(error: BaseException) -> str:
    """Where an exception was raised, and in which lines of cllora."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "cllora" in Path(frame.filename).parts]
    return "(" + ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in [*own[-1:], frames[-1]]) + ")"
