"""One thing varied at a time that the paper leaves as it is, each with clients at alpha 0.1 and, as the control, IID.

The paper's own setting is among the values. Clients do not overlap here as they most likely do there: what is asked is
what skew does, not what the paper did.
"""

from collections.abc import Mapping, Sequence

from cllora.presets import presets
from cllora.spec import Study
from cllora.studies.cllora_paper.presets import EPOCHS, REVIEWS, STAND_INS, paper_fields

AS_MANY = 3992
"""Rows of the paper's data set, its own test split included."""


def _ablation(name: str, axes: Mapping[str, Sequence[object]], **changes: object) -> Study:
    """Length skew, strong or none, at each combination of the axes' values.

    Evaluated in every second round: what these compare is where training ends.
    """
    fields = paper_fields(name, scheme="client_mix")
    grid = {**axes, "partition.alpha": [0.1, "iid"]}
    return Study.parse({**fields, "evaluation": {"every": 2}, "grid": grid, **changes})


@presets.register("ablate/rank")
def rank() -> Study:
    """Does a higher rank bear length skew better? r from 1 to 16, the scale lora_alpha / r held at 8."""
    ranks = (1, 2, 4, 8, 16)
    scale = {"lora.r": {str(r): {"lora.lora_alpha": 8 * r} for r in ranks}}
    return _ablation("ablate-rank", {"lora.r": ranks}, where=scale)


@presets.register("ablate/hyper")
def hyper() -> Study:
    """Does the effect of length skew hang on the learning rate and the batch size?"""
    axes = {"local.learning_rate": (1e-5, 5e-5, 1e-4), "local.batch_size": (4, 8, 16)}
    return _ablation("ablate-hyper", axes)


@presets.register("ablate/context")
def context() -> Study:
    """Does the effect of length skew show where more of a text is seen? Texts cut at 128 to 2,048 tokens."""
    return _ablation("ablate-context", {"model.context": (128, 256, 512, 1024, 2048)})


IN_GROUPS = {"name": "s2", "group": 256}
"""A group that most texts fit into half of would change nothing: see docs/long-context.md."""


@presets.register("ablate/context-s2")
def context_s2() -> Study:
    """Does the effect of length skew, and whether it persists where texts are not cut, depend on attention in groups
    (`s2`)? The shortest and the longest context of `ablate/context`."""
    return _ablation("ablate-context-s2", {"model.context": (128, 2048), "model.attention": ("full", IN_GROUPS)})


@presets.register("ablate/context-long")
def context_long() -> Study:
    """Does the effect of length skew persist at 4,096 tokens, beyond what the base knows, and under attention in
    groups (`s2`)? Its learned positions are interpolated there, which by itself raises the loss."""
    axes = {"model.context": (512, 2048, 4096), "model.attention": ("full", IN_GROUPS)}
    longer = {"model.context": {"4096": {"model.positions": "interpolate"}}}
    return _ablation("ablate-context-long", axes, where=longer)


@presets.register("ablate/participation")
def participation() -> Study:
    """Does length skew matter less when more clients take part in a round? 1 to 20 of 20."""
    return _ablation("ablate-participation", {"federation.clients_per_round": (1, 2, 5, 10, 20)})


@presets.register("cross/datasets")
def datasets() -> Study:
    """Does the effect of length skew carry over to other texts? Reviews, news, instructions; equally many of each."""
    news, instructions = "fancyzhx/ag_news", "databricks/databricks-dolly-15k"
    columns = {
        REVIEWS: {"data.text": "review"},
        news: {"data.text": "text"},
        instructions: {"data.text": "{instruction}\n{response}"},
    }
    data = {"hub": REVIEWS, "text": "review", "test": 0.1, "limit": AS_MANY}
    return _ablation("cross-datasets", {"data.hub": list(columns)}, data=data, where={"data.hub": columns})


@presets.register()
def features() -> Study:
    """Which feature's skew hurts most? Length, and seven others; all that have an order at equal length."""
    ordered = ("mtld", "compression", "repetition", "perplexity", "prefix_ifd", "heuristics")
    at_equal_length = {"partition.by": {name: {"partition.residual_on": "length"} for name in ordered}}
    return _ablation("features", {"partition.by": ("length", *ordered, "topic")}, where=at_equal_length)


@presets.register("quality/dose")
def dose() -> Study:
    """What does it do that some clients hold the bad texts, from none to half of all? Bad: their words are shuffled."""
    fields = paper_fields("quality-dose", scheme="client_mix")
    corrupt = {"kind": "shuffle_words", "share": 0.25}
    partition = {**fields["partition"], "by": "corrupted", "classes": 2}
    data = {**fields["data"], "corrupt": corrupt}
    return _ablation("quality-dose", {"data.corrupt.share": (0, 0.1, 0.25, 0.5)}, data=data, partition=partition)


@presets.register("size/drift", stand_ins=STAND_INS, formerly="size/mechanism")
def sizes() -> Study:
    """Do larger models bear length skew better, and is it that their clients drift apart less? One local epoch for
    each: the paper gives smaller models more, which by itself lets clients drift further. At the end also: does
    attention change, and does averaging land in a valley?"""
    fields = paper_fields("size-drift", scheme="client_mix")
    return _ablation(
        "size-drift",
        {"model.name": list(EPOCHS)},
        local={**fields["local"], "epochs": 1},
        evaluation={"every": 2, "attention": True, "surface": 9},
    )
