"""Text that a model writes after a prompt, one token after the other."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import transformers
from transformers.generation.streamers import BaseStreamer

from cllora.errors import UsageError, one_line
from cllora.model import attention
from cllora.model.learner import Learner
from cllora.model.libraries import Causal, Entries, StockTokenizer
from cllora.model.parts import causal_of
from cllora.model.positions import pretrained_positions
from cllora.model.source import where_tokenizer
from cllora.model.tokenizer import ModelTokenizer
from cllora.seeds import seed_for
from cllora.types import Model, Vector

OnToken = Callable[[int], None]
"""Called with how many tokens there are after the prompt."""

LOOKED_AT = 20
"""Texts by which it is told whether a run was trained on chats."""


@dataclass(frozen=True)
class Written:
    """The text generated after a prompt: `text`, its number of `tokens`, and what ended it.

    `stopped` is `end` (the model's end-of-text token, not in the text), `length` (as many tokens as were asked for) or
    `window` (no position is left).
    """

    text: str
    tokens: int
    stopped: str


class Writer:
    """A learner's base with the tokenizer of its model, writing after one prompt under any adapter.

    With `chat` the prompt is a user's turn; where that is None, if the learner's texts are chats. Turns are written by
    `template`, or else by the tokenizer's own. `prompt` are the tokens written after, `ends` those that end a text.

    Raises:
        UsageError: the prompt leaves no position free, or is a chat's and the tokenizer has no template.
    """

    def __init__(self, learner: Learner, prompt: str, *, chat: bool | None = None, template: str | None = None) -> None:
        self._learner, name = learner, learner.base.spec.name
        self._causal = causal_of(learner.base.model)
        self._tokenizer: StockTokenizer = transformers.AutoTokenizer.from_pretrained(where_tokenizer(name))
        if template is not None:
            self._tokenizer.chat_template = template
        self.ends = _ends(self._causal, self._tokenizer)
        self.chat = self._trained_on_chats() if chat is None else chat
        self.prompt = self._of_chat(prompt, name) if self.chat else self._of_text(prompt, name)
        positions = pretrained_positions(self._causal.config)
        self._room = None if positions is None else positions - len(self.prompt)
        if self._room is not None and self._room < 1:
            raise UsageError(
                f"the prompt has {len(self.prompt):,} tokens, and '{name}' has {positions:,} positions; shorten it"
            )

    def write(
        self,
        adapter: Model | Vector,
        most: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        on_token: OnToken | None = None,
    ) -> Written:
        """Write at most `most` tokens after the prompt: the likeliest each time, or at a `temperature` drawn by
        `seed`."""
        self._learner.adapters.write(adapter)
        room = most if self._room is None else min(most, self._room)
        asked: Entries = {"do_sample": temperature > 0}
        if temperature > 0:
            asked |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
        config = transformers.GenerationConfig(
            max_new_tokens=room,
            eos_token_id=self.ends or None,
            pad_token_id=self.ends[0] if self.ends else 0,
            **asked,
        )
        prompt = torch.tensor([self.prompt], device=self._learner.base.device)
        with _stock(self._causal), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed_for(seed, "generate"))
            tokens = self._causal.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                streamer=None if on_token is None else _Counter(on_token),
            )[0].tolist()
        new = tokens[len(self.prompt) :]
        ended = bool(new) and new[-1] in self.ends
        text = self.decode(tokens[: len(tokens) - ended])[len(self.decode(self.prompt)) :]
        return Written(text, len(new), "end" if ended else "length" if room == most else "window")

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, special ones written out."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _of_text(self, prompt: str, name: str) -> list[int]:
        """A text to be gone on with: as it is read in training, but without a token that would end it."""
        tokenizer = ModelTokenizer(name)
        tokens, bare = tokenizer.encode([prompt])[0], tokenizer.encode([prompt], special=False)[0]
        while tokens and tokens[-1] in self.ends and tokens[-1:] != bare[-1:]:
            tokens = tokens[:-1]
        return tokens

    def _of_chat(self, prompt: str, name: str) -> list[int]:
        """A user's turn, with what begins the answer behind it."""
        if not getattr(self._tokenizer, "chat_template", None):
            raise UsageError(f"the tokenizer of '{name}' has no chat template; leave --chat out")
        turn = [{"role": "user", "content": prompt}]
        try:
            text = self._tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # noqa: BLE001 (a template is a program of its own, and may fail in any way)
            raise UsageError(f"the chat template of '{name}' fails: {one_line(error)}") from None
        # The template writes the beginning of a text itself.
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def _trained_on_chats(self) -> bool:
        """Whether most of the learner's first texts have a user's turn as the tokenizer's template writes it."""
        if not getattr(self._tokenizer, "chat_template", None):
            return False
        mark = _user_mark(self._tokenizer)
        texts = self._learner.samples.texts[:LOOKED_AT]
        return len(mark.strip()) > 2 and 2 * sum(mark in text for text in texts) > len(texts)


class _Counter(BaseStreamer):  # type: ignore[misc]
    """Counts tokens as they come; the prompt comes first."""

    def __init__(self, on_token: OnToken) -> None:
        self._on_token, self._count = on_token, -1

    def put(self, value: torch.Tensor) -> None:
        self._count += 1
        if self._count > 0:
            self._on_token(self._count)

    def end(self) -> None:
        pass


def _user_mark(tokenizer: StockTokenizer) -> str:
    """The mark that a chat template writes before every user's turn; nothing, where that cannot be told."""
    turns = [("user", "{one}"), ("assistant", "{two}"), ("user", "{three}")]
    chat = [{"role": role, "content": content} for role, content in turns]
    try:
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
        befores = [text[: text.index(content)] for role, content in turns if role == "user"]
    except Exception:  # noqa: BLE001 (a template is a program of its own, and may fail in any way)
        return ""
    same = itertools.takewhile(
        lambda pair: pair[0] == pair[1], zip(*(before[::-1] for before in befores), strict=False)
    )
    return "".join(letter for letter, _ in same)[::-1]


def _ends(causal: Causal, tokenizer: StockTokenizer) -> list[int]:
    """The tokens that end a text, as the model's files and its tokenizer name them."""
    ids: list[int] = []
    for named in (causal.generation_config.eos_token_id, causal.config.eos_token_id, tokenizer.eos_token_id):
        ids += named if isinstance(named, list) else [] if named is None else [named]
    return list(dict.fromkeys(ids))


@contextmanager
def _stock(causal: Causal) -> Iterator[None]:
    """The model as transformers generates with it: its own attention and cache, and no settings but those given."""
    settings = causal.generation_config
    causal.generation_config = transformers.GenerationConfig()
    causal.set_attn_implementation("sdpa")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*generation.*")
            yield
    finally:
        causal.set_attn_implementation(attention.NAME)
        causal.generation_config = settings
