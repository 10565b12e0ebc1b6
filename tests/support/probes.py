"""The moment at which a probe is asked, made up."""

import numpy as np

from cllora.probes import Moment
from cllora.types import Partition, model_of


def moment(learner, adapter, ids, participants=()) -> Moment:
    """A round in which an adapter came to be, of a learner's own samples."""
    nothing = np.zeros(0, np.int64)
    partition = Partition(nothing, np.zeros(1, np.int64), nothing, np.zeros(1, np.int64), ids)
    return Moment(
        1, {"global": model_of(adapter)}, participants, ids, partition, learner.layout, 0, lambda: learner.initial(0)
    )
