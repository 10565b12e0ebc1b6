"""Norms, embeddings and learned positions beside LoRA, or every weight: against plain models whose weights require
gradients, through federated averaging, in bytes, and in files that PEFT alone reads."""

import copy
import functools
import json

import numpy as np
import peft
import pytest
import torch
import transformers

import cllora
from cllora.errors import UsageError
from cllora.federated import Updates
from cllora.model.learner import MOST_TOGETHER, Learner
from cllora.model.load import load_base, save_merged
from cllora.model.parts import numbers_by_part
from cllora.runs.export import export_run
from cllora.spec import LocalSpec, LoraSpec, ModelSpec, Study
from cllora.spec.sections import Experiment
from cllora.store import message_bytes, read_rounds
from cllora.types import Job, Update, Work
from support.learning import stock_losses
from support.models import save_tiny_model, tiny_config
from support.samples import made_up_samples
from support.strategies import strategy
from support.studies import interrupted, numbers, study_fields

CONTEXT = 40
ROWS = (2, 5, 9, 77, 130)
SGD = LocalSpec(epochs=1, batch_size=6, optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", max_grad_norm=0)
KINDS = {
    "norms": {"train": "lora+norms"},
    "embeddings": {"train": "lora+embeddings"},
    "rows": {"train": "lora+embeddings", "embedding_rows": ROWS},
    "lora on embeddings": {"train": "lora+embeddings", "embedding_r": 3},
    "both": {"train": "lora+norms+embeddings"},
    "full": {"train": "full"},
}
PAIRS = [(family, kind) for family in ("opt", "llama-tied", "gpt2") for kind in KINDS]
PAIRS += [
    (family, kind)
    for family in ("opt-350m", "llama", "gpt_neox", "qwen2", "qwen3", "mistral")
    for kind in ("both", "lora on embeddings")
]
PAIRS += [("llama", "full"), ("gpt_neox", "full")]
PAIRS += [("gemma3", kind) for kind in ("rows", "lora on embeddings", "both")]
"""Every kind where a head is tied or weights lie the other way round; elsewhere those that have the others in them."""


@pytest.fixture(scope="module")
def models(tiny_models, tmp_path_factory):
    """As `tiny_models`, with a tied Llama; norms are no ones, so that their values matter."""
    made = {}

    def folder(family):
        if family not in made:
            place = tmp_path_factory.mktemp("parts") / family
            config = tiny_config(family.removesuffix("-tied"))
            if family == "llama-tied":
                config.tie_word_embeddings = True
            save_tiny_model("opt", place)
            with torch.random.fork_rng():
                torch.manual_seed(3)
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
                for weights in model.parameters():
                    weights.data.add_(torch.randn_like(weights) * (0.1 if weights.dim() == 2 else 0.3))
            model.save_pretrained(place)
            made[family] = place
        return made[family]

    return folder


@pytest.fixture(scope="module")
def learners(models):
    """A learner by family and kind, made once: what it trains and evaluates leaves nothing behind in it."""
    return functools.cache(lambda family, kind: learner_of(models(family), kind))


@pytest.fixture(scope="module")
def plain(models):
    """A family's plain model, read once; not to be written to."""
    return functools.cache(
        lambda family: transformers.AutoModelForCausalLM.from_pretrained(
            models(family), dtype=torch.float32, attn_implementation="eager"
        ).eval()
    )


def learner_of(folder, kind, samples=None, dropout=0.0, precision="float32", **fields):
    model = ModelSpec(name=str(folder), context=CONTEXT, precision=precision, device="cpu")
    lora = LoraSpec(lora_dropout=dropout, **{**KINDS.get(kind, {}), **fields})
    return Learner(load_base(model, lora), samples or made_up_samples(), CONTEXT)


def moved(learner, seed=1):
    """The base's values and LoRA's zeros, each a little off."""
    away = np.random.default_rng(seed).normal(0, 0.05, learner.layout.size).astype(np.float32)
    return learner.initial(0) + away


def tied(model):
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


class Oracle:
    """A plain model whose weights are functions of the adapter's tensors, and stock losses one text at a time."""

    def __init__(self, model, learner):
        self.model = model.requires_grad_(False)
        self.learner = learner
        self.scale = 16 / 2

    def loss(self, tensors, batch):
        """Mean loss of a batch at the adapter's tensors by name."""
        own = dict(self.model.named_parameters(remove_duplicate=False))
        embedding = next(n for n, p in own.items() if p is self.model.get_input_embeddings().weight)
        weights = {}
        plain = {name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}
        for name, tensor in plain.items():
            if ".token_adapter." in name:
                weights[embedding] = own[embedding].index_copy(0, torch.tensor(ROWS), tensor)
            elif "lora_embedding_A" in name:
                b = plain[name.replace("lora_embedding_A", "lora_embedding_B")]
                weights[embedding] = own[embedding] + 16 / 3 * (b @ tensor).t()
            elif "lora_A" in name:
                delta = self.scale * plain[name.replace("lora_A", "lora_B")] @ tensor
                target = name.removesuffix("lora_A.weight") + "weight"
                weights[target] = own[target] + (delta.t() if self.model.config.model_type == "gpt2" else delta)
            elif "lora" not in name:
                weights[name] = tensor
        if tied(self.model) and embedding in weights:
            head = next(n for n, m in self.model.named_modules() if m is self.model.get_output_embeddings())
            weights[f"{head}.weight"] = weights[embedding]
        total, count = 0.0, 0
        for sample in batch:
            text = torch.from_numpy(self.learner.samples.tokens_of(int(sample), CONTEXT))[None]
            logits = torch.func.functional_call(
                self.model, weights, kwargs={"input_ids": text, "use_cache": False}, tie_weights=False
            ).logits
            total = total + torch.nn.functional.cross_entropy(logits[0, :-1], text[0, 1:], reduction="sum")
            count += text.shape[1] - 1
        return total / count

    def gradient(self, vector, batch):
        tensors = {
            name: torch.from_numpy(np.array(tensor)).requires_grad_()
            for name, tensor in self.learner.layout.split(vector).items()
        }
        loss = self.loss(tensors, batch)
        found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        zeros = [torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors.values(), strict=True)]
        return float(loss.detach()), torch.cat([g.flatten() for g in zeros]).numpy()


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_losses_and_gradients_equal_a_plain_model_whose_weights_require_gradients(learners, plain, family, kind):
    learner = learners(family, kind)
    adapter, batch = moved(learner), np.arange(8)
    loss, gradient = Oracle(plain(family), learner).gradient(adapter, batch)
    learner.adapters.write(adapter)
    count = learner.samples.predicted(batch, CONTEXT).sum()
    found = float(learner.gradients([batch], np.array([count]), [None])[0])
    assert found == pytest.approx(loss, rel=2e-5)
    np.testing.assert_allclose(learner.adapters.gradients[0].numpy(), gradient, rtol=1e-3, atol=2e-6)
    evaluated = learner.evaluate("global", adapter, batch)
    assert evaluated.nll.sum() / count == pytest.approx(loss, rel=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_training_is_a_step_down_that_gradient(learners, plain, kind):
    learner = learners("opt", kind)
    start = moved(learner)
    trained = learner.train([Job(Work(start), np.arange(6), ("x",))], SGD, 0)[0]
    _, gradient = Oracle(plain("opt"), learner).gradient(start, np.arange(6))
    np.testing.assert_allclose(trained.adapter, start - 0.05 * gradient, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["opt", "llama-tied"])
def test_training_starts_at_the_base(learners, family, kind):
    learner, plain = learners(family, kind), learners(family, "none")
    start, ids = learner.initial(4), np.arange(20)
    assert learner.is_base(start)
    assert not learner.is_base(moved(learner))
    expected = plain.evaluate("g", plain.initial(0), ids).nll
    np.testing.assert_allclose(learner.evaluate("g", start, ids).nll, expected, rtol=1e-6)
    slow = SGD.model_copy(update={"learning_rate": 1e-3})
    trained = learner.train([Job(Work(start), np.arange(40), ("x",))], slow, 0)[0]
    assert not learner.is_base(trained.adapter)
    assert (
        learner.evaluate("g", trained.adapter, np.arange(40)).nll.sum()
        < plain.evaluate("g", plain.initial(0), np.arange(40)).nll.sum()
    )
    np.testing.assert_allclose(learner.evaluate("g", start, ids).nll, expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # PEFT does not know GPT-2's as tied
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True")
@pytest.mark.parametrize(("family", "kind"), [pair for pair in PAIRS if pair[1] != "full"])
def test_peft_alone_loads_what_is_saved_and_says_the_same(learners, plain, family, kind, tmp_path):
    learner = learners(family, kind)
    adapter, ids = moved(learner), np.arange(6)
    expected = learner.evaluate("g", adapter, ids).nll
    learner.save_adapter(adapter, tmp_path / "adapter")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(plain(family)), tmp_path / "adapter").eval()
    np.testing.assert_allclose(stock_losses(model, learner, ids), expected, rtol=2e-5)


@pytest.mark.parametrize(("family", "kind"), [pair for pair in PAIRS if pair[0] in ("opt", "gpt2", "gpt_neox")])
def test_merged_it_is_a_plain_model_that_says_the_same(models, family, kind, tmp_path):
    learner = learner_of(models(family), kind)
    adapter, ids = moved(learner), np.arange(6)
    expected = learner.evaluate("g", adapter, ids).nll
    save_merged(learner.base, tmp_path / "merged")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    np.testing.assert_allclose(stock_losses(model, learner, ids), expected, rtol=2e-5)
    if kind == "full":
        learner.save_adapter(adapter, tmp_path / "adapter")
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32).eval()
        np.testing.assert_allclose(stock_losses(model, learner, ids), expected, rtol=2e-5)


def size_of(learner, part):
    return sum(int(np.prod(s)) for n, s in zip(learner.layout.names, learner.layout.shapes, strict=True) if part in n)


def test_the_vector_and_the_message_hold_each_trained_number_once(learners, plain):
    """A tied head shares its embedding's numbers; of chosen rows only these travel."""
    lora = learners("opt", "none").layout.size
    sizes = {kind: learners("opt", kind).layout.size for kind in KINDS}
    whole = plain("opt")
    assert tied(whole)
    assert sizes == {
        "norms": lora + 5 * 2 * 32,
        "embeddings": lora + 300 * 32,
        "rows": lora + len(ROWS) * 32,
        "lora on embeddings": lora + 3 * (300 + 32),
        "both": lora + 5 * 2 * 32 + 300 * 32,
        "full": whole.num_parameters(),
    }
    for kind in KINDS:
        learner = learners("opt", kind)
        message = message_bytes({"adapter": learner.initial(0)}, learner.layout)
        assert 0 <= message - 4 * learner.layout.size < 200 * len(learner.layout.names) + 100


def test_learned_positions_are_a_part_of_their_own(models, plain):
    learner = learner_of(models("opt"), "", train="positions+lora+norms")
    assert size_of(learner, "embed_positions") == 130 * 32
    assert size_of(learner, "embed_tokens") == 0
    adapter = moved(learner)
    loss, gradient = Oracle(plain("opt"), learner).gradient(adapter, np.arange(6))
    learner.adapters.write(adapter)
    count = learner.samples.predicted(np.arange(6), CONTEXT).sum()
    assert float(learner.gradients([np.arange(6)], np.array([count]), [None])[0]) == pytest.approx(loss, rel=2e-5)
    np.testing.assert_allclose(learner.adapters.gradients[0].numpy(), gradient, rtol=1e-3, atol=2e-6)


def test_an_untied_head_stays_as_it_is(learners):
    learner = learners("llama", "embeddings")
    head = learner.base.model.get_base_model().get_output_embeddings()
    assert not head.weight.requires_grad
    assert size_of(learner, "lm_head") == 0


@pytest.mark.parametrize("kind", ["norms", "both", "rows", "lora on embeddings", "full"])
def test_clients_one_after_the_other_and_their_average(models, learners, kind):
    """Several jobs come to what each comes to alone; FedAvg's mean is that of every number, norms' too."""
    learner = learner_of(models("opt"), kind, dropout=0.2)
    assert len(learner.adapters.values) == 1
    assert len(learners("opt", "none").adapters.values) == MOST_TOGETHER
    start = learner.initial(0)
    local = LocalSpec(epochs=1, batch_size=5, learning_rate=1e-2)
    jobs = [Job(Work(start), np.arange(10 * k, 10 * k + 10 - k), ("c", k)) for k in range(3)]
    together = learner.train(jobs, local, 0)
    for job, found in zip(jobs, together, strict=True):
        alone = learner.train([job], local, 0)[0]
        assert np.array_equal(alone.adapter, found.adapter)
    updates = [
        Update(1, k, {"adapter": it.adapter}, it.samples, it.tokens, it.steps, it.loss) for k, it in enumerate(together)
    ]
    joined = strategy("fedavg").aggregate({"adapter": start}, Updates(updates, "sums"))["adapter"]
    n = np.array([it.samples for it in together], np.float64)
    expected = sum(n_k / n.sum() * it.adapter.astype(np.float64) for n_k, it in zip(n, together, strict=True))
    np.testing.assert_allclose(joined, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_the_trained_values_stay_float32(models, learners, kind):
    wide = learners("llama-tied", kind)
    narrow = learner_of(models("llama-tied"), kind, precision="bfloat16")
    assert narrow.adapters.values.dtype == narrow.adapters.gradients.dtype == torch.float32
    adapter, ids = moved(narrow), np.arange(12)
    near = wide.evaluate("g", moved(wide), ids).nll.sum()
    assert narrow.evaluate("g", adapter, ids).nll.sum() == pytest.approx(near, rel=0.02)
    trained = narrow.train([Job(Work(narrow.initial(0)), np.arange(20), ("x",))], SGD, 0)[0]
    tensors, start = narrow.layout.split(trained.adapter), narrow.layout.split(narrow.initial(0))
    assert all((tensors[name] != start[name]).any() for name in tensors if "lora_A" not in name)


def small_study(model, texts, kind, **changes):
    """One cell, two rounds, of few and short texts."""
    fields = study_fields(
        model, texts, data__limit=80, model__context=24, federation__num_rounds=2, grid={}, control={}, **changes
    )
    lora = {"r": 2, "target_modules": ["q_proj", "v_proj"], **KINDS[kind]}
    return Study.parse({**fields, "lora": {key: list(v) if isinstance(v, tuple) else v for key, v in lora.items()}})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["opt", "llama", "llama-tied", "gpt2"])
def test_every_number_of_the_vector_is_counted_in_one_part(models, family, kind):
    learner = learner_of(models(family), kind)
    found = numbers_by_part(learner.base.model, learner.layout)
    assert sum(found.values()) == learner.layout.size
    config = learner.base.model.config
    words, hidden = config.vocab_size, config.hidden_size
    norms = {"opt": 2 * 5, "gpt2": 2 * 5}.get(family, 5) * hidden
    rows = {"rows": len(ROWS) * hidden, "lora on embeddings": 3 * (words + hidden), "norms": 0}.get(
        kind, words * hidden
    )
    assert found["embeddings"] == rows
    assert found["norms"] == (norms if kind in {"norms", "both", "full"} else 0)
    assert (found["lora"] > 0) == (kind != "full")
    learned = {"opt": 130, "gpt2": 128}.get(family, 0) * hidden
    assert found["positions"] == (learned if kind == "full" else 0)
    assert (found["other"] > 0) == (kind == "full")


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_a_vocabulary_as_large_as_the_table_of_positions_is_not_taken_for_one(models, family):
    learner = learner_of(models(family), "both")
    config = learner.base.model.config
    config.max_position_embeddings = config.vocab_size - (2 if family == "opt" else 0)
    found = numbers_by_part(learner.base.model, learner.layout)
    assert found["embeddings"] == config.vocab_size * config.hidden_size
    assert found["positions"] == 0


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [("fedavg", "both"), ("fedadam", "rows"), ("scaffold", "lora on embeddings"), ("ditto", "full")],
)
def test_whole_studies_run_and_export(models, texts, strategy, kind, tmp_path):
    study = small_study(models("opt"), texts, kind, federation__strategy=strategy)
    cell = cllora.run(study, tmp_path / "run") / "seed=0"
    rounds = read_rounds(cell)
    assert rounds[2]["global_loss"] < rounds[0]["global_loss"] or strategy == "fedadam"
    record = json.loads((cell / "environment.json").read_text())["communication"]
    assert sum(record["parts"].values()) == 4 * record["trainable_parameters"]
    messages = 4 if strategy == "scaffold" else 2
    assert rounds[1]["bytes_up"] == pytest.approx(messages * record["message_bytes"], rel=0.05)
    export_run(cell, tmp_path / "merged", merged=True)
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")


@pytest.mark.parametrize("kind", ["both", "full"])
def test_stopping_after_a_round_and_going_on_gives_the_same_numbers(models, texts, kind, tmp_path):
    """Also of what is trained in the base's own weights: a run that goes on begins with the base anew."""
    study = small_study(models("opt"), texts, kind)
    interrupted(study, tmp_path / "halted", round=1)
    assert len(read_rounds(tmp_path / "halted" / "seed=0")) == 2
    found = [numbers(cllora.run(study, tmp_path / name)) for name in ("halted", "straight")]
    assert found[0] == found[1]
    assert len(found[0]["seed=0"]["rounds"]) == 3


@pytest.mark.parametrize(
    ("family", "fields", "line"),
    [
        ("llama", {"train": "lora+positions"}, "no learned positions"),
        ("opt", {"train": "lora+embeddings", "embedding_rows": (300,)}, "300 tokens"),
        ("opt", {"target_modules": ("embed_tokens", "q_proj")}, "LoRA on an embedding"),
        ("opt", {"target_modules": ("lm_head", "q_proj")}, "head"),
        ("llama", {"target_modules": ("lm_head",), "train": "lora+embeddings", "embedding_r": 2}, "head"),
    ],
)
def test_what_a_model_has_not_is_refused_by_name(models, family, fields, line):
    with pytest.raises(UsageError, match=line):
        learner_of(models(family), "", **fields)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"train": "norms"}, "lora and what is trained beside it"),
        ({"train": "full+norms"}, "lora and what is trained beside it"),
        ({"train": "lora+heads"}, "lora and what is trained beside it"),
        ({"embedding_r": 2}, "embedding_r says how"),
        ({"train": "full", "embedding_r": 2}, "embedding_r says how"),
        ({"train": "lora+embeddings", "embedding_r": 2, "embedding_rows": [1]}, "give one"),
        ({"train": "lora+embeddings", "embedding_rows": [1, 1]}, "twice"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, line):
    with pytest.raises(UsageError, match=line):
        Experiment.parse({"lora": fields})


def test_what_is_not_used_is_not_written_down():
    """An experiment that trains LoRA alone has the JSON, and the id, that it had before there was anything else."""
    plain = Experiment.parse({"lora": {"train": "lora"}})
    assert plain == Experiment()
    written = json.loads(plain.to_json())
    assert written["lora"].keys() == {"r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora"}
    assert "positions" not in written["model"]
    other = Experiment.parse({"lora": {"train": "norms + lora"}})
    assert other.lora.train == "lora+norms"
    assert Experiment.parse(json.loads(other.to_json())) == other
    assert other.id != plain.id
