"""Identical work is not done twice within a study."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import transformers

import cllora
from cllora.corpus import repeats
from cllora.corpus.feature import features
from cllora.errors import UsageError
from cllora.model import load
from cllora.model.learner import Learner
from cllora.runs import study_cache
from cllora.spec import Study
from cllora.store import read_losses, read_partition, read_probe
from support.studies import interrupted, study_fields


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLLORA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def counted(monkeypatch):
    """How often each of the expensive things is done, and how often each sample is evaluated under the base."""
    done, under_base = Counter(), Counter()

    def spy(place, name):
        function = getattr(place, name)

        def counting(*args, **named):
            done[name] += 1
            return function(*args, **named)

        monkeypatch.setattr(place, name, counting)

    spy(study_cache, "load_samples")
    spy(load, "load_base")
    spy(repeats, "text_hashes")
    evaluate = Learner.evaluate

    def evaluating(self, model, adapter, ids, context=None):
        if self.is_base(adapter):
            under_base.update((self.base.model.name_or_path, int(i)) for i in ids)
        return evaluate(self, model, adapter, ids, context)

    monkeypatch.setattr(Learner, "evaluate", evaluating)
    return done, under_base


def short(model, texts, **changes):
    """The fields of a study of one cell and one round."""
    return study_fields(model, texts, **{"grid": {"partition.alpha": ["iid"]}, "federation__num_rounds": 1, **changes})


def test_cells_share_texts_features_base_and_round_zero(tiny_models, texts, tmp_path, counted):
    done, under_base = counted
    values = Counter()

    @features.register("counting")
    def counting(rows):
        """Characters, counted."""
        values.update(rows.texts)
        return np.array([len(text) for text in rows.texts], float)

    fields = study_fields(
        tiny_models("opt"),
        texts,
        partition__by="counting",
        # The model varies faster than alpha, and is loaded once all the same.
        grid={"partition.alpha": [0.5, "iid"], "model.name": [str(tiny_models("opt")), str(tiny_models("llama"))]},
        control={"partition.alpha": "iid", "model.name": str(tiny_models("opt"))},
        federation__num_rounds=1,
        seeds=2,
    )
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    assert len(list(folder.glob("*/adapter"))) == 8
    assert done == {"load_samples": 2, "load_base": 2, "text_hashes": 2}
    assert set(values.values()) == {2}  # once for each tokenizer's samples
    assert set(under_base.values()) == {1}
    for cell in (path.parent for path in folder.glob("*/adapter")):
        first = read_losses(cell).query("round == 0 and model == 'global'")
        partition = read_partition(cell)
        assert set(first["sample"]) == set(partition.global_test) | set(partition.test_ids)
        assert np.isfinite(first["nll"]).all()


def test_what_closes_a_run_is_measured_under_the_base_once(tiny_models, texts, tmp_path, monkeypatch):
    """In all cells of a seed, whatever is trained in them and under which pattern of attention."""
    done = Counter()
    for method in (Learner.token_losses, Learner.head_entropies, Learner.recall):
        name = method.__name__

        def counting(*args, name=name, function=method):
            done[name] += 1
            return function(*args)

        monkeypatch.setattr(Learner, name, counting)
    fields = study_fields(
        tiny_models("llama"),
        texts,
        data__limit=60,
        partition={"num_clients": 2, "scheme": "iid"},
        federation__num_rounds=1,
        evaluation={"by_position": True, "passkey": 1, "attention": True},
        grid={"lora.train": ["lora", "full"], "model.attention": ["full", "s2"]},
        control={},
    )
    fields["model"] |= {"context": 256, "positions": "linear"}
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    # After each of four cells; before, of the base: full attention, s2, keys and entropies once.
    assert done == {"token_losses": 2 + 4 + 2, "recall": 1 + 4, "head_entropies": 1 + 4}
    cells = sorted(path.parent for path in folder.glob("*/adapter"))
    for name in ("loss_by_position", "passkey", "attention_entropy"):
        kept = [read_probe(cell, name) for cell in cells]
        if name == "loss_by_position":
            kept = [table.query("when == 'before' and pattern == 'full'") for table in kept]
        before = [table.drop(columns=[c for c in table if "after" in c or c == "change"]) for table in kept]
        assert len(before) == 4
        assert all(table.equals(before[0]) for table in before)


def test_round_zero_from_the_file_is_round_zero_measured(tiny_models, texts, tmp_path):
    """The second cell's round 0 is that of a study of its own."""
    both = Study.parse(short(tiny_models("opt"), texts, grid={"partition.alpha": [0.5, "iid"]}))
    alone = Study.parse(short(tiny_models("opt"), texts))
    found = [
        read_losses(cllora.run(study, tmp_path / name) / "alpha=iid,seed=0").query("round == 0")
        for name, study in (("both", both), ("alone", alone))
    ]
    assert found[0]["sample"].tolist() == found[1]["sample"].tolist()
    np.testing.assert_allclose(found[0]["nll"], found[1]["nll"], rtol=1e-5)


def test_without_local_models_only_the_global_one_is_evaluated(tiny_models, texts, tmp_path):
    fields = short(tiny_models("opt"), texts, evaluation={"local_models": False})
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    assert set(read_losses(folder / "alpha=iid,seed=0")["model"]) == {"global"}
    assert cllora.report(folder / "alpha=iid,seed=0").stat().st_size > 10_000


def test_local_models_on_their_own_test_texts_alone_are_those_of_before_there(tiny_models, texts, tmp_path):
    found = {}
    for asked in (True, "own"):
        fields = short(tiny_models("opt"), texts, evaluation={"local_models": asked})
        found[asked] = cllora.run(Study.parse(fields), tmp_path / str(asked)) / "alpha=iid,seed=0"
    both, own = (read_losses(found[asked]).query("model.str.startswith('local/')") for asked in (True, "own"))
    partition = read_partition(found["own"])
    tests = {f"local/{client}": set(partition.test(client)) for client in range(partition.num_clients)}
    assert {model: set(rows["sample"]) for model, rows in own.groupby("model")} == {
        model: tests[model] for model in both["model"].unique()
    }
    own, both = (rows.set_index(["round", "model", "sample"])["nll"] for rows in (own, both))
    np.testing.assert_allclose(own, both.loc[own.index], rtol=1e-5)
    gaps, before = (cllora.results(found[asked]).frame("gaps") for asked in ("own", True))
    columns = ["own_local", "own_global", "own_gap", "own_base", "own_change", "test_global"]
    np.testing.assert_allclose(gaps[columns], before[columns], rtol=1e-5, atol=1e-5)
    assert gaps[["test_local", "test_gap"]].isna().all(axis=None)
    assert len(gaps) == 2
    assert cllora.report(found["own"]).stat().st_size > 10_000


def test_other_weights_under_the_same_name_are_refused(tiny_models, texts, tmp_path):
    shutil.copytree(tiny_models("opt"), tmp_path / "base")
    fields = short(tmp_path / "base", texts)
    cllora.run(Study.parse(fields), tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.model.decoder.layers[0].fc1.weight.data *= 1.01
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(UsageError, match=r"weights or config of .* have changed since"):
        cllora.run(Study.parse({**fields, "seeds": 2}), tmp_path / "out")


def most_rows_of_the_embedding(model):
    """All but every 512th number: a fingerprint that samples them sees none of it."""
    flat = model.get_input_embeddings().weight.data.view(-1)
    kept = flat[::512].clone()
    flat.add_(0.5)
    flat[::512] = kept


def one_number(model):
    model.model.decoder.layers[1].fc2.bias.data[3] += 1e-3


def another_activation(model):
    model.config.activation_function = "gelu"


@pytest.mark.parametrize("change", [most_rows_of_the_embedding, one_number, another_activation])
def test_whatever_changed_in_a_base_its_losses_are_not_those_of_before(tiny_models, texts, tmp_path, change):
    """Half old, half new losses under one name are what nobody would notice."""
    shutil.copytree(tiny_models("opt"), tmp_path / "base")
    fields = short(tmp_path / "base", texts)
    study = Study.parse(fields)
    interrupted(study, tmp_path / "out", round=0)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    change(model)
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(UsageError, match=r"weights or config of .* have changed"):
        cllora.run(study, tmp_path / "out")
    (tmp_path / "out" / "pins.json").unlink()  # even so its losses are measured anew
    shutil.rmtree(tmp_path / "out" / "alpha=iid,seed=0")
    mixed, fresh = (cllora.run(study, tmp_path / name) / "alpha=iid,seed=0" for name in ("out", "fresh"))
    assert read_losses(mixed).equals(read_losses(fresh))


def test_what_decides_no_loss_is_no_part_of_a_base(tiny_models, tmp_path):
    from cllora.model.load import load_base
    from cllora.spec import LoraSpec, ModelSpec

    def fingerprint(folder):
        return load_base(ModelSpec(name=str(folder), precision="float32", device="cpu"), LoraSpec()).fingerprint

    copy = shutil.copytree(tiny_models("opt"), tmp_path / "elsewhere")
    file = copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "transformers_version": "5.0.0", "use_cache": False}))
    assert fingerprint(copy) == fingerprint(tiny_models("opt"))


def test_a_users_code_that_changed_is_refused(tiny_models, texts, tmp_path):
    code = tmp_path / "features.py"
    code.write_text(
        "from cllora.corpus import features\n@features.register()\ndef ones_once(rows):\n    return rows.tokens * 0.0\n"
    )
    fields = short(tiny_models("opt"), texts, load=[str(code)])
    cllora.run(Study.parse(fields), tmp_path / "out")
    code.write_text(code.read_text() + "# another\n")
    with pytest.raises(
        UsageError, match=r"features\.py, which the study loads, or what it imports beside it, has changed since"
    ):
        cllora.run(Study.parse({**fields, "seeds": 2}), tmp_path / "out")


def test_what_a_users_file_imports_beside_it_is_part_of_it(tmp_path):
    from cllora.registry import code_files

    (tmp_path / "helpers").mkdir()
    for name, code in {
        "mine.py": "import json, other\nfrom helpers import deep\ndef f():\n    import late",
        "other.py": "import mine",
        "late.py": "",
        "unused.py": "",
        "helpers/__init__.py": "",
        "helpers/deep.py": "",
    }.items():
        (tmp_path / name).write_text(code)
    found = {str(path.relative_to(tmp_path)) for path in code_files(tmp_path / "mine.py")}
    assert found == {"mine.py", "other.py", "late.py", "helpers/__init__.py", "helpers/deep.py"}


def test_a_feature_of_the_bases_losses_is_of_that_pattern_of_evaluation(tiny_models, texts, tmp_path):
    """Cells that share their texts do not share what another pattern of attention made of them."""
    from cllora.runs.partitions import partitions_of

    fields = study_fields(tiny_models("opt"), texts, partition__by="perplexity", grid={}, control={})
    plain = Study.parse(fields).base
    other = Study.parse({**fields, "evaluation": {"pattern": {"name": "local", "group": 4}}}).base
    together, alone = partitions_of([plain, other])[1], partitions_of([other])[0]
    assert together.heterogeneity.classes == alone.heterogeneity.classes
    assert together.heterogeneity.classes != partitions_of([plain])[0].heterogeneity.classes


def test_a_damaged_file_of_base_losses_is_one_line(tiny_models, texts, tmp_path):
    fields = short(tiny_models("opt"), texts)
    folder = cllora.run(Study.parse(fields), tmp_path / "out")
    (path,) = folder.glob("base-*.npy")
    for content in (b"", b"rubbish", None):
        if content is None:
            np.save(path, np.zeros(10))
        else:
            path.write_bytes(content)
        with pytest.raises(UsageError, match="is damaged; remove it and run again"):
            cllora.run(Study.parse({**fields, "seeds": 2}), tmp_path / "out")
