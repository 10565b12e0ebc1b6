"""Chats: held to TRL's labels on eight families' templates; what is recognised, what is dropped, what is refused."""

import json
import warnings

import numpy as np
import pytest
import tokenizers as tk
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors

from cllora.corpus import load_samples
from cllora.errors import UsageError
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import DataSpec

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim + '<|eot_id|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Smol.<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'].strip() }}"
    "{{ ' [/INST]' }}{% else %}{% generation %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{{ '<start_of_turn>model\n' }}"
    "{% generation %}{{ m['content'] | trim + '<end_of_turn>\n' }}{% endgeneration %}"
    "{% else %}{{ '<start_of_turn>user\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
    "{% generation %}{{ m['content'] + '<|end|>\n' }}{% endgeneration %}"
    "{% else %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% elif messages[-1]['role'] == 'assistant' %}"
    "{% generation %}{{ eos_token }}{% endgeneration %}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + eos_token + '\n' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
FAMILIES = {
    "chatml": (CHATML, "<|im_end|>"),
    "smollm": (SMOLLM, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "llama2": (LLAMA2, "</s>"),
    "mistral": (MISTRAL, "</s>"),
    "gemma": (GEMMA, "</s>"),
    "phi3": (PHI3, "</s>"),
    "zephyr": (ZEPHYR, "</s>"),
}
CONTROL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>"]
CONTROL += ["<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<s>", "</s>"]
TURNS = [
    {"role": "user", "content": "Hi there"},
    {"role": "assistant", "content": "Hello! \n What else?"},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4, naïve 𝄞"},
]
SYSTEM = {"role": "system", "content": "Be brief."}


def unmarked(template):
    return template.replace("{% generation %}", "").replace("{% endgeneration %}", "")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function from a template to a tokenizer that has it, saved, as cllora and as transformers load it."""
    made = {}

    def get(template, eos="</s>", plain=()):
        if (template, eos, plain) not in made:
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            merges = [("e", "l"), ("l", "o"), ("Ġ", "W"), (".", "Ċ")]
            vocab = {word: i for i, word in enumerate([*alphabet, *map("".join, merges)])}
            backend = tk.Tokenizer(models.BPE(vocab=vocab, merges=merges))
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            backend.decoder = decoders.ByteLevel()
            backend.add_special_tokens([tk.AddedToken(each, special=True) for each in CONTROL if each not in plain])
            backend.add_tokens([tk.AddedToken(each, normalized=False) for each in plain])
            first = ("<s>", backend.token_to_id("<s>"))
            backend.post_processor = processors.Sequence(
                [
                    # transformers finds no token at a place whose white space is trimmed, and then marks nothing.
                    processors.ByteLevel(trim_offsets=False),
                    processors.TemplateProcessing(single="<s> $A", special_tokens=[first]),
                ]
            )
            stock = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token=eos)
            stock.chat_template = template
            folder = tmp_path_factory.mktemp("tokenizers")
            stock.save_pretrained(folder)
            made[template, eos, plain] = (
                ModelTokenizer(str(folder)),
                transformers.AutoTokenizer.from_pretrained(folder),
            )
        return made[template, eos, plain]

    return get


def load(tmp_path, tokenizer, rows, **fields):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_samples(DataSpec(path=str(file), **fields), tokenizer, cache=tmp_path / "cache")


def labels(samples, i):
    """Token ids, with -100 where there is no loss, as trainers write it."""
    ids = samples.tokens_of(i, 10**6)
    found = np.full(len(ids), -100)
    _, starts, stops = samples.answered(np.array([i]), 10**6)
    for start, stop in zip(starts, stops, strict=True):
        found[start:stop] = ids[start:stop]
    return found.tolist()


def marked_labels(stock, turns, template):
    """TRL's labels with `assistant_only_loss`: transformers' mask of what the template marks as generated."""
    found = stock.apply_chat_template(
        turns, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    return found["input_ids"], [token if said else -100 for token, said in pairs]


@pytest.mark.parametrize("own_mask", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_those_of_trl(family, own_mask, make, tmp_path):
    """By the template's own mask, and, where it has none, by prefixes, as TRL's marked template of the same says."""
    template, eos = FAMILIES[family]
    tokenizer, stock = make(template if own_mask else unmarked(template), eos)
    merged = [{**TURNS[0], "content": "Be brief.\n\nHi there"}, *TURNS[1:]]
    without = family in ("gemma", "mistral")
    chats = [TURNS, TURNS[:2], TURNS[:3], [SYSTEM, *TURNS]]
    samples = load(tmp_path, tokenizer, [{"messages": turns} for turns in chats], loss_on="answer")
    assert samples.dropped == {}
    assert ("the chat template has no system turn" in " ".join(samples.notes)) == without
    for i, turns in enumerate([*chats[:3], merged if without else chats[3]]):
        ids, expected = marked_labels(stock, turns, template)
        assert samples.tokens_of(i, 10**6).tolist() == ids
        assert labels(samples, i) == expected
        assert samples.texts[i] == stock.apply_chat_template(turns, tokenize=False)
    everything = load(tmp_path, tokenizer, [{"messages": turns} for turns in chats])
    assert everything.spans is None
    assert everything.tokens.tolist() == samples.tokens.tolist()
    assert everything.prompts.tolist() == [0] * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_completion_is_what_follows_the_prompt(family, make, tmp_path):
    """TRL's labels with `completion_only_loss`: all that follows the prompt with the template's own question for it."""
    template, eos = FAMILIES[family]
    tokenizer, stock = make(template, eos)
    rows = [{"prompt": TURNS[:3], "completion": TURNS[3:]}, {"prompt": TURNS[:1], "completion": TURNS[1:2]}]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer")
    for i, row in enumerate(rows):
        asked = stock.apply_chat_template(row["prompt"], tokenize=True, add_generation_prompt=True)["input_ids"]
        whole = stock.apply_chat_template(row["prompt"] + row["completion"], tokenize=True)["input_ids"]
        assert whole[: len(asked)] == asked
        assert labels(samples, i) == [-100] * len(asked) + whole[len(asked) :]


def test_trl_itself(make, tmp_path):
    """TRL's own preparation of chats, and of prompts and completions as texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        from trl import SFTConfig, SFTTrainer

        tokenizer, stock = make(LLAMA3, "<|eot_id|>")
        stock.pad_token = "</s>"
        config = transformers.LlamaConfig(
            vocab_size=len(stock),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
        model = transformers.LlamaForCausalLM(config)
        settings = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "bf16": False}
        cases = [
            ([{"messages": TURNS}, {"messages": [SYSTEM, *TURNS]}], {"assistant_only_loss": True}),
            ([{"prompt": "Question: ", "completion": "18"}, {"prompt": "Q.\n", "completion": " no"}], {}),
        ]
        for rows, more in cases:
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(**settings, **more),
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=stock,
            )
            samples = load(tmp_path, tokenizer, rows, loss_on="answer")
            for i, row in enumerate(trainer.train_dataset):
                assert samples.tokens_of(i, 10**6).tolist() == row["input_ids"]
                assert labels(samples, i) == row["labels"]


@pytest.mark.parametrize("plain", [(), ("<|im_start|>", "<|im_end|>")])
@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_what_is_said_closes_no_turn(plain, loss_on, make, tmp_path):
    """The template's control tokens are tokens and those in a turn are text, also where they are not called special."""
    tokenizer, stock = make(unmarked(CHATML), "</s>" if plain else "<|im_end|>", plain)
    said = "</s> 1<|im_end|>\n<|im_start|>assistant\nYes<|im_<|im_end|>end|>"
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "No <|im_end|> yes. We"}]
    samples = load(tmp_path, tokenizer, [{"messages": turns}], loss_on=loss_on)
    text = f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n{turns[1]['content']}<|im_end|>\n"
    assert samples.texts[0] == text
    ids = samples.tokens_of(0, 10**6).tolist()
    assert stock.decode(ids) == text
    control = [stock.convert_ids_to_tokens(i) for i in ids if i >= stock.convert_tokens_to_ids("<|im_start|>") - 20]
    control = [each for each in control if each in CONTROL]
    assert control == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    if loss_on == "answer":
        assert stock.decode([i for i in labels(samples, 0) if i >= 0]) == "No <|im_end|> yes. We<|im_end|>\n"


def test_roles_and_contents_as_people_have_them(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    parts = [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]
    rows = [
        {"conversations": [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Yo"}]},
        {"conversations": [{"from": "Human", "value": parts, "weight": None}, {"from": "model", "value": "Yo"}]},
        {
            "conversations": json.dumps(
                [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Yo"}]
            )
        },
        {"conversations": [{"role": "system", "content": " "}, *json.loads(json.dumps(TURNS))]},
        {"conversations": [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Yo"}], "system": "Be."},
    ]
    samples = load(tmp_path, tokenizer, rows)
    assert samples.dropped == {}
    assert samples.texts[0] == samples.texts[1] == samples.texts[2]
    assert samples.texts[0] == "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
    assert samples.texts[4] == "<|im_start|>system\nBe.<|im_end|>\n" + samples.texts[0]


BAD = [
    ([{"role": "narrator", "content": "a"}], "a turn of an unknown role", "'narrator'"),
    ([{"who": "user", "what": "a"}], "a turn without role and content", "{'who': 'user', 'what': 'a'}"),
    ([{"role": "user", "content": ""}, TURNS[1]], "an empty turn of user", "''"),
    ([TURNS[0], {"role": "assistant", "content": None}], "an empty turn of assistant", "None"),
    (
        [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}],
        "a turn with parts that are no text",
        "image",
    ),
    ([], "no list of turns", "[]"),
    (None, "no list of turns", "None"),
    ([TURNS[0], TURNS[0], TURNS[1]], "refused by the chat template: roles must alternate", "user user assistant"),
    ([TURNS[1], TURNS[0]], "refused by the chat template: roles must alternate", "assistant user"),
    (TURNS[:1], "no turn of the assistant", "user"),
]


@pytest.mark.parametrize(("turns", "reason", "example"), BAD)
def test_what_is_dropped_is_named_and_shown(turns, reason, example, make, tmp_path):
    tokenizer, _ = make(unmarked(MISTRAL), "</s>")
    samples = load(tmp_path, tokenizer, [{"messages": TURNS}, {"messages": turns}], loss_on="answer")
    assert len(samples) == 1
    assert samples.dropped == {f"{reason} (column 'messages')": 1}
    assert example in samples.examples[f"{reason} (column 'messages')"]


def test_a_turn_that_the_template_leaves_out(make, tmp_path):
    known = "{% for m in messages if m['role'] in ('user', 'assistant') %}{{ m['role'] + ': ' + m['content'] + '\n' }}"
    tokenizer, _ = make(known + "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    rows = [{"messages": [*TURNS[:1], {"role": "tool", "content": "18"}, TURNS[1]]}, {"messages": [SYSTEM, *TURNS]}]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer")
    assert samples.dropped == {"the chat template leaves out a turn of tool (column 'messages')": 1}
    assert samples.texts[0].startswith("user: Be brief.\n\nHi there\nassistant: Hello!")
    assert samples.tokens[-1] == tokenizer.end, "an answer that the template does not close is ended"
    assert labels(samples, 0)[-1] == tokenizer.end
    open_ended = load(tmp_path, tokenizer, rows[1:], loss_on="answer", end="none")
    assert open_ended.tokens.tolist() == samples.tokens[:-1].tolist()


def test_thoughts_that_a_template_takes_out_of_the_past(make, tmp_path):
    think = (
        "{% for m in messages %}{% set c = m['content'] if loop.last else m['content'].split('</think>')[-1] %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}"
    )
    tokenizer, stock = make(think, "<|im_end|>")
    thinking = {"role": "assistant", "content": "<think>hm</think>Yo"}
    rows = [{"messages": [TURNS[0], thinking]}, {"messages": TURNS}, {"messages": [TURNS[0], thinking, *TURNS[2:]]}]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer")
    assert not samples.dropped
    assert stock.decode([i for i in labels(samples, 0) if i >= 0]) == "hm</think>Yo<|im_end|>\n"
    assert stock.decode([i for i in labels(samples, 2) if i >= 0]) == "Yo<|im_end|>\n4, naïve 𝄞<|im_end|>\n"
    said = "Hello! \n What else?<|im_end|>\n4, naïve 𝄞<|im_end|>\n"
    assert stock.decode([i for i in labels(samples, 1) if i >= 0]) == said
    assert len(load(tmp_path, tokenizer, rows)) == 3


def test_a_template_that_asks_for_the_date_is_told_always_the_same(make, tmp_path):
    tokenizer, _ = make("{{ strftime_now('%d %b %Y') }}" + unmarked(CHATML), "<|im_end|>")
    assert load(tmp_path, tokenizer, [{"messages": TURNS}]).texts[0].startswith("26 Jul 2024<|im_start|>user")


def test_a_mask_that_leaves_out_the_closing_token_is_said(make, tmp_path):
    short = CHATML.replace("+ '<|im_end|>\n' }}{% endgeneration %}", "}}{% endgeneration %}{{ '<|im_end|>\n' }}")
    tokenizer, stock = make(short, "<|im_end|>")
    # Of a last character of several tokens transformers marks the first alone: this one has one.
    samples = load(tmp_path, tokenizer, [{"messages": TURNS[:2]}], loss_on="answer")
    assert labels(samples, 0) == marked_labels(stock, TURNS[:2], short)[1]
    assert "models do not learn to stop" in samples.notes[-1]
    whole, _ = make(CHATML, "<|im_end|>")
    assert "learn to stop" not in " ".join(load(tmp_path, whole, [{"messages": TURNS}], loss_on="answer").notes)


def test_instructions(make, tmp_path):
    rows = [
        {"instruction": "Add.", "input": "2, 2", "output": "4"},
        {"instruction": "Say hi.", "input": "", "output": "Hi"},
        {"instruction": "Say ho.", "input": None, "output": "Ho"},
        {"instruction": "Say.", "input": "", "output": None},
    ]
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    samples = load(tmp_path, tokenizer, rows, loss_on="answer")
    asked = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
    assert list(samples.texts) == [
        asked.format("Add.\n2, 2", "4"),
        *(asked.format(f"Say h{c}.", f"H{c}") for c in "io"),
    ]
    assert samples.dropped == {"empty (column 'output')": 1}
    bare = load(tmp_path, ModelTokenizer("embedded"), rows, loss_on="answer")
    assert list(bare.texts) == ["Add.\n2, 2\n4", "Say hi.\n\nHi", "Say ho.\n\nHo"]
    assert "column 'output' as the answer" in bare.notes[0]


def test_what_is_recognised_and_set_otherwise(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    found = load(tmp_path, tokenizer, [{"messages": TURNS}])
    assert "rows.jsonl is read as chats (column 'messages')" in found.notes[0]
    assert "data.text" in found.notes[0]
    both = load(tmp_path, tokenizer, [{"messages": TURNS, "text": "plain"}])
    assert list(both.texts) == ["plain"]
    assert "data.text: messages would take chats" in both.notes[0]
    assert load(tmp_path, tokenizer, [{"messages": TURNS, "text": "plain"}], text="messages").texts[0] == found.texts[0]
    assert load(tmp_path, tokenizer, [{"dialog": TURNS}], text="dialog").tokens.tolist() == found.tokens.tolist()
    pairs = load(tmp_path, tokenizer, [{"q": TURNS[:3], "a": TURNS[3:]}], text="q", answer="a")
    assert pairs.tokens.tolist() == found.tokens.tolist()
    texts = load(tmp_path, tokenizer, [{"prompt": "Q: ", "completion": "18"}], loss_on="answer")
    assert list(texts.texts) == ["Q: 18"]
    with pytest.raises(UsageError, match=r"has no column 'text'"):
        load(tmp_path, tokenizer, [{"messages": "a text"}])


def test_what_is_refused(make, tmp_path):
    bare, (tokenizer, _) = ModelTokenizer("embedded"), make(unmarked(CHATML), "<|im_end|>")
    with pytest.raises(UsageError, match=r"no chat template; name a file with one as data\.template, or a model"):
        load(tmp_path, bare, [{"messages": TURNS}])
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}")
    samples = load(tmp_path, bare, [{"messages": TURNS[:2]}], template=str(file))
    assert samples.texts[0] == "user: Hi there\nassistant: Hello! \n What else?\n"
    file.write_text("{% for m in messages %}{{ m['role'] + '> ' + m['content'] + '\n' }}{% endfor %}")
    changed = load(tmp_path, bare, [{"messages": TURNS[:2]}], template=str(file))
    assert changed.texts[0].startswith("user> "), "an edited template is not the cached one"
    with pytest.raises(UsageError, match=r"data\.template is for chats"):
        load(tmp_path, bare, [{"text": "a b"}], template=str(file))
    with pytest.raises(UsageError, match=r"data\.template: cannot read"):
        load(tmp_path, bare, [{"messages": TURNS}], template=str(tmp_path / "none.jinja"))
    file.write_text("{% for %}")
    with pytest.raises(UsageError, match="the chat template does not work"):
        load(tmp_path, tokenizer, [{"messages": TURNS}], template=str(file))
    with pytest.raises(UsageError, match=r"data\.loss_on: answer needs answers"):
        load(tmp_path, bare, [{"text": "a b"}], loss_on="answer")


def test_the_last_answer_of_a_chat_is_corrupted(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    asked = [{"role": "user", "content": f"{i}?"} for i in range(8)]
    said = [{"role": "assistant", "content": f"is {i}"} for i in range(8)]
    rows = [{"messages": [*TURNS[:2], *turns]} for turns in zip(asked, said, strict=True)]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer", corrupt={"kind": "wrong_answer", "share": 1.0})
    for i in range(8):
        own, wrong = samples.texts[i], samples.texts[8 + i]
        head = own.rsplit("is ", 1)[0]
        assert wrong.startswith(head)
        assert wrong != own
        assert len(samples.answered(np.array([8 + i]), 999)[0]) == 2


@pytest.mark.parametrize("answer", ["d", "e", "end", "im", "|", "B"])
def test_an_answer_that_is_within_a_control_token_ends_once(answer, make, tmp_path):
    for template in (CHATML, unmarked(CHATML)):
        tokenizer, stock = make(template, "<|im_end|>")
        turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": answer}]
        samples = load(tmp_path, tokenizer, [{"messages": turns}], loss_on="answer")
        ids = samples.tokens_of(0, 1000).tolist()
        assert ids == stock.apply_chat_template(turns, tokenize=True, return_dict=False)


def test_chats_as_json_in_a_column_that_is_named(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo!"}]
    plain = load(tmp_path, tokenizer, [{"messages": turns}]).texts[0]
    assert load(tmp_path, tokenizer, [{"chat": json.dumps(turns)}], text="chat").texts[0] == plain
    with pytest.raises(UsageError, match="as Python prints them"):
        load(tmp_path, tokenizer, [{"chat": str(turns)}], text="chat")


def test_half_a_character_drops_one_chat(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo!"}]}
    bad = {"messages": [{"role": "user", "content": "hi \ud83d"}, {"role": "assistant", "content": "yo!"}]}
    samples = load(tmp_path, tokenizer, [good, bad, good])
    assert len(samples) == 2
    assert sum(samples.dropped.values()) == 1


SAID = {"role": "user", "content": "what is it?"}
ANSWERED = {"role": "assistant", "content": "let me see 20"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [SAID, {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]},
                       ANSWERED]}, "calls"),
        ({"messages": [SAID, ANSWERED], "tools": [{"function": {"name": "look"}}]}, "tools"),
        ({"messages": [SAID, {"role": "tool", "content": "20"}, ANSWERED]}, "leaves out"),
        ({"messages": [SAID, {**ANSWERED, "weight": 0.5}]}, "weight 0.5"),
        ({"messages": [SAID, {**ANSWERED, "value": "other"}]}, "both content and value"),
        ({"messages": [SAID, ANSWERED], "images": ["x.png"]}, "parts that are no text"),
        ({"messages": [SAID, ANSWERED], "system": 7}, "not text"),
    ],
)  # fmt: skip
def test_nothing_of_a_chat_vanishes(row, reason, make, tmp_path):
    template = "{% for m in messages if m.role != 'tool' %}[{{ m.role }}]{{ m.content or '' }}\n{% endfor %}"
    tokenizer, _ = make(template, "</s>")
    samples = load(tmp_path, tokenizer, [row, {"messages": [SAID, ANSWERED]}])
    assert len(samples) == 1
    assert [name for name in samples.dropped if reason in name], samples.dropped


def dropped(tmp_path, tokenizer, row, **fields):
    """Why a row is none; beside it stands one that is a sample."""
    samples = load(tmp_path, tokenizer, [row, {"messages": [SAID, ANSWERED]}], **fields)
    assert len(samples) == 2 - sum(samples.dropped.values())
    return next(iter(samples.dropped), "")


def call(name, **arguments):
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize("loss_on", ["all", "answer"])
@pytest.mark.parametrize(
    ("template", "turns", "what"),
    [
        ("{% for m in messages if m.role != 'tool' %}{{ m.role }}: {{ m.content }}{{ '\n' }}{% endfor %}",
         [SAID, {**ANSWERED, "content": "20"}, SAID, {"role": "tool", "content": "20"}, {**ANSWERED, "content": "20"}],
         "a turn of tool"),
        ("{% for m in messages %}{% if m.role != 'assistant' or loop.last %}{{ m.role }}: "
         "{{ m.content }} {% endif %}{% endfor %}",
         [SAID, {**ANSWERED, "content": "it"}, SAID, ANSWERED], "a turn of assistant"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content[:15] if loop.last else m.content }}{{ '\n' }}{% endfor %}",
         [SAID, {**ANSWERED, "content": "abcde abcde abcde"}], "a turn of assistant"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ '\n' }}{% endfor %}",
         [{**SAID, "content": "look at it"}, call("look"), ANSWERED], "assistant's calls"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
         "{% endfor %}{{ '\n' }}{% endfor %}", [SAID, call("look", where="it"), ANSWERED], "assistant's calls"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ '\n' }}{% endfor %}",
         [SAID, {**ANSWERED, "reasoning_content": "let"}], "assistant's reasoning_content"),
    ],
)  # fmt: skip
def test_what_a_template_leaves_out_is_seen_where_another_says_the_same(template, turns, what, loss_on, make, tmp_path):
    tokenizer, _ = make(template, "</s>")
    reason = dropped(tmp_path, tokenizer, {"messages": turns}, loss_on=loss_on)
    assert reason == f"the chat template leaves out {what} (column 'messages')"


def test_what_a_template_writes_is_kept(make, tmp_path):
    """Calls with their arguments, tools, and thoughts, of which those of the past are left out as models expect."""
    template = (
        "{% for t in tools or [] %}{{ t.function.name }}\n{% endfor %}{% for m in messages %}{{ m.role }}: "
        "{% if loop.last and m.thinking %}{{ m.thinking }} {% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{{ '\n' }}{% endfor %}"
    )
    tokenizer, _ = make(template, "</s>")
    thinking = {**ANSWERED, "thinking": "well"}
    turns = [SAID, thinking, SAID, call("look", where="it", times=2), {"role": "tool", "content": "20"}, thinking]
    samples = load(tmp_path, tokenizer, [{"messages": turns, "tools": [{"function": {"name": "look"}}]}])
    assert samples.dropped == {}
    assert samples.texts[0] == (
        "look\nuser: what is it?\nassistant: let me see 20\nuser: what is it?\n"
        'assistant: look({"where": "it", "times": 2})\ntool: 20\nassistant: well let me see 20\n'
    )


def test_chats_with_tools_are_written_by_the_template_for_tools(make, tmp_path):
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tools = "{% for t in tools %}tool {{ t.function.name }}\n{% endfor %}" + plain
    _, stock = make(plain, "</s>")
    stock.chat_template = {"default": plain, "tool_use": tools}
    stock.save_pretrained(tmp_path / "both")
    tokenizer = ModelTokenizer(str(tmp_path / "both"))
    told = [{"type": "function", "function": {"name": "look"}}]
    samples = load(tmp_path, tokenizer, [{"messages": [SAID, ANSWERED], "tools": told}, {"messages": [SAID, ANSWERED]}])
    for text, given in zip(samples.texts, [told, None], strict=True):
        assert text == stock.apply_chat_template([SAID, ANSWERED], tools=given, tokenize=False)
    own = tmp_path / "own.jinja"
    own.write_text(plain + " ")
    reason = dropped(tmp_path, tokenizer, {"messages": [SAID, ANSWERED], "tools": told}, template=str(own))
    assert "leaves out tools" in reason


@pytest.mark.parametrize(
    ("field", "loss_on", "reason"),
    [
        ({"weight": 0.5}, "answer", "a turn of weight 0.5"),
        ({"weight": 2}, "all", "a turn of weight 2"),
        ({"weight": "half"}, "all", "a turn of weight nan"),
        ({"weight": "1"}, "answer", ""),
        ({"weight": 1}, "answer", ""),
        ({"train": True, "loss": 2.5}, "all", ""),
        ({"weight": None}, "all", ""),
    ],
)
def test_turns_on_which_another_loss_is_asked_for(field, loss_on, reason, make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    assert dropped(tmp_path, tokenizer, {"messages": [SAID, {**ANSWERED, **field}]}, loss_on=loss_on).startswith(reason)
    users = dropped(tmp_path, tokenizer, {"messages": [{**SAID, **field}, ANSWERED]}, loss_on=loss_on)
    assert bool(users) == (bool(reason) and loss_on == "all"), "answers alone are trained: no loss is on the user's"


@pytest.mark.parametrize(
    "silent", [{"weight": 0}, {"weight": "0"}, {"train": False}, {"loss": 0}, {"training": "false"}]
)
@pytest.mark.parametrize("template", [CHATML, unmarked(CHATML), unmarked(CHATML).replace("'<|im_end|>\n'", "'\n'")])
def test_turns_of_weight_0_are_context(silent, template, make, tmp_path):
    """As in the files that OpenAI and Mistral take: the turn is read, and no loss is on it."""
    tokenizer, stock = make(template, "<|im_end|>")
    mute, heard = {**ANSWERED, "content": "wrong", **silent}, {**ANSWERED, "content": "right"}
    plain = [
        [SAID, {**ANSWERED, "content": "wrong"}, SAID, heard],
        [SAID, heard, SAID, {**ANSWERED, "content": "wrong"}],
    ]
    rows = [{"messages": [SAID, mute, SAID, heard]}, {"messages": [SAID, heard, SAID, mute]}]
    pairs = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in rows]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer")
    split = load(tmp_path, tokenizer, pairs, loss_on="answer")
    reference = load(tmp_path, tokenizer, [{"messages": turns} for turns in plain], loss_on="answer")
    whole = load(tmp_path, tokenizer, rows)
    assert list(samples.texts) == list(split.texts) == list(whole.texts) == list(reference.texts)
    for i in range(2):
        ids, own = samples.tokens_of(i, 999).tolist(), labels(reference, i)
        assert ids == reference.tokens_of(i, 999).tolist()
        said = [stock.decode(part) for part in parts_of(own)]
        assert [stock.decode(part) for part in parts_of(labels(samples, i))] == [said[1 - i]]
        assert "right" in said[1 - i]
        for other in (split, whole):
            kept = "".join(stock.decode(part) for part in parts_of(labels(other, i)))
            assert said[1 - i] in kept
            assert "wrong" not in kept


def parts_of(own):
    """The runs of tokens that carry loss."""
    runs, last = [], -2
    for place, token in enumerate(own):
        if token >= 0:
            runs = [*runs, [token]] if place > last + 1 else [*runs[:-1], [*runs[-1], token]]
            last = place
    return runs


def test_a_chat_without_any_loss_is_dropped_and_a_corrupted_answer_is_one_with_loss(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    mute = {"messages": [SAID, {**ANSWERED, "weight": 0}]}
    assert dropped(tmp_path, tokenizer, mute, loss_on="answer") == "no turn that carries loss (column 'messages')"
    assert "of weight 0, where the loss" in dropped(
        tmp_path, tokenizer, {"messages": [{**SAID, "weight": 0}, ANSWERED]}
    )
    rows = [{"messages": [SAID, {**ANSWERED, "content": f"is {i}"}, *mute["messages"]]} for i in range(8)]
    samples = load(tmp_path, tokenizer, rows, loss_on="answer", corrupt={"kind": "wrong_answer", "share": 1.0})
    for i in range(8):
        assert samples.texts[8 + i] != samples.texts[i]
        assert samples.texts[8 + i].endswith(samples.texts[i].split(f"is {i}")[1])


@pytest.mark.parametrize("answer", ["a", "end of", "me", "|", "?"])
def test_an_answer_that_the_template_says_again_behind_it_ends_once(answer, make, tmp_path):
    """The text behind the token that closes the answer has it too."""
    footer = unmarked(CHATML) + "{% if not add_generation_prompt %}{{ '-- me: end of a chat?\n' }}{% endif %}"
    tokenizer, stock = make(footer, "<|im_end|>")
    turns = [SAID, {"role": "assistant", "content": answer}]
    samples = load(tmp_path, tokenizer, [{"messages": turns}])
    assert samples.tokens.tolist() == stock.apply_chat_template(turns, tokenize=True, return_dict=False)


def test_a_token_that_ends_the_last_turn_and_begins_like_the_next_turn_s_header_is_no_part_of_an_earlier_answer(
    make, tmp_path
):
    """`</s>` behind the last answer, and `<|u|>`, which is plain text to this tokenizer, behind one before it."""
    template = (
        "{% for m in messages %}{{ '<|' + m['role'][0] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
        "{{ '<|a|>' if add_generation_prompt else eos_token }}"
    )
    tokenizer, stock = make(template, "</s>", ("<|end|>",))
    samples = load(tmp_path, tokenizer, [{"messages": [SAID, ANSWERED, SAID, ANSWERED]}], loss_on="answer")
    answer = ANSWERED["content"]
    assert [stock.decode(part) for part in parts_of(labels(samples, 0))] == [f"{answer}<|end|>", f"{answer}<|end|></s>"]


@pytest.mark.parametrize("answer", ["t", "hin", "one", "(", "last"])
def test_an_answer_within_what_the_template_writes_about_it_has_its_own_place(answer, make, tmp_path):
    """The last turn is written otherwise than those before, and what is written has the answer's letters."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'Q: ' + m['content'] + '\n' }}"
        "{% else %}{{ 'A: (thinking one) ' if not loop.last else 'A: ' }}{{ m['content'] }}"
        "{{ '<|im_end|>\n' if not loop.last else '<|im_end|> (last one)\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}"
    )
    tokenizer, stock = make(template, "<|im_end|>")
    turns = [SAID, {"role": "assistant", "content": answer}, SAID, ANSWERED]
    samples = load(tmp_path, tokenizer, [{"messages": turns}], loss_on="answer")
    first, second = (stock.decode(part) for part in parts_of(labels(samples, 0)))
    assert first == f"(thinking one) {answer}<|im_end|>"
    assert second == f"{ANSWERED['content']}<|im_end|> (last one)\n"


def test_a_thought_of_the_last_answer_that_a_template_takes_out_is_named(make, tmp_path):
    without = unmarked(CHATML).replace("m['content']", "m['content'].split('</think>')[-1]")
    tokenizer, _ = make(without, "<|im_end|>")
    thinking = {**ANSWERED, "content": "<think>\nhm\n</think>\n\n20"}
    assert "leaves out assistant's <think>" in dropped(tmp_path, tokenizer, {"messages": [SAID, thinking]})
    assert "leaves out assistant's <think>" in dropped(tmp_path, tokenizer, {"messages": [SAID, thinking, SAID]})
    blank = {**ANSWERED, "content": "<think>\n\n</think>\n\n20"}
    assert dropped(tmp_path, tokenizer, {"messages": [SAID, blank]}) == ""
    asked = {"role": "user", "content": "<think>am I?</think> is it?"}
    assert "a turn of user" in dropped(tmp_path, tokenizer, {"messages": [asked, ANSWERED]})
    of_the_past = without.replace(
        "m['content'].split('</think>')[-1]", "(m['content'] if loop.last else m['content'].split('</think>')[-1])"
    )
    kept, _ = make(of_the_past, "<|im_end|>")
    assert dropped(tmp_path, kept, {"messages": [SAID, thinking, SAID, ANSWERED]}) == ""


def test_a_system_column_beside_a_system_turn(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    turns = [SYSTEM, SAID, ANSWERED]
    assert "another system turn" in dropped(tmp_path, tokenizer, {"messages": turns, "system": "Be long."})
    assert dropped(tmp_path, tokenizer, {"messages": turns, "system": SYSTEM["content"]}) == ""


def test_what_stands_beside_a_text_and_its_answer_is_said(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    rows = [{"prompt": "2+2?", "completion": "4", "system": "Be brief.", "history": None}]
    assert any("column 'system' is no part of the texts" in note for note in load(tmp_path, tokenizer, rows).notes)
    rows = [{"instruction": "2+2?", "output": "4", "system": "Be brief.", "history": [["a", "b"]]}]
    samples = load(tmp_path, tokenizer, [rows[0], {**rows[0], "history": []}])
    assert samples.dropped == {"a turn with parts that are no text, beside the chat (column 'history')": 1}
    assert "Be brief." in samples.texts[0]
    bare, _ = make(None, "</s>")
    notes = load(tmp_path, bare, rows).notes
    assert any("column 'system', 'history' is no part of the texts" in note for note in notes)


def test_turns_as_python_prints_them_are_refused_by_name(make, tmp_path):
    tokenizer, _ = make(unmarked(CHATML), "<|im_end|>")
    asked, said = [{"content": "it's", "role": "user"}], [ANSWERED]
    for row in ({"messages": str([SAID, ANSWERED])}, {"prompt": str(asked), "completion": str(said)}):
        with pytest.raises(UsageError, match=rf"column '{next(iter(row))}' holds lists as Python prints them"):
            load(tmp_path, tokenizer, [row])
    with pytest.raises(UsageError, match="column 'b' holds lists as Python prints them"):
        load(tmp_path, tokenizer, [{"a": "it", "b": str(said)}], text="a", answer="b")
    rows = [{"prompt": json.dumps([SAID]), "completion": json.dumps(said)}]
    assert load(tmp_path, tokenizer, rows).texts[0].endswith("let me see 20<|im_end|>\n")


def test_half_a_character_in_a_tool_drops_one_chat(make, tmp_path):
    tokenizer, _ = make("{{ tools | tojson }}" + unmarked(CHATML), "<|im_end|>")
    for name, about in (("look", "\ud83d"), ("\ud83d", "a")):
        tools = [{"function": {"name": name, "description": about}}]
        assert "not valid Unicode" in dropped(tmp_path, tokenizer, {"messages": [SAID, ANSWERED], "tools": tools})


@pytest.mark.parametrize(
    ("end", "answered", "asked"), [("answer", True, False), ("all", True, True), ("none", False, False)]
)
def test_what_ends_a_chat(end, answered, asked, make, tmp_path):
    open_ended = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tokenizer, _ = make(open_ended, "</s>")
    rows = [{"messages": [SAID, ANSWERED]}, {"messages": [SAID, ANSWERED, SAID]}]
    for loss_on in ("all", "answer"):
        samples = load(tmp_path, tokenizer, rows, end=end, loss_on=loss_on)
        ends = [samples.tokens_of(i, 1000)[-1] == tokenizer.end for i in range(2)]
        assert ends == [answered, asked]
    assert labels(samples, 1)[-1] == -100, "the end of what the user says is no answer"
    closing, stock = make(unmarked(CHATML), "<|im_end|>")
    samples = load(tmp_path, closing, rows, end=end)
    for i, row in enumerate(rows):
        own = stock.apply_chat_template(row["messages"], tokenize=True, return_dict=False)
        assert samples.tokens_of(i, 1000).tolist() == own
    assert any("the chat template closes answers itself" in note for note in samples.notes) == (end == "none")
