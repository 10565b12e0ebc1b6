"""YAML means what it says: every reading that surprises is refused by its line; what is written reads back."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cllora.errors import UsageError
from cllora.presets import find_study
from cllora.runs.study import check
from cllora.spec import Study, load_study_file, yaml
from cllora.spec.scalars import to_yaml
from cllora.spec.written import read_setting
from cllora.spec.yaml import read_yaml


def read(text, **_):
    return read_yaml(text, lambda line: f"line {line}")[0]


def refusal(tmp_path, text, *settings):
    path = tmp_path / "s.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as refused:
        check(load_study_file(path, settings))
    said = str(refused.value).replace(f"{tmp_path}/", "")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("model:\n  context: 64\n  context: 65", 3, ["'context' is given twice"]),
        ("model: {r: 1}\nmodel: {}", 2, ["'model' is given twice"]),
        ("b: &b {context: 64}\nmodel: {<<: *b, context: 65}", 2, ["'context' is given twice"]),
        ("model:\n  context: 010", 2, ["010", "without leading zeros", '"010"']),
        ("model:\n  context: 1:30", 2, ["1:30", "decimal", '"1:30"']),
        ("model: {context: 0x1F}", 1, ["0x1F", "decimal"]),
        ("model: {context: 0b1}", 1, ["0b1", "decimal"]),
        ("model: {context: 1_000}", 1, ["1_000", "without underscores"]),
        ("model: {context: true}", 1, ["model.context", "write a number"]),
        ("model:\n  context: '64'", 2, ["write the number without quotes"]),
        ("model: {context: 64.5}", 1, ["model.context", "64.5"]),
        ("model: {checkpointing: 1}", 1, ["write true or false"]),
        ("model: {checkpointing: yes}", 1, ["true or false"]),
        ("evaluation: {local_models: owns}", 1, ["true, false or own"]),
        ("seeds: true", 1, ["seeds: give a number"]),
        ("seeds: [true, 2]", 1, ["seeds", "write a number"]),
        ("partition:\n  alpha: true", 2, ["alpha", "positive number or iid"]),
        ("data: {corpus: {name: docstrings, per_package: true}}", 1, ["per_package", "write a number"]),
        ("data: {corpus: {name: docstrings, per_package: .inf}}", 1, ["per_package", "finite"]),
        ("name: 123", 1, ['write it in quotes: "123"']),
        ("name: 1.10", 1, ['write it in quotes: "1.10"']),
        ("name: no", 1, ['"no"']),
        ("name: 2024-01-01", 1, ['"2024-01-01"']),
        ("local: {learning_rate: 1e999}", 1, ["beyond"]),
        ("grid:\n  partition.alpha: [1, 1.0]", 2, ["1 and 1.0 are one value"]),
        ("grid:\n  partition.alpha: [0.001, 1e-3]", 2, ["twice"]),
        ("grid: {partition.alpha: ['1', 1]}", 1, ["1 is given twice"]),
        ("grid: {federation.strategy: [fedavg, {name: fedavg}]}", 1, ["twice"]),
        ("grid: {partition.by: [length, {name: length, unit: characters}]}", 1, ["same experiment"]),
        ("data:\n  text: {text}", 2, ['write text in quotes: "{text}"']),
        ("data:\n  text: {question} {answer}", 2, ['write text in quotes: "{question} {answer}"']),
        ("data:\n  text: [text]", 2, ['write it in quotes: "[text]"']),
        ("data:\n  text: *text", 2, ['"*text"']),
        ("data:\n  answer: &text", 2, ["anchor"]),
        ("data:\n  text: @text", 2, ['"@text"']),
        ("data:\n  text: %text", 2, ['"%text"']),
        ("data:\n  text: !text a", 2, ["begins with !"]),
        ("data:\n  text: Question #1", 2, ['"Question #1"']),
        ("data:\n  text: Q: {q}", 2, ['"Q: {q}"']),
        ("data:\n\ttext: a", 2, ["spaces, not tabs"]),
        ("seeds: 1\n---\nseeds: 2", 2, ["second document"]),
        ("seeds: 1\n...\nmore", 3, ["not YAML"]),
        ("seeds: &a [*a]", 1, ["contains itself"]),
        ("seeds: 1\r\nmodel: {context: 010}\r\n", 2, ["010"]),
        ("model:\n", 1, ["no value"]),
        ("grid: ~", 1, ["no value"]),
        ("lora: {r: ~}", 1, ["no value"]),
        ("data: {path: ''}", 1, ["empty"]),
        ("data: {path: ~}", 1, ["give one of corpus, path and hub"]),
        (b"seeds: 1\nname: \xe9", 2, ["UTF-8"]),
        (b"seeds: 1\nname: a\0b", 2, ["U+0000"]),
        ("name: a # so\u2028seeds: 3", 1, ["U+2028", '"\\u2028"']),
        ("model: {}\nname: a # so\x85seeds: 3", 2, ["U+0085"]),
        ("data:\n  text: a\u2029b", 2, ["U+2029"]),
        ("name: a # so\rseeds: 3\n", 1, ["U+000D"]),
        ("data:\n  text: “{title} {body}”", 2, ["“ is no quote in YAML", '"{title} {body}"']),
        ("data:\n  text: ‘{title}’", 2, ["‘ is no quote in YAML", '"{title}"']),
        ("data:\n  text: „{title}“", 2, ['"{title}"']),
        ("data:\n  text: «\xa0{title}\xa0»", 2, ['"{title}"']),
        ("data:\n  text: “Question #1: {q}”", 2, ["“ is no quote in YAML"]),
        ("data:\n  text: “Q: {q}”", 2, ["“ is no quote in YAML"]),
        ("data: {text: “{title} {body}”}", 1, ["“ is no quote in YAML"]),
        ("data: {path: [“a b”]}", 1, ["“ is no quote in YAML", '"a b"']),
        ("“name”: a", 1, ["“ is no quote in YAML"]),
        ("data:\n  text: a\xa0", 2, ['write "a"']),
        ("grid:\n  lora.target_modules: [[q_proj, v_proj], [v_proj, q_proj]]", 1, ["same experiment"]),
        ("grid:\n  lora.modules_to_save: [[a, b], [b, a]]", 1, ["same experiment"]),
        ("grid:\n  data.path: [a.jsonl, ./a.jsonl]", 1, ["same experiment"]),
        ("grid:\n  data.path: [b/../a.jsonl, [a.jsonl]]", 1, ["same experiment"]),
        ("grid:\n  data.path: [[a, b], [./a, b/]]", 1, ["same experiment"]),
        ("data: {path: a}\ngrid:\n  data.test: [t.jsonl, ./t.jsonl]", 2, ["same experiment"]),
        ("grid:\n  lora.start: [runs/a, runs//a]", 1, ["same experiment"]),
        ("grid:\n  model.name: [./m, m/../m/.]", 1, ["same experiment"]),
        ("grid:\n  local.contexts: [[64], [64, 64]]", 1, ["same experiment"]),
        ("grid:\n  local.contexts: [[64, 32], [64, 32, 64, 32]]", 1, ["same experiment"]),
        ("model: {context: 64}\ngrid: {local.contexts: [[64], ~]}", 2, ["same experiment"]),
        ("local: {contexts: [64, 32, 16]}\npartition: {num_clients: 2}", 1, ["has 3 contexts", "num_clients is 2"]),
        ("local: {learning_rate: 0,5}", 1, ["write 0.5"]),
        ("local:\n  learning_rate: 0,5", 2, ["write 0.5"]),
        ("data: {limit: 1,000}", 1, ["write 1000"]),
        ("data:\n  limit: 1,000,000", 2, ["write 1000000"]),
        ("lora: {r:8}", 1, ["a space behind the colon: r: 8"]),
        ("lora:\n  r:8", 1, ["a space goes behind the colon: r: 8"]),
        ("lora: {r:\t8}", 1, ["a space goes behind a colon, not a tab"]),
        ("data: {path: [12, a]}", 1, ["data.path.0: ", 'write it in quotes: "12"']),
        ('name: "a\\0b"', 1, ["NUL"]),
        ('name: "\\ud800"', 1, ["surrogate"]),
    ],
)
def test_what_may_mean_something_else_is_refused_with_its_line(tmp_path, text, line, parts):
    said = refusal(tmp_path, text)
    assert said.startswith(f"s.yaml, line {line}: "), said
    for part in parts:
        assert part in said


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1", "5", "[" * 600])
def test_what_is_no_study_is_refused_by_its_file(tmp_path, text):
    assert refusal(tmp_path, text).startswith("s.yaml")


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml, "MOST_VALUES", 5_000)
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)), "z: *a8"]
    assert "aliases" in refusal(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("model.context=010", ["010"]),
        ("data.text={text}", ['"{text}"']),
        ("data.text=Question #1", ['"Question #1"']),
        ("data.text=Question # 1", ['"Question # 1"']),
        ("data.text=Q: a", ['"Q: a"']),
        ("data.text=“{title}”", ["“ is no quote in YAML", '"{title}"']),
        ("federation.strategy.server_lr=0.1", ["strategy 'fedavg' has no option 'server_lr'"]),
        ("evaluation.pattern.window=3", ["pattern 'full' has no option 'window'"]),
        ("data.text=", ["no value"]),
        ("model.contxt=1", ["did you mean 'context'"]),
        ("partition.alpha=true", ["positive number or iid"]),
        ("grid.partition.alpha=5", ["takes a list"]),
        ("grid.partition.alpha=[1,1.0]", ["one value"]),
        ("grid.foo.bar=[1]", ["unknown field 'foo'"]),
        ("seeds.x=1", ["seeds"]),
        ("model.name.x=1", ["model.name"]),
        ("where.model.name=1", ["where"]),
        ("control.foo=1", ["no axis"]),
        ("report_to=tensorbord", ["did you mean 'tensorboard'"]),
        ("data.split=test", ["no splits"]),
        ("data.subset=x", ["subset"]),
    ],
)
def test_a_setting_is_refused_by_itself(tmp_path, setting, parts):
    said = refusal(tmp_path, "{}", setting)
    assert said.startswith(f"--set {setting.strip()}: "), said
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("data.text=Q {a}\nA {b}", '"Q {a}\\nA {b}"'),
        ('data.text="Q {a}\nA {b}"', '"Q {a}\\nA {b}"'),
        ("data.path=[a\nb]", '"a\\nb"'),
    ],
)
def test_a_line_break_in_a_setting_is_none_of_its_spaces(tmp_path, setting, meant):
    assert refusal(tmp_path, "{}", setting).endswith(f"a line break would become a space; write {meant}")
    assert read_setting(meant, "--set")[0] == json.loads(meant)


def test_an_option_is_set_of_what_is_there_by_default(tmp_path):
    corpus = Study.parse({}, ["data.corpus.per_package=10"]).base.data.corpus
    assert (corpus.name, corpus.options) == ("docstrings", {"per_package": 10})
    axis = "grid: {federation.strategy: [fedavg, fedadam]}"
    assert "give server_lr there" in refusal(tmp_path, axis, "federation.strategy.server_lr=0.1")
    named = "federation: {strategy: fedadam}\n"
    assert "give server_lr there" in refusal(tmp_path, named + axis, "federation.strategy.server_lr=0.1")
    order = ("federation.strategy.server_lr=0.1", "federation.strategy=fedadam")
    assert "takes the place of" in refusal(tmp_path, named, *order)
    assert Study.parse({}, reversed(order)).base.federation.strategy.options == {"server_lr": 0.1}


def test_a_grid_of_texts_needs_no_text_beside_it():
    for source in ("path", "hub"):
        cells = Study.parse({"grid": {f"data.{source}": ["a", "b"]}}).cells()
        assert [(getattr(cell.experiment.data, source), cell.experiment.data.corpus) for cell in cells] == [
            ("a", None),
            ("b", None),
        ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {path: []}", "data.path: there is nothing in here; give a value, or leave the field out"),
        ("data: {text: null}", "data.text: there is no value here; give one, or leave the field out"),
        ("lora: {train: []}", "lora.train: Input should be a valid string"),
        ("data: {test: 5}", "data.test: Input should be less than 1 (got 5)"),
        ("data: {test: []}", "data.test: Input should be a valid number or a valid string"),
        (
            "lora: {target_modules: []}",
            "lora.target_modules: there is nothing in here; give a value, or leave the field out",
        ),
        ("local: {contexts: {a: 1}}", "local.contexts.a: Input should be greater than or equal to 2 (got 1)"),
        ("data: {corrupt: {share: 0.1}}", "data.corrupt.kind: there is no value here; give one"),
    ],
)
def test_advice_is_of_the_field_and_holds(tmp_path, text, said):
    assert refusal(tmp_path, text) == f"s.yaml, line 1: {said}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("load: [a.py, a.py]", ["a.py is given twice"]),
        ("report_to: [tensorboard, tensorboard]", ["given twice"]),
        ("data: {corpus: {name: docstrings, packages: [numpy, numpy]}}", ["'numpy' is given twice"]),
        ("grid: {partition.alhpa: [1]}", ["did you mean 'alpha'"]),
        ("grid: {federation.strategy.tau: [1]}", ["strategy 'fedavg' has no option 'tau'"]),
        ("grid: {load: [[a.py]]}", ["load is no axis"]),
        ("grid: {partition.by.unit: [words], partition.by: [length]}", ["overruled"]),
        ("grid: {local.epochs: [1, 2]}\nlocal: {steps: 5}", ["local.epochs changes nothing"]),
        ("where: {seed: {0: {local.epochs: 3}}}", ["unknown field 'seed'"]),
        ("where: {model.name: {embedded: {seed: 3}}}", ["same in all cells"]),
        ("where: {model.name: {embedded: {}}}", ["nothing goes with"]),
        ("where: {lora.r: {2: {local.epochs: 2}}, model.name: {embedded: {local.epochs: 3}}}", ["2 and 3"]),
        ("grid: {partition.alpha: [1, iid]}\ncontrol: {partition.alpha: true}", ["never True"]),
    ],
)
def test_whatever_is_named_and_nothing_matches_is_refused(tmp_path, text, parts):
    said = refusal(tmp_path, text)
    for part in parts:
        assert part in said


def test_a_control_is_what_the_grid_calls_it():
    study = Study.parse({"grid": {"partition.alpha": [1.0, "iid"]}, "control": {"partition.alpha": 1}})
    assert repr(study.control) == "{'partition.alpha': 1.0}"


def test_plain_values_are_what_json_has():
    text = "[1, -2, 1e-5, 1.5e3, .5, 0.1, true, null, ~, iid, 1.2.3, '010', \"{text}\", a#b, N/A, y]"
    wanted = [1, -2, 1e-5, 1500.0, 0.5, 0.1, True, None, None, "iid", "1.2.3", "010", "{text}", "a#b", "N/A", "y"]
    assert read(text) == wanted
    assert [type(value) for value in read(text)] == [type(value) for value in wanted]
    assert read("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert read("alpha: 1 # strong\nname: a # my study") == {"alpha": 1, "name": "a"}
    assert read("{007: 1, no: 2, 1.10: 3}") == {"007": 1, "no": 2, "1.10": 3}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_an_encoding_are_understood(tmp_path, encoding):
    (tmp_path / "s.yaml").write_bytes("name: übung".encode(encoding))
    assert load_study_file(tmp_path / "s.yaml").name == "übung"


def test_json_studies(tmp_path):
    path = tmp_path / "study.json"
    path.write_text('{"name":\t"a", "lora": {"r": 4}}')
    assert load_study_file(path).base.lora.r == 4
    for text, said in (('{"a": 1, "a": 2}', "twice"), ('{"lora": {"r": NaN}}', "NaN"), ("{\n'a'}", "line 2")):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            load_study_file(path)


LOOKALIKES = [
    *("010", "1e5", "1E-5", "1:30", "0x1F", "0b1", "0o7", "1_000", "yes", "No", "on", "true", "~", "null", "", " "),
    *("2024-01-01", ".inf", ".nan", "=", "<<", "{text}", "{a} {b}", "[a]", "*", "&a", "@", "%", "a #b", "a: b", "- a"),
    *(
        "'",
        '"',
        "\t",
        "\n",
        "a\n b\n",
        "\x85",
        "\u2028",
        "\x1b[1m",
        "\ufeff",
        "😀",
        "“",
        "„a“",
        "a\xa0",
        "a\u2028b",
        "-",
        "?",
        "|",
        ">",
        "!x",
        "0.10",
        "+1",
    ),
]
texts = st.sampled_from(LOOKALIKES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
data = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(data, st.booleans())
def test_what_is_written_reads_back(value, ascii_only):
    found = read(to_yaml({"a": value}, ascii_only=ascii_only))
    assert found == {"a": value}
    assert repr(found) == repr({"a": value})


@given(texts.filter(str.strip), texts.filter(str.strip))
def test_a_study_reads_back(text, value):
    study = Study.parse({"data": {"path": "x", "text": text}, "partition": {"by": {"name": "length", "unit": value}}})
    assert Study.parse(read(study.to_yaml())) == study


PRESET_IDS = json.loads((Path(__file__).parent / "preset_ids.json").read_text())


@pytest.mark.parametrize("name", PRESET_IDS)
def test_presets_are_the_experiments_that_they_were_in_0_1_0(name):
    """`preset_ids.json` was made by the code of commit 8cce163: names and ids of all cells, and the first of them.

    All but the demo, which is another study since.
    """
    before = PRESET_IDS[name]
    cells = [(cell.name, cell.experiment.id) for cell in find_study(name).cells()]
    assert (len(cells), list(cells[0])) == (before["cells"], before["first"])
    lines = "\n".join(f"{cell} {identity}" for cell, identity in cells)
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == before["digest"]


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
def test_what_ends_a_line_in_yaml_alone_is_refused(tmp_path, character):
    """Otherwise a comment becomes a setting that no editor shows."""
    file = tmp_path / "s.yaml"
    file.write_text(f"name: a\n# hint {character}seeds: 2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=rf"line 2: the character U\+{ord(character):04X}"):
        load_study_file(file)


@pytest.mark.parametrize("text", ["\u201ctitle body\u201d", "\u2018a\u2019", "\u00aba\u00bb", "\u201ea\u201c"])
def test_printed_quotes_are_no_quotes(tmp_path, text):
    file = tmp_path / "s.yaml"
    file.write_text(f"name: a\ndata: {{path: x.jsonl}}\nlocal: {{epochs: 1}}\nload: [{text}]\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 4: .* is no quote in YAML"):
        load_study_file(file)


def test_where_sets_a_source_of_texts_in_place_of_the_default():
    written = {"grid": {"partition.alpha": [0.1, 1]}, "where": {"partition.alpha": {"0.1": {"data.path": "a.jsonl"}}}}
    first, second = (cell.experiment.data for cell in Study.parse(written).cells())
    assert (first.path, first.corpus) == ("a.jsonl", None)
    assert (second.path, second.corpus.name) == (None, "docstrings")
    (first, _) = (cell.experiment.data for cell in Study.parse({**written, "data": {"hub": "a/b"}}).cells())
    assert (first.path, first.hub) == ("a.jsonl", None)
    (first, _) = (cell.experiment.data for cell in Study.parse(written, ["data.hub=a/b"]).cells())
    assert (first.path, first.hub) == (None, "a/b")
    both = {"partition.alpha": {"0.1": {"data.path": "a.jsonl"}}, "local.epochs": {"1": {"data.hub": "a/b"}}}
    with pytest.raises(UsageError, match=r"data\.path and data\.hub are both to be set in one cell"):
        Study.parse({**written, "where": both, "local": {"epochs": 1}})
    with pytest.raises(UsageError, match=r"data\.hub is overruled by a later axis or by where"):
        Study.parse({"grid": {"data.hub": ["a/b", "c/d"]}, "where": {"data.hub": {"a/b": {"data.path": "a"}}}})


def test_names_of_bases_are_no_paths():
    grid = {"model.name": ["embedded", "./embedded"]}
    assert len(Study.parse({"grid": grid}).cells()) == 2
