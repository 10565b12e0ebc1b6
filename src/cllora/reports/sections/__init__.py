"""The report's own sections, and the order in which all are read."""

from cllora.reports.figure import figures
from cllora.reports.sections import attention as attention
from cllora.reports.sections import classes as classes
from cllora.reports.sections import clients as clients
from cllora.reports.sections import communication as communication
from cllora.reports.sections import design as design
from cllora.reports.sections import effects as effects
from cllora.reports.sections import fairness as fairness
from cllora.reports.sections import global_loss as global_loss
from cllora.reports.sections import landscape as landscape
from cllora.reports.sections import long_context as long_context
from cllora.reports.sections import mechanism as mechanism
from cllora.reports.sections import methods as methods
from cllora.reports.sections import partition as partition
from cllora.reports.sections import passkey as passkey
from cllora.reports.sections import results as results
from cllora.reports.sections import signatures as signatures
from cllora.reports.sections import verdicts as verdicts

_FIRST = (
    "design",
    "partition",
    "global_loss",
    "effects",
    "results",
    "verdicts",
    "local_against_global",
    "client_spread",
    "fairness",
    "classes",
    "mechanism",
    "attention",
    "landscape",
    "long_context",
    "passkey",
    "communication",
    "signatures",
)
_LAST = ("methods",)


def in_order() -> list[str]:
    """The names of all figures as they are read: the report's own, those a user registered, and the methods."""
    return [*_FIRST, *(name for name in figures.names() if name not in (*_FIRST, *_LAST)), *_LAST]
