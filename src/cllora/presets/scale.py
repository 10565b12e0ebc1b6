"""`PRESET@embedded`: the same study on what comes with the package, for two cores."""

from cllora.presets.registry import stand_ins
from cllora.spec import Fields, Study

FASTER = 60
"""Learning rates at embedded scale over those of large pretrained models: 3e-3 over 5e-5."""

SMALL: Fields = {
    "model": {"name": "embedded", "context": 128},
    "lora": {"lora_dropout": 0},
    "data": {"corpus": {"name": "docstrings", "per_package": 50}},
    "federation": {"num_rounds": 8},
    "local": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
}
"""The model, texts, rounds and local training of studies at embedded scale."""

LONG: Fields = {
    "model": {"name": "embedded-rotary", "context": 4096},
    "lora": {"lora_dropout": 0},
    "data": {"corpus": "long_texts"},
    "federation": {"num_rounds": 4},
    "local": {"steps": 10, "batch_size": 1, "learning_rate": 1.2e-3},
    "evaluation": {"passkey": 1},
}
"""In place of `SMALL` for studies that stretch their base (`model.positions`): a rotary base at eight times its 512
tokens, on long texts. 1.2e-3 is `FASTER` than the 2e-5 that large models are stretched with."""

LOCAL = ("epochs", "steps", "batch_size", "learning_rate")
"""The fields of local training that are taken over, where the small study gives them."""

SOURCE = ("corpus", "path", "hub", "split", "text", "answer", "loss_on", "end", "template", "test")
"""The fields of `data` that say where texts come from and which part is read."""

PACKAGES = (
    ("numpy", "scipy", "sympy"),
    ("pandas", "pyarrow", "narwhals"),
    ("huggingface_hub", "datasets", "pydantic"),
)
"""Kinds of docstrings, in place of data sets from the hub: of mathematics, of tables, of programs."""


def at_embedded_scale(study: Study) -> Study:
    """The study with the model, texts, rounds and local training of `SMALL`; those of `LONG` if it stretches its base.

    - `model.name` is `embedded`; an axis over models becomes one over their stand-ins, which presets state, without
      those that have none. Of what goes with a model only `local.epochs` stays, in proportion: the fewest are those of
      `SMALL`.
    - `data` is docstrings, so many of each package, with what else the study asks of texts (`limit`,
      ...); an axis over hub data sets becomes one over `PACKAGES`.
    - `lora.lora_dropout`, `local.epochs`, `local.batch_size` and `local.learning_rate` are those of `SMALL`, and
      `federation.num_rounds` is at most its. Axes over them stay as they are, but for learning rates, which are
      `FASTER` times as high.
    - A stretched base is `embedded-rotary` at `LONG`'s context, with its steps; `evaluation.passkey` is at most its.

    What the study asks (partition, axes, control, seeds, rank, participation, context) stays.
    """
    fields = study.to_mapping()
    stretched = study.base.model.stretched
    small = Study.parse(LONG if stretched else SMALL).to_mapping()
    _stand_in(fields, small["local"]["epochs"])
    _small_texts(fields, small["data"])
    rates = "local.learning_rate"
    if rates in fields["grid"]:
        fields["grid"][rates] = [float(f"{rate * FASTER:.6g}") for rate in fields["grid"][rates]]
    rounds = min(fields["federation"]["num_rounds"], small["federation"]["num_rounds"])
    if stretched:
        fields["model"]["context"] = small["model"]["context"]
        asked = fields["evaluation"].get("passkey", 0)
        fields["evaluation"]["passkey"] = min(asked, small["evaluation"]["passkey"])
    return Study.parse(
        {
            **fields,
            "name": f"{study.name}@embedded",
            "model": {**fields["model"], "name": small["model"]["name"]},
            "lora": {**fields["lora"], "lora_dropout": small["lora"]["lora_dropout"]},
            "federation": {**fields["federation"], "num_rounds": rounds},
            "local": {**fields["local"], **{key: small["local"][key] for key in LOCAL if key in small["local"]}},
        }
    )


def _small_texts(fields: Fields, small: Fields) -> None:
    """Put the small study's texts, and kinds of docstrings for an axis over data sets of the hub."""
    data = {key: value for key, value in fields["data"].items() if key not in SOURCE}
    data |= {key: value for key, value in small.items() if key in SOURCE}
    if "data.hub" in fields["grid"]:
        data["corpus"] = {"name": "docstrings", "per_package": 600}
        kinds = ("data.corpus.packages", [list(group) for group in PACKAGES])
        fields["grid"] = dict(kinds if axis[0] == "data.hub" else axis for axis in fields["grid"].items())
        fields["where"].pop("data.hub", None)
        fields["control"].pop("data.hub", None)
    fields["data"] = data


def _stand_in(fields: Fields, fewest: int) -> None:
    """Put stand-ins for the models of an axis and of the control, and scale the local epochs that go with them."""
    grid, control = fields["grid"], fields["control"]
    asked, goes_with = control.pop("model.name", None), fields["where"].pop("model.name", {})
    smaller = {model: name for stand_in in stand_ins() for model, name in stand_in.models.items()}
    models = [model for model in grid.get("model.name", []) if model in smaller]
    if not models:
        grid.pop("model.name", None)
        return
    grid["model.name"] = [smaller[model] for model in models]
    if asked in smaller:
        control["model.name"] = smaller[asked]
    epochs = {model: goes_with[model]["local.epochs"] for model in models if "local.epochs" in goes_with.get(model, {})}
    if epochs:
        more = fewest / min(epochs.values())
        cases = {smaller[model]: {"local.epochs": round(number * more)} for model, number in epochs.items()}
        fields["where"]["model.name"] = cases
