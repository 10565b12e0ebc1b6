"""Real owners, measured as the clients of a partition are, and put on the scale of alpha."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cllora.corpus import is_ordered
from cllora.partition.deal import Deal
from cllora.partition.estimate import Estimate, mix_alpha, size_alpha
from cllora.partition.heterogeneity import gini, heterogeneity
from cllora.partition.pool import pool_of
from cllora.partition.ranks import can_be_cut, rank_alpha
from cllora.partition.variation import variation_alpha
from cllora.spec import Choice, PartitionSpec
from cllora.types import Array, Heterogeneity, Json, to_plain


@dataclass(frozen=True)
class Owners:
    """The owners of texts. Arrays have shape (n,): text i is of owner `names[owner[i]]` and has `characters[i]`.

    `values` are features of the texts. `dropped` counts rows that could not be used, by reason.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]
    characters: NDArray[np.int64]
    values: Sequence[tuple[Choice, Array]]
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureSkew:
    """The skew of one feature over owners: how unlike their mixes of its classes are.

    What `heterogeneity` calls tokens are characters here, since without a model there are none. It is of classes cut at
    the quantiles. `alpha` is that of owners whose classes may be cut anywhere (`rank_alpha`); it is of classes cut at
    the quantiles too (`mix_alpha`) where values have no order or too few are distinct. `as_unlike` is the alpha at
    which `client_mix` makes clients as unlike as the owners are in these classes, whatever made them
    (`variation_alpha`).
    """

    by: Choice
    classes: int
    alpha: Estimate | None
    as_unlike: Estimate | None
    heterogeneity: Heterogeneity


@dataclass(frozen=True)
class Inspection:
    """The measures of owners. Arrays have shape (K,); an alpha is None where it cannot be estimated."""

    names: tuple[str, ...]
    texts: NDArray[np.int64]
    characters: NDArray[np.int64]
    median_characters: Array
    quantity: Estimate | None
    features: tuple[FeatureSkew, ...]
    dropped: Mapping[str, int]

    def to_mapping(self) -> dict[str, Json]:
        """The inspection as plain data for JSON. An infinite alpha is written `iid`; `character_gini` is that of
        owners' totals."""
        return {
            "owners": len(self.names),
            "texts": int(self.texts.sum()),
            "dropped": dict(self.dropped),
            "by_owner": {
                "names": list(self.names),
                "texts": self.texts.tolist(),
                "characters": self.characters.tolist(),
                "median_characters": self.median_characters.tolist(),
            },
            "quantity": {
                "alpha": written(self.quantity),
                **to_plain(self.features[0].heterogeneity.samples),
                "character_gini": gini(self.characters),
            },
            "features": [_feature(skew) for skew in self.features],
        }


def inspect_owners(owners: Owners, classes: int) -> Inspection:
    """Measure owners: their sizes, and how their texts differ in every feature, in `classes` classes.

    Raises:
        UsageError: a feature's value is not finite.
    """
    deal = Deal.of_owners(owners.owner, len(owners.names), owners.names)
    ordered = owners.characters[deal.positions]
    return Inspection(
        names=owners.names,
        texts=deal.sizes(),
        characters=np.add.reduceat(ordered, deal.offsets[:-1]),
        median_characters=_medians(ordered, deal),
        quantity=size_alpha(deal.sizes()),
        features=tuple(_skew(owners, deal, by, values, classes) for by, values in owners.values),
        dropped=owners.dropped,
    )


def _skew(owners: Owners, deal: Deal, by: Choice, values: Array, classes: int) -> FeatureSkew:
    ordered = is_ordered(by.name)
    spec = PartitionSpec(num_clients=deal.num_clients, by=by, classes=classes, min_samples=1)
    pool = pool_of(
        spec,
        ids=np.arange(len(values)),
        values=values,
        lengths=owners.characters,
        context=int(owners.characters.max()),
        ordered=ordered,
    )
    cells = owners.owner * pool.num_classes + pool.classes
    counts = np.bincount(cells, minlength=deal.num_clients * pool.num_classes).reshape(deal.num_clients, -1)
    cut_anywhere = ordered and can_be_cut(values, classes)
    alpha = rank_alpha(owners.owner, values, classes) if cut_anywhere else mix_alpha(counts)
    return FeatureSkew(by, classes, alpha, variation_alpha(counts), heterogeneity(pool, deal))


def _medians(ordered: NDArray[np.int64], deal: Deal) -> Array:
    """The median of every owner's values, which stand owner after owner."""
    values = ordered[np.lexsort((ordered, deal.clients()))]
    sizes = deal.sizes()
    low, high = deal.offsets[:-1] + (sizes - 1) // 2, deal.offsets[:-1] + sizes // 2
    return np.asarray((values[low] + values[high]) / 2)


def _feature(skew: FeatureSkew) -> dict[str, Json]:
    """A feature's part of `Inspection.to_mapping`."""
    measured = skew.heterogeneity
    clients, between = measured.clients, measured.variance_between
    return {
        "by": skew.by.model_dump(),
        "alpha": written(skew.alpha),
        "alpha_as_unlike": written(skew.as_unlike),
        "classes": [{"from": c.from_, "below": c.below, "samples": c.samples} for c in measured.classes.described],
        "js_mean": measured.js_mean,
        "tv_mean": measured.tv_mean,
        "largest_class_share_mean": measured.largest_class_share_mean,
        "variance_between": {"values": between.values, "log1p": between.log1p, "chance": between.chance},
        "by_owner": {
            "class_shares": [list(shares) for shares in clients.class_shares],
            "js": list(clients.js),
            "tv": list(clients.tv),
        },
    }


def written(estimate: Estimate | None) -> dict[str, Json] | None:
    """An estimate as plain data, infinity as `iid`."""
    if estimate is None:
        return None
    ends = {"estimate": estimate.alpha, "low": estimate.low, "high": estimate.high}
    return {key: "iid" if np.isinf(value) else value for key, value in ends.items()}
