"""`PRESET@embedded`: the same study on what comes with the package, for two cores."""

from typing import Any

from cllora.presets.first import demo
from cllora.spec import Study

PAPERS_RATE = 5e-5
"""The learning rate that the demo's stands for."""

SOURCE = ("corpus", "path", "hub", "split", "text", "answer", "loss_on", "test")
"""The fields of `data` that say where texts come from and which part is read."""

STAND_INS = {
    "facebook/opt-125m": "embedded-64",
    "facebook/opt-350m": "embedded-128",
    "facebook/opt-1.3b": "embedded",
}
"""The paper's models, and what stands for each where a study has an axis over them."""

WIDTHS = {"embedded-64": 64, "embedded-128": 128, "embedded": 256}
"""How wide the stand-ins are. The two narrow ones are also shallower, and saw less text: see their cards."""

PER_PACKAGE = 50
"""Docstrings of each package: half of the demo's, since these studies have many more cells."""

PACKAGES = (
    ("numpy", "scipy", "sympy"),
    ("pandas", "pyarrow", "narwhals"),
    ("huggingface_hub", "datasets", "pydantic"),
)
"""Kinds of docstrings, in place of data sets from the hub: of mathematics, of tables, of programs."""


def at_embedded_scale(study: Study) -> Study:
    """The study with the `demo`'s model, texts, rounds and local training.

    - `model.name` is `embedded`; an axis over models becomes one over their `STAND_INS`, without those that have none.
      Of what goes with a model only `local.epochs` stays, in proportion: the fewest are the demo's.
    - `data` is the demo's docstrings, `PER_PACKAGE` of each package, with what else the study asks of texts (`limit`,
      ...); an axis over hub data sets becomes one over `PACKAGES`.
    - `lora.lora_dropout`, `local.epochs`, `local.batch_size` and `local.learning_rate` are the demo's, and
      `federation.num_rounds` is at most the demo's. Axes over them stay as they are, but for learning rates, which grow
      as the demo's has grown over the paper's.

    What the study asks (partition, axes, control, seeds, rank, participation, context) stays.
    """
    fields, small = study.to_mapping(), demo().to_mapping()
    grid, where = fields["grid"], fields["where"]
    _stand_in(fields, small["local"]["epochs"])
    data = {key: value for key, value in fields["data"].items() if key not in SOURCE}
    data |= {key: value for key, value in small["data"].items() if key in SOURCE}
    data["corpus"] = {**small["data"]["corpus"], "per_package": PER_PACKAGE}
    if "data.hub" in grid:
        where.pop("data.hub", None)
        data["corpus"] = {"name": "docstrings", "per_package": 600}
        grid = {"data.corpus.packages" if axis == "data.hub" else axis: v for axis, v in grid.items()}
        grid["data.corpus.packages"] = [list(group) for group in PACKAGES]
        fields["control"].pop("data.hub", None)
    faster = small["local"]["learning_rate"] / PAPERS_RATE
    if "local.learning_rate" in grid:
        grid["local.learning_rate"] = [float(f"{rate * faster:.6g}") for rate in grid["local.learning_rate"]]
    rounds = min(fields["federation"]["num_rounds"], small["federation"]["num_rounds"])
    return Study.parse(
        {
            **fields,
            "name": f"{study.name}@embedded",
            "model": {**fields["model"], "name": small["model"]["name"]},
            "lora": {**fields["lora"], "lora_dropout": small["lora"]["lora_dropout"]},
            "data": data,
            "federation": {**fields["federation"], "num_rounds": rounds},
            "local": {**fields["local"], **{k: small["local"][k] for k in ("epochs", "batch_size", "learning_rate")}},
            "grid": grid,
        }
    )


def _stand_in(fields: dict[str, Any], fewest: int) -> None:
    """Put stand-ins for the models of an axis and of the control, and scale the local epochs that go with them."""
    grid, control = fields["grid"], fields["control"]
    asked, goes_with = control.pop("model.name", None), fields["where"].pop("model.name", {})
    models = [model for model in grid.get("model.name", []) if model in STAND_INS]
    if not models:
        grid.pop("model.name", None)
        return
    grid["model.name"] = [STAND_INS[model] for model in models]
    if asked in STAND_INS:
        control["model.name"] = STAND_INS[asked]
    epochs = {model: goes_with[model]["local.epochs"] for model in models if "local.epochs" in goes_with.get(model, {})}
    if epochs:
        more = fewest / min(epochs.values())
        cases = {STAND_INS[model]: {"local.epochs": round(number * more)} for model, number in epochs.items()}
        fields["where"]["model.name"] = cases
