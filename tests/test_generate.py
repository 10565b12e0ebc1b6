"""`cllora generate`: what the models of a run write, held to the packed learner's likeliest tokens."""

import json

import numpy as np
import pytest
import torch
import yaml

import cllora
from cllora.errors import UsageError
from cllora.model.batches import packed
from cllora.model.generation import Writer
from cllora.model.learner import Learner
from cllora.model.load import load_base
from cllora.spec import LoraSpec, ModelSpec
from cllora.types import Samples
from support.fixtures import refused
from support.models import save_tiny_model
from support.samples import made_up_samples
from support.studies import study_fields

CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
FAMILIES = {
    "opt": ["q_proj", "v_proj"],
    "llama": ["q_proj", "v_proj"],
    "gpt2": ["c_attn"],
    "gpt_neox": ["query_key_value"],
}


def learner_of(folder, lora, samples=None):
    base = load_base(ModelSpec(name=str(folder), context=64, device="cpu", precision="float32"), LoraSpec(**lora))
    return Learner(base, samples or made_up_samples(4), 64)


def moved(learner):
    """An adapter that matters."""
    start = learner.initial(0)
    return (start + np.random.default_rng(1).normal(0, 0.3, len(start))).astype(np.float32)


def likeliest(learner, adapter, prompt, count):
    """Token by token the one of least loss, every token there is being evaluated as the next."""
    tokens = list(prompt)
    for _ in range(count):
        rows = np.array([[*tokens, token] for token in range(300)], np.uint16)
        offsets, prompts = np.arange(301) * rows.shape[1], np.full(300, len(tokens), np.int32)
        every = Samples([""] * 300, rows.ravel(), offsets, prompts, {}, "every")
        tokens.append(int(learner.over(every).evaluate("next", adapter, np.arange(300)).nll.argmin()))
    return tokens[len(prompt) :]


def greedy(learner, adapter, prompt, count):
    """The same from the head's logits over the whole text, read anew for every token, without a cache."""
    learner.adapters.write(adapter)
    tokens = list(prompt)
    for _ in range(count):
        row = np.array([*tokens, 0], np.uint16)
        one = Samples([""], row, np.array([0, len(row)]), np.zeros(1, np.int32), {}, "one")
        (row,) = packed(
            one, [np.array([0])], learner.context, 10**6, learner.base.device, learner.patterns["evaluation"]
        )
        inputs = {"input_ids": row.tokens, "position_ids": row.positions, "packing": row.packing}
        with torch.no_grad():
            logits = learner.base.model(**inputs, use_cache=False).logits[0, row.keep]
        tokens.append(int(logits[len(tokens) - 1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapted"])
def test_what_is_written_is_the_packed_learners_likeliest(family, adapted, tiny_models):
    learner = learner_of(tiny_models(family), {"r": 2, "lora_dropout": 0.1, "target_modules": FAMILIES[family]})
    adapter = moved(learner) if adapted else learner.initial(0)
    writer = Writer(learner, "alpha beta")
    writer.ends = []
    counted = []
    expected = greedy(learner, adapter, writer.prompt, 12)
    written = writer.write(adapter, 12, on_token=counted.append)
    assert written.text == writer.decode([*writer.prompt, *expected])[len(writer.decode(writer.prompt)) :]
    assert (written.tokens, written.stopped) == (12, "length")
    assert counted == list(range(1, 13))
    assert greedy(learner, adapter, writer.prompt, 12) == expected  # packed attention is in force again


def test_the_likeliest_is_the_one_of_least_loss(tiny_models):
    learner = learner_of(tiny_models("llama"), {"r": 2, "target_modules": ["q_proj"]})
    adapter = moved(learner)
    assert likeliest(learner, adapter, [2, 70, 71], 2) == greedy(learner, adapter, [2, 70, 71], 2)


@pytest.mark.parametrize(
    "lora",
    [
        {"train": "full"},
        {"r": 2, "target_modules": ["q_proj"], "train": "lora+norms+embeddings"},
        {"r": 2, "target_modules": ["q_proj"], "train": "lora+embeddings", "embedding_r": 2},
    ],
    ids=["full", "norms and embeddings", "LoRA on the embedding"],
)
def test_whatever_is_trained_takes_part(lora, tiny_models):
    learner = learner_of(tiny_models("opt"), lora)
    writer, adapter = Writer(learner, "alpha"), moved(learner)
    writer.ends = []
    expected = greedy(learner, adapter, writer.prompt, 8)
    assert writer.decode([*writer.prompt, *expected]).endswith(writer.write(adapter, 8).text)


def test_it_ends_at_the_end_of_the_text_and_at_the_last_position(tiny_models):
    learner = learner_of(tiny_models("llama"), {"r": 2, "target_modules": ["q_proj"]})
    adapter = moved(learner)
    writer = Writer(learner, "alpha")
    tokens = greedy(learner, adapter, writer.prompt, 6)
    last = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 1)
    writer.ends = [tokens[last]]
    written = writer.write(adapter, 60)
    assert (written.tokens, written.stopped) == (last + 1, "end")
    assert written.text == writer.decode([*writer.prompt, *tokens[:last]])[len(writer.decode(writer.prompt)) :]
    long = Writer(learner, "x" * 120)  # of 128 positions
    long.ends = []
    written = long.write(adapter, 60)
    assert (written.tokens, written.stopped) == (128 - 121, "window")


def test_draws_go_by_their_seed_and_leave_others_alone(tiny_models):
    learner = learner_of(tiny_models("llama"), {"r": 2, "target_modules": ["q_proj"]})
    writer, adapter = Writer(learner, "alpha"), learner.initial(0)
    before = torch.random.get_rng_state()
    texts = [writer.write(adapter, 20, temperature=2.0, seed=seed).text for seed in (0, 1, 0)]
    assert texts[0] == texts[2] != texts[1]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert writer.write(adapter, 20, temperature=1e-4).text == writer.write(adapter, 20).text


def test_settings_that_a_model_brings_along_do_not_change_what_is_likeliest(tmp_path):
    folder = save_tiny_model("llama", tmp_path / "model")
    settings = {
        "do_sample": True,
        "temperature": 3.0,
        "repetition_penalty": 5.0,
        "max_length": 3,
        "eos_token_id": [2, 9],
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    learner = learner_of(folder, {"r": 2, "target_modules": ["q_proj"]})
    writer = Writer(learner, "alpha")
    assert writer.ends == [2, 9]
    writer.ends = []
    expected = greedy(learner, learner.initial(0), writer.prompt, 8)
    assert writer.decode([*writer.prompt, *expected]).endswith(writer.write(learner.initial(0), 8).text)


def with_template(folder):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


def test_a_prompt_is_a_users_turn_where_the_texts_are_chats(tmp_path):
    folder = with_template(save_tiny_model("llama", tmp_path / "model"))
    lora = {"r": 2, "target_modules": ["q_proj"]}
    made = made_up_samples(3)

    def texts(*of):
        return Samples(of, made.tokens, made.offsets, made.prompts, {}, "texts")

    chats, plain = texts("[user]a\n[assistant]b\n", "[user]c\n[assistant]d\n", "odd"), texts("a", "b", "[user]c")
    for samples, chat, expected in (
        (chats, None, True),
        (plain, None, False),
        (chats, False, False),
        (plain, True, True),
    ):
        writer = Writer(learner_of(folder, lora, samples), "hi", chat=chat)
        assert writer.chat == expected
        assert writer.decode(writer.prompt) == ("[user]hi\n[assistant]" if expected else "</s>hi")


@pytest.fixture(scope="module")
def runs(tiny_models, texts, tmp_path_factory):
    """Finished runs of one round, by strategy."""
    found = {}
    for strategy in ("fedavg", "ditto"):
        federation = {"strategy": strategy, "num_rounds": 1, "clients_per_round": 2}
        fields = study_fields(tiny_models("llama"), texts, federation=federation, grid={}, control={})
        folder = tmp_path_factory.mktemp(strategy)
        (folder / "study.yaml").write_text(yaml.safe_dump(fields))
        found[strategy] = cllora.run(str(folder / "study.yaml"), folder / "runs") / "seed=0"
    return found


def test_base_global_and_client_are_shown_side_by_side(runs, command):
    run = runs["fedavg"]
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code, out, err = command("generate", run, "alpha", "--max-new-tokens", 5)
    assert code == 0, err
    heads = [line for line in out.splitlines() if line.startswith("[")]
    assert heads[0] == "[base: as training found it]"
    assert heads[1] == "[global: after 1 round]"
    assert heads[2].startswith("[client ")
    assert "trained once more on its" in heads[2]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files
    asked = ("--client", "3,0", "--json", "--max-new-tokens", 5)
    first, again = (json.loads(command("generate", run, "alpha", *asked)[1]) for _ in range(2))
    assert first == again
    assert [each["model"] for each in first["models"]] == ["base", "global", "client 3", "client 0"]
    assert len({each["text"] for each in first["models"]}) > 1
    assert json.loads(command("generate", run, "alpha", "--client", "none", "--json")[1])["models"][:1]


def test_a_clients_model_is_what_it_would_be_in_the_round_that_follows(runs, tmp_path, tiny_models, texts):
    """Of a run that goes on for that round: the client's local loss there is that of the adapter made here."""
    from cllora.federated import chosen_clients, local_model
    from cllora.runs.generate import federation_of
    from cllora.store import last_round, read_experiment, read_losses

    experiment = read_experiment(runs["fedavg"])
    federation, learner = federation_of(runs["fedavg"], experiment)
    client = chosen_clients(experiment, 2)[0]
    model = local_model(federation, last_round(runs["fedavg"]), client)
    fields = study_fields(tiny_models("llama"), texts, federation={"num_rounds": 2, "clients_per_round": 2})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(fields | {"grid": {}, "control": {}}))
    table = read_losses(cllora.run(str(tmp_path / "study.yaml"), tmp_path / "runs") / "seed=0")
    there = table[(table["round"] == 2) & (table["model"] == f"local/{client}")]
    here = learner.evaluate("here", model, there["sample"].to_numpy(np.int64))
    assert np.array_equal(here.nll, there["nll"])


def test_a_personal_adapter_is_taken_where_the_strategy_has_one(runs, command):
    from cllora.federated import chosen_clients
    from cllora.store import read_experiment

    chosen = chosen_clients(read_experiment(runs["ditto"]), 1)
    other = next(client for client in range(6) if client not in chosen)
    out = command("generate", runs["ditto"], "alpha", "--client", f"{chosen[1]},{other}", "--max-new-tokens", 3)[1]
    heads = [line for line in out.splitlines() if line.startswith("[client")]
    assert heads[0] == f"[client {chosen[1]}: its personal adapter]"
    assert "trained once more" in heads[1]


def test_a_prompt_can_come_from_stdin(runs, command, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("alpha beta\n"))
    code, out, _ = command("generate", runs["fedavg"], "-", "--client", "none", "--json", "--max-new-tokens", 2)
    assert (code, json.loads(out)["prompt"]) == (0, "alpha beta")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["  "], "the prompt is empty"),
        (["x", "--client", "6"], "there is no client 6; this run's clients are 0 to 5"),
        (["x", "--client", "-1"], "there is no client -1"),
        (["x", "--client", "two"], "--client takes numbers"),
        (["x", "--max-new-tokens", "0"], "--max-new-tokens is 0"),
        (["x", "--temperature", "-1"], "--temperature is -1"),
        (["x", "--temperature", "nan"], "--temperature is nan"),
        (["x", "--chat"], "has no chat template"),
        (["word " * 40], "201 tokens, and"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(words, said, runs, command):
    refused(command("generate", runs["fedavg"], *words), said)


def test_other_folders_and_changed_runs_are_refused(runs, tmp_path, command):
    import shutil

    refused(command("generate", tmp_path, "x"), "is not the folder of a run")
    run = tmp_path / "run"
    shutil.copytree(runs["fedavg"], run)
    environment = json.loads((run / "environment.json").read_text())
    for key, said in (("data", "the texts have changed"), ("model", "have changed since")):
        changed = {**environment, key: {**environment[key], "fingerprint": "other"}}
        (run / "environment.json").write_text(json.dumps(changed))
        refused(command("generate", run, "x"), said)
    refused(command("export", run, "--out", tmp_path / "out"), "have changed since")
    refused(command("export", run, "--merged", "--out", tmp_path / "out"), "have changed since")
    assert not (tmp_path / "out").exists()
    (run / "state.safetensors").unlink()
    refused(command("generate", run, "x"), "is not finished (no round of 1 rounds)")


def test_chats_written_by_a_template_of_the_study_are_gone_on_with_by_it(tiny_models, tmp_path):
    """`data.template` is part of what was learnt: it is used here, and goes along with an export."""
    import transformers

    from cllora.runs.export import export_run
    from cllora.runs.generate import Asked, generate
    from cllora.spec import Study

    (tmp_path / "chat.jinja").write_text(CHAT)
    turns = [{"role": "user", "content": "two and two"}, {"role": "assistant", "content": "four"}]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": turns, "n": i}) + "\n" for i in range(60)))
    fields = study_fields(tiny_models("opt"), tmp_path / "chats.jsonl", grid={}, control={}, federation__num_rounds=1)
    fields["data"] = {"path": str(tmp_path / "chats.jsonl"), "template": str(tmp_path / "chat.jinja"), "test": 0.2}
    fields["partition"] = {"scheme": "iid", "num_clients": 4, "min_samples": 5, "local_test": 0.2}
    run = cllora.run(Study.parse(fields), tmp_path / "out") / "seed=0"
    writers = []
    original = Writer.__init__

    def keeping(self, *args, **named):
        original(self, *args, **named)
        writers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "__init__", keeping)
        list(generate(run, Asked("one and one", clients=[], max_new_tokens=2)))
    (writer,) = writers
    assert writer.chat
    assert writer.decode(writer.prompt).endswith("[user]one and one\n[assistant]")
    for merged in (True, False):
        out = export_run(run, tmp_path / f"exported-{merged}", merged=merged)
        assert transformers.AutoTokenizer.from_pretrained(out).chat_template == CHAT
    (tmp_path / "chat.jinja").write_text(CHAT + " ")
    with pytest.raises(UsageError, match="the texts have changed"):
        export_run(run, tmp_path / "exported-other")


def test_the_folder_of_a_study_is_told_which_runs_it_holds(runs, command):
    study = runs["fedavg"].parent
    refused(command("generate", study, "hi"), f"{study} is not the folder of a run", f"such as {runs['fedavg']}")
