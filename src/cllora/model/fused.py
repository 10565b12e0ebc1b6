"""Names that PEFT takes for parts of experts which transformers has fused into one weight since."""

import logging

import peft
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

from cllora.model.libraries import Causal

log = logging.getLogger("cllora")


def without_experts(causal: Causal, names: list[str], name: str, source: str) -> list[str]:
    """The names of linear layers without those that PEFT takes for experts, which a warning says of the `source` of the
    names."""
    experts = [entry for entry in names if _is_converted(causal, names, entry)]
    if experts:
        log.warning(
            "lora.target_modules: in '%s' PEFT takes %s for experts, which LoRA is not supported on; %s leaves "
            "them out",
            name,
            ", ".join(experts),
            source,
        )
    return [entry for entry in names if entry not in experts]


def _is_converted(causal: Causal, names: list[str], entry: str) -> bool:
    """Whether PEFT makes something else of a name among others, as it does of those that experts had before they were
    fused."""
    config = peft.LoraConfig(target_modules=list(names))
    try:
        convert_peft_config_for_transformers(config, causal, None)
    except ValueError:  # some of what is fused is missing; each by itself is then converted, or refused as this is
        config = peft.LoraConfig(target_modules=[entry])
        try:
            convert_peft_config_for_transformers(config, causal, None)
        except ValueError:
            return True
    return entry not in (config.target_modules or ())
