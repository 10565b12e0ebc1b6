"""The strategies, each a short function in its paper's symbols."""

from cllora.federated.algorithms.averaging import fedadam, fedavg, scaffold
from cllora.federated.algorithms.clustered import ifca
from cllora.federated.algorithms.low_rank import flexlora, flora
from cllora.federated.algorithms.personal import ditto, fedrep

__all__ = ["ditto", "fedadam", "fedavg", "fedrep", "flexlora", "flora", "ifca", "scaffold"]
