"""The report's own sections."""

from cllora.reports.sections import attention as attention
from cllora.reports.sections import classes as classes
from cllora.reports.sections import clients as clients
from cllora.reports.sections import communication as communication
from cllora.reports.sections import design as design
from cllora.reports.sections import effects as effects
from cllora.reports.sections import fairness as fairness
from cllora.reports.sections import global_loss as global_loss
from cllora.reports.sections import long_context as long_context
from cllora.reports.sections import loss_surface as loss_surface
from cllora.reports.sections import methods as methods
from cllora.reports.sections import partition as partition
from cllora.reports.sections import passkey as passkey
from cllora.reports.sections import results as results
from cllora.reports.sections import signatures as signatures
from cllora.reports.sections import update_geometry as update_geometry
from cllora.reports.sections import variance as variance
from cllora.reports.sections import verdicts as verdicts
