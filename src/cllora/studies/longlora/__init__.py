"""LongLoRA (Chen et al. 2024, arXiv 2309.12307): its presets, its claim, and the section of the report on it."""

from cllora.studies.longlora import claims as claims
from cllora.studies.longlora import presets as presets
from cllora.studies.longlora import section as section
