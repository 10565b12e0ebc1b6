"""The registration of a study: what it is to decide, written down before it is run, and hashed."""

import hashlib
import json
from typing import Annotated

from pydantic import Field

from cllora.spec.section import Section


class Registration(Section):
    """The primary comparisons of a study, and how they will be decided.

    made: the day. primary: the metrics. comparisons: the cells (without the seed) that are set against their control.
    margin: differences in loss smaller than this count as none, in nats per token; None where nothing was known of what
    training gains. looks: the seeds at each look. level: at which each look decides. digest: the hash of all that.
    """

    made: str
    primary: tuple[str, ...]
    comparisons: tuple[str, ...]
    margin: Annotated[float, Field(gt=0)] | None
    looks: tuple[int, ...]
    level: Annotated[float, Field(gt=0, lt=1)]
    digest: str = ""

    def signed(self) -> "Registration":
        """The same with its digest."""
        return self.model_copy(update={"digest": self.hashed})

    @property
    def hashed(self) -> str:
        """The hash of everything but the digest, which is this where nothing was changed since."""
        written = json.dumps(self.model_dump(mode="json", exclude={"digest"}), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]
