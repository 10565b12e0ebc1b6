"""What a reader of the results must know about the partition, in plain sentences."""

from collections.abc import Mapping
from typing import Any

from scipy.special import betaincinv

from cllora.errors import counted
from cllora.spec import PartitionSpec

LENGTH_CLASSES = 0.5  # from this share of log length's variance on, classes are classes of length
EQUAL, UNEQUAL = 0.02, 0.1  # Gini coefficients below and above which clients count as equal and unequal
BY_LENGTH = 0.05  # and above which they do under length skew, where it is no chance
NOTABLE = 0.02  # from this share of a variance on, beyond what chance has, clients count as different
CHANCE = 0.999  # and from this quantile of a random deal's on
TOGETHER = 0.1  # Cramer's V from which on two features go together
QUANTITY = "how many texts"
LENGTHS = ("length", "seen_tokens")
NEVER_BY_FEATURE = ("iid", "quantity", "natural")  # schemes that do not look at the feature


def warnings_of(realised: Mapping[str, Any], spec: PartitionSpec, *, context: int) -> list[str]:
    """Plain sentences about what may mislead in a realised partition (the dict that `make_partition` fills).

    Whatever clients differ in, beyond chance, that they were not asked to differ in is named, with its size.

    Args:
        context: the model's window in tokens.
    """
    asked = _asked(spec)
    second = realised.get("and_by")
    found = [
        _fewer_classes(len(realised["classes"]["described"]), spec.classes, "the feature"),
        "" if second is None else _fewer_classes(len(second["described"]), spec.and_classes, "the second feature"),
        _look_alike(realised, context),
        "" if QUANTITY in asked else _quantity(realised, BY_LENGTH if "length" in asked else UNEQUAL),
        "" if "length" in asked else _length(realised),
        "" if "spoiled" in asked else _doses(realised),
        "" if _second_name(spec) in {*asked, *LENGTHS} else _second(realised, _second_name(spec)),
        _go_together(realised, spec),
        _repaired(realised, spec.min_samples),
        _shared(realised),
        *_unused(realised, spec),
        _untested(realised),
    ]
    return [sentence for sentence in found if sentence]


def _asked(spec: PartitionSpec) -> set[str]:
    """What clients are to differ in: features by name, lengths as `length`, amounts as QUANTITY."""
    options = spec.options
    asked = set()
    if spec.scheme not in NEVER_BY_FEATURE and options.get("alpha") != "iid":
        asked.add(spec.by.name)
    if spec.and_by is not None and options.get("and_alpha", "iid") != "iid":
        asked.add(spec.and_by.name)
    if asked & set(LENGTHS):
        asked.add("length")
    if spec.scheme == "quantity" or options.get("quantity_alpha", "iid") != "iid":
        asked.add(QUANTITY)
    return asked


def _second_name(spec: PartitionSpec) -> str:
    return "" if spec.and_by is None else spec.and_by.name


def _fewer_classes(got: int, asked: int, name: str) -> str:
    if got == asked:
        return ""
    return f"{name} has too few distinct values for {asked} classes: there {'is' if got == 1 else 'are'} {got}"


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


def _quantity(realised: Mapping[str, Any], unequal_from: float) -> str:
    samples, tokens = realised["samples"], realised["tokens"]
    if max(samples["gini"], tokens["gini"]) < unequal_from:
        return ""
    if samples["gini"] <= EQUAL:
        equal, unequal, spread, budget = "samples", "tokens", tokens, "tokens"
    elif tokens["gini"] <= EQUAL:
        equal, unequal, spread, budget = "tokens", "samples", samples, "samples"
    else:
        return (
            f"clients differ in quantity, which was not asked for: Gini {samples['gini']:.2f} of samples (from "
            f"{samples['min']:,} to {samples['max']:,}) and {tokens['gini']:.2f} of tokens (from {tokens['min']:,} to "
            f"{tokens['max']:,}); client_mix keeps one of them equal"
        )
    return (
        f"clients differ in {unequal} although they have equal {equal}: Gini {spread['gini']:.2f}, from "
        f"{spread['min']:,} to {spread['max']:,}; compare with client_mix and budget: {budget}"
    )


def _length(realised: Mapping[str, Any]) -> str:
    """Length as the model sees it."""
    between = realised["variance_between"]["tokens"]
    if not _beyond_chance(between, realised):
        return ""
    clients = realised["clients"]
    means = [tokens / n for tokens, n in zip(clients["tokens"], clients["samples"], strict=True) if n]
    return (
        f"clients differ in text length, which was not asked for: their means are from {min(means):,.0f} to "
        f"{max(means):,.0f} tokens as the model sees them, and {_of_variance(between, realised)}"
    )


def _doses(realised: Mapping[str, Any]) -> str:
    found = realised.get("spoiled")
    if found is None or not _beyond_chance(found["variance_between"], realised):
        return ""
    doses = found["doses"]
    return (
        f"clients differ in their share of spoiled texts, which was not asked for: from {min(doses):.0%} to "
        f"{max(doses):.0%}, and {_of_variance(found['variance_between'], realised)}"
    )


def _second(realised: Mapping[str, Any], name: str) -> str:
    found = realised.get("and_by")
    if found is None or not _beyond_chance(found["variance_between"], realised):
        return ""
    return f"clients differ in {name}, which was not asked for: {_of_variance(found['variance_between'], realised)}"


def _of_variance(between: float, realised: Mapping[str, Any]) -> str:
    chance = realised["variance_between"]["chance"]
    return f"{between:.1%} of the variance lies between clients ({chance:.1%} on average in a random deal)"


def _beyond_chance(between: float, realised: Mapping[str, Any]) -> bool:
    """Whether this share of a variance between clients is one that a random deal hardly has, and that matters.

    In a random deal the share of a normal variable is distributed as Beta((K - 1) / 2, (N - K) / 2).
    """
    clients, n = realised["num_clients"], sum(realised["clients"]["samples"])
    if not 1 < clients < n:
        return False
    limit = float(betaincinv((clients - 1) / 2, (n - clients) / 2, CHANCE))
    return between > limit and between - realised["variance_between"]["chance"] >= NOTABLE


def _go_together(realised: Mapping[str, Any], spec: PartitionSpec) -> str:
    """Two features that are tied in the pool cannot be skewed apart."""
    second = realised.get("and_by")
    if second is None or second["association"] < TOGETHER:
        return ""
    return (
        f"{spec.by.name} and {_second_name(spec)} go together in the texts (Cramér's V {second['association']:.2f}): "
        "a skew of one is partly a skew of the other"
    )


def _repaired(realised: Mapping[str, Any], min_samples: int) -> str:
    if not realised["moved"]:
        return ""
    short, moved = realised["topped_up"], realised["moved"]
    were, them = ("was", "it") if short == 1 else ("were", "them")
    return (
        f"{short} of {counted(realised['num_clients'], 'client')} {were} below min_samples ({min_samples}): "
        f"{counted(moved, 'sample')} moved to {them} from the largest clients"
    )


def _shared(realised: Mapping[str, Any]) -> str:
    repeated, tested = realised["repeated"], realised["tested_and_trained"]
    if not repeated:
        return ""
    return (
        f"clients overlap: {counted(repeated, 'sample')} {_have(repeated)} several owners, and "
        f"{counted(tested, 'local test sample')} {'is' if tested == 1 else 'are'} trained on by another client"
    )


def _unused(realised: Mapping[str, Any], spec: PartitionSpec) -> list[str]:
    """Samples that are no client's, by the reason why."""
    nobody, pool = realised["without_owner"], f"of {counted(realised['pool_samples'], 'sample')}"
    others = realised["unused"] - nobody
    sentences = []
    if nobody:
        blank = f"column '{spec.options.get('column')}' is blank there"
        sentences.append(f"{nobody:,} {pool} {_have(nobody)} no owner, as {blank}, and {_belong(nobody)} to no client")
    if others:
        why = ""
        if spec.scheme == "natural":
            why = f", as their owners are not among the {spec.num_clients:,} largest (partition.num_clients)"
        sentences.append(f"{others:,} {pool} {_belong(others)} to no client{why}")
    return sentences


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _belong(number: int) -> str:
    return "belongs" if number == 1 else "belong"


def _untested(realised: Mapping[str, Any]) -> str:
    untested = realised["untested_clients"]
    if not untested:
        return ""
    return f"{counted(untested, 'client')} {_have(untested)} a single sample and so no local test"
