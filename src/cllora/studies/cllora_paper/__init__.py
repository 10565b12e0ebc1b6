"""CLLoRA (Zhang et al. 2025, arXiv 2502.18910): its presets, ablations of what it leaves as it is, and its claims."""

from cllora.studies.cllora_paper import ablations as ablations
from cllora.studies.cllora_paper import claims as claims
from cllora.studies.cllora_paper import presets as presets
