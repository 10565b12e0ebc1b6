"""Confounds of a partition: what clients differ in that they were not asked to differ in, in plain sentences."""

from scipy.special import betaincinv

from cllora.corpus import is_length
from cllora.errors import counted
from cllora.partition.pool import partitioners
from cllora.spec import PartitionSpec
from cllora.types import Heterogeneity

LENGTH_CLASSES = 0.5  # from this share of log length's variance on, classes are classes of length
EQUAL, UNEQUAL = 0.02, 0.1  # Gini coefficients below and above which clients count as equal and unequal
BY_LENGTH = 0.05  # and above which they do under length skew, where it is no chance
NOTABLE = 0.02  # from this share of a variance on, beyond what chance has, clients count as different
CHANCE = 0.999  # and from this quantile of a random deal's on
TOGETHER = 0.1  # Cramer's V from which on two features go together
QUANTITY = "how many texts"


def confounds(measured: Heterogeneity, spec: PartitionSpec, *, context: int) -> tuple[str, ...]:
    """The confounds of a partition, in plain sentences.

    Whatever clients differ in, beyond chance, that they were not asked to differ in is named, with its size.

    Args:
        context: the model's window in tokens.
    """
    asked, second, second_name = _asked(spec), measured.and_by, _second_name(spec)
    sentences = [
        _fewer_classes(len(measured.classes.described), spec.classes, "the feature"),
        "" if second is None else _fewer_classes(len(second.described), spec.and_classes, "the second feature"),
        _look_alike(measured, context),
        "" if QUANTITY in asked else _quantity(measured, BY_LENGTH if "length" in asked else UNEQUAL),
        "" if "length" in asked else _length(measured),
        "" if "corrupted" in asked else _doses(measured),
        "" if second_name in asked or is_length(second_name) else _second(measured, second_name),
        _go_together(measured, spec),
        _topped_up(measured, spec.min_samples),
        _shared(measured),
        *_unused(measured, spec),
        _untested(measured),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _asked(spec: PartitionSpec) -> set[str]:
    """The factors in which clients are to differ: features by name, lengths as `length`, amounts as QUANTITY."""
    options = spec.options
    asked = set()
    if partitioners.facts(spec.scheme).by_feature and options.get("alpha") != "iid":
        asked.add(spec.by.name)
    if spec.and_by is not None and options.get("and_alpha", "iid") != "iid":
        asked.add(spec.and_by.name)
    if any(is_length(name) for name in asked):
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


def _look_alike(measured: Heterogeneity, context: int) -> str:
    """Length classes that fill the window: half their texts or more have as many tokens as the model can see."""
    described = measured.classes.described
    full = [c for c, text_class in enumerate(described) if text_class.median_tokens >= context]
    if len(full) < 2 or measured.length_between_classes < LENGTH_CLASSES:
        return ""
    cut = sum(described[c].share_cut * described[c].samples for c in full)
    share = cut / sum(described[c].samples for c in full)
    return (
        f"classes {', '.join(str(c + 1) for c in full)} of {len(described)} look alike to the model: context {context} "
        f"cuts {share:.0%} of their texts to the same length; raise model.context or use by: seen_tokens"
    )


def _quantity(measured: Heterogeneity, unequal_from: float) -> str:
    samples, tokens = measured.samples, measured.tokens
    if max(samples.gini, tokens.gini) < unequal_from:
        return ""
    if samples.gini <= EQUAL:
        equal, unequal, spread, budget = "samples", "tokens", tokens, "tokens"
    elif tokens.gini <= EQUAL:
        equal, unequal, spread, budget = "tokens", "samples", samples, "samples"
    else:
        return (
            f"clients differ in quantity, which was not asked for: Gini {samples.gini:.2f} of samples (from "
            f"{samples.min:,} to {samples.max:,}) and {tokens.gini:.2f} of tokens (from {tokens.min:,} to "
            f"{tokens.max:,}); client_mix keeps one of them equal"
        )
    return (
        f"clients differ in {unequal} although they have equal {equal}: Gini {spread.gini:.2f}, from "
        f"{spread.min:,} to {spread.max:,}; compare with client_mix and budget: {budget}"
    )


def _length(measured: Heterogeneity) -> str:
    """Length as the model sees it."""
    between = measured.variance_between.tokens
    if not _beyond_chance(between, measured):
        return ""
    clients = measured.clients
    means = [tokens / n for tokens, n in zip(clients.tokens, clients.samples, strict=True) if n]
    return (
        f"clients differ in text length, which was not asked for: their means are from {min(means):,.0f} to "
        f"{max(means):,.0f} tokens as the model sees them, and {_of_variance(between, measured)}"
    )


def _doses(measured: Heterogeneity) -> str:
    corrupted = measured.corrupted
    if corrupted is None or not _beyond_chance(corrupted.variance_between, measured):
        return ""
    return (
        f"clients differ in their share of corrupted texts, which was not asked for: from {min(corrupted.doses):.0%} "
        f"to {max(corrupted.doses):.0%}, and {_of_variance(corrupted.variance_between, measured)}"
    )


def _second(measured: Heterogeneity, name: str) -> str:
    second = measured.and_by
    if second is None or not _beyond_chance(second.variance_between, measured):
        return ""
    return f"clients differ in {name}, which was not asked for: {_of_variance(second.variance_between, measured)}"


def _of_variance(between: float, measured: Heterogeneity) -> str:
    chance = measured.variance_between.chance
    return f"{between:.1%} of the variance lies between clients ({chance:.1%} on average in a random deal)"


def _beyond_chance(between: float, measured: Heterogeneity) -> bool:
    """Whether this share of a variance between clients is one that a random deal hardly has, and that matters.

    In a random deal the share of a normal variable is distributed as Beta((K - 1) / 2, (N - K) / 2).
    """
    clients, n = measured.num_clients, sum(measured.clients.samples)
    if not 1 < clients < n:
        return False
    limit = float(betaincinv((clients - 1) / 2, (n - clients) / 2, CHANCE))
    return between > limit and between - measured.variance_between.chance >= NOTABLE


def _go_together(measured: Heterogeneity, spec: PartitionSpec) -> str:
    """Two features that are tied in the pool cannot be skewed apart."""
    second = measured.and_by
    if second is None or second.association < TOGETHER:
        return ""
    return (
        f"{spec.by.name} and {_second_name(spec)} go together in the texts (Cramér's V {second.association:.2f}): "
        "a skew of one is partly a skew of the other"
    )


def _topped_up(measured: Heterogeneity, min_samples: int) -> str:
    if not measured.moved:
        return ""
    were, receivers = ("was", "it") if measured.topped_up == 1 else ("were", "them")
    return (
        f"{measured.topped_up} of {counted(measured.num_clients, 'client')} {were} below min_samples ({min_samples}): "
        f"{counted(measured.moved, 'sample')} moved to {receivers} from the largest clients"
    )


def _shared(measured: Heterogeneity) -> str:
    repeated, tested = measured.repeated, measured.tested_and_trained
    if not repeated:
        return ""
    return (
        f"clients overlap: {counted(repeated, 'sample')} {_have(repeated)} several owners, and "
        f"{counted(tested, 'local test sample')} {'is' if tested == 1 else 'are'} trained on by another client"
    )


def _unused(measured: Heterogeneity, spec: PartitionSpec) -> list[str]:
    """Samples that are no client's, by the reason why."""
    nobody, pool = measured.without_owner, f"of {counted(measured.pool_samples, 'sample')}"
    unused_elsewhere = measured.unused - nobody
    sentences = []
    if nobody:
        blank = f"column '{spec.options.get('column')}' is blank there"
        sentences.append(f"{nobody:,} {pool} {_have(nobody)} no owner, as {blank}, and {_belong(nobody)} to no client")
    if unused_elsewhere:
        why = ""
        if spec.scheme == "natural":
            why = f", as their owners are not among the {spec.num_clients:,} largest (partition.num_clients)"
        sentences.append(f"{unused_elsewhere:,} {pool} {_belong(unused_elsewhere)} to no client{why}")
    return sentences


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _belong(number: int) -> str:
    return "belongs" if number == 1 else "belong"


def _untested(measured: Heterogeneity) -> str:
    untested = measured.untested_clients
    if not untested:
        return ""
    return f"{counted(untested, 'client')} {_have(untested)} a single sample and so no local test"
