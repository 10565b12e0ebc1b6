"""What a reader of the results must know about the partition, in plain sentences."""

from collections.abc import Mapping
from typing import Any

LENGTH_CLASSES = 0.5  # from this share of log length's variance on, classes are classes of length
EQUAL, UNEQUAL = 0.02, 0.1  # Gini coefficients below and above which clients count as equal and unequal


def warnings_of(realised: Mapping[str, Any], *, classes: int, context: int, min_samples: int) -> list[str]:
    """Plain sentences about what may mislead in a realised partition (the dict that `make_partition` fills).

    Args:
        classes: how many were asked for.
        context: the model's window in tokens.
    """
    found = [
        _fewer_classes(realised, classes),
        _look_alike(realised, context),
        _confounded(realised),
        _repaired(realised, min_samples),
        _shared(realised),
        _unused(realised),
        _untested(realised),
    ]
    return [sentence for sentence in found if sentence]


def _fewer_classes(realised: Mapping[str, Any], asked: int) -> str:
    got = len(realised["classes"]["described"])
    if got == asked:
        return ""
    return f"the feature has too few distinct values for {asked} classes: there {'is' if got == 1 else 'are'} {got}"


def _look_alike(realised: Mapping[str, Any], context: int) -> str:
    """Length classes that fill the window: half their texts or more have as many tokens as the model can see."""
    described = realised["classes"]["described"]
    full = [c for c, one in enumerate(described) if one["median_tokens"] >= context]
    if len(full) < 2 or realised["length_between_classes"] < LENGTH_CLASSES:
        return ""
    cut = sum(described[c]["share_cut"] * described[c]["samples"] for c in full)
    share = cut / sum(described[c]["samples"] for c in full)
    return (
        f"classes {', '.join(str(c + 1) for c in full)} of {len(described)} look alike to the model: context {context} "
        f"cuts {share:.0%} of their texts to the same length; raise model.context or use by: seen_tokens"
    )


def _confounded(realised: Mapping[str, Any]) -> str:
    samples, tokens = realised["samples"], realised["tokens"]
    if samples["gini"] <= EQUAL and tokens["gini"] >= UNEQUAL:
        equal, unequal, spread, budget = "samples", "tokens", tokens, "tokens"
    elif tokens["gini"] <= EQUAL and samples["gini"] >= UNEQUAL:
        equal, unequal, spread, budget = "tokens", "samples", samples, "samples"
    else:
        return ""
    return (
        f"clients differ in {unequal} although they have equal {equal}: Gini {spread['gini']:.2f}, from "
        f"{spread['min']:,} to {spread['max']:,}; compare with client_mix and budget: {budget}"
    )


def _repaired(realised: Mapping[str, Any], min_samples: int) -> str:
    if not realised["moved"]:
        return ""
    return (
        f"{realised['topped_up']} of {realised['num_clients']} clients were below min_samples ({min_samples}): "
        f"{realised['moved']:,} samples moved to them from the largest clients"
    )


def _shared(realised: Mapping[str, Any]) -> str:
    if not realised["repeated"]:
        return ""
    return (
        f"clients overlap: {realised['repeated']:,} samples have several owners, and "
        f"{realised['tested_and_trained']:,} local test samples are trained on by another client"
    )


def _unused(realised: Mapping[str, Any]) -> str:
    if not realised["unused"]:
        return ""
    return f"{realised['unused']:,} of {realised['pool_samples']:,} samples belong to no client"


def _untested(realised: Mapping[str, Any]) -> str:
    if not realised["untested_clients"]:
        return ""
    return f"{realised['untested_clients']} clients have a single sample and so no local test"
