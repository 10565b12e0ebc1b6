"""Hold a base to stock transformers and PEFT, one text at a time: the base, an adapter on it, and both merged.

    python scripts/check_base.py smollm2-135m

For a base from a GGUF file the stock model is what transformers itself makes of the file. It takes about a minute for
135M parameters, prints the largest differences in nats a token, and fails if one is above 1e-5.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

from cllora.model.learner import Learner
from cllora.model.load import load_base, save_adapter, save_merged
from cllora.model.source import gguf_file, where
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import LoraSpec, ModelSpec
from cllora.types import Samples

LIMIT = 1e-5
CONTEXT = 64
TEXTS = (
    "Yes, of course it is.",
    "Return the number of rows.",
    "In 2024 the price rose by 12.5 %, to 1,299 euros;\n\nnobody knew why.",
    "def area(width: float, height: float) -> float:\n    '''The area of a rectangle.'''\n    return width * height\n",
    "The quick brown fox jumps over the lazy dog. " * 8,
    "Où est la bibliothèque ? 図書館はどこですか。",
)


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    name = parsed().name
    learner = learner_of(name)
    ids = np.arange(len(TEXTS))
    start = learner.initial(0)
    moved = (start + np.random.default_rng(1).normal(0, 0.02, len(start))).astype(np.float32)
    losses = {"base": learner.evaluate("base", start, ids).nll, "adapter": learner.evaluate("adapter", moved, ids).nll}
    losses["merged"] = losses["adapter"]
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        learner.adapters.write(moved)
        save_adapter(learner.base, folder / "adapter")
        save_merged(learner.base, folder / "merged")
        for form, model in stock_models(name, folder):
            expected = [losses(model, learner.samples.tokens_of(int(i), CONTEXT)) for i in ids]
            error = np.abs(losses[form] - expected) / learner.samples.predicted(ids, CONTEXT)
            sys.stdout.write(f"{form:8s} {error.max():.1e} nats a token at most, of {np.mean(expected):.1f} a text\n")
            worst = max(worst, float(error.max()))
    sys.exit(f"{name}: further than {LIMIT:g} from stock transformers" if worst > LIMIT else 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="model.name of a study")
    return parser.parse_args()


def learner_of(name: str) -> Learner:
    """The base with LoRA on the linear layers that PEFT chooses, over `TEXTS`."""
    encoded = ModelTokenizer(name).encode(TEXTS)
    offsets = np.cumsum([0, *map(len, encoded)])
    samples = Samples(TEXTS, np.concatenate(encoded), offsets, np.zeros(len(TEXTS), np.int32), {}, "texts")
    spec = ModelSpec(name=name, context=CONTEXT, device="cpu", precision="float32")
    return Learner(load_base(spec, LoraSpec(r=4, lora_dropout=0.0)), samples, CONTEXT)


def stock_models(name: str, folder: Path):
    """The base, the base with the adapter, and the merged model, as transformers and PEFT have them."""
    file = gguf_file(name)
    place, more = (where(name), {}) if file is None else (file.parent, {"gguf_file": file.name})
    base = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **more).eval()
    yield "base", base
    yield "adapter", peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    del base
    yield "merged", transformers.AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32).eval()


@torch.no_grad()
def losses(model, tokens: np.ndarray) -> float:
    """Summed negative log-likelihood of one text, alone in its pass: what transformers itself calls its loss.

    In float32, as there: over 49,152 words that alone is 2e-5 nats off what double precision gives, here and there.
    """
    row = torch.from_numpy(tokens)[None]
    return float(model(input_ids=row, labels=row, use_cache=False).loss.double() * (len(tokens) - 1))


if __name__ == "__main__":
    main()
