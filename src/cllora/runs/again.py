"""The inputs of a finished run, loaded again and checked to be the same."""

from pathlib import Path
from typing import TYPE_CHECKING

from cllora.errors import UsageError
from cllora.spec import Experiment
from cllora.store import read_environment
from cllora.types import Samples

if TYPE_CHECKING:
    from cllora.model.load import Base


def samples_again(run: Path, experiment: Experiment) -> Samples:
    """Read the run's texts again.

    Raises:
        UsageError: they have changed since.
    """
    from cllora.runs.study_cache import samples_of

    samples, ran_on = samples_of(experiment), read_environment(run)
    if samples.fingerprint != (ran_on.data.fingerprint or samples.fingerprint):
        raise UsageError(f"the texts have changed since {run} was run; bring them back")
    return samples


def base_again(run: Path, experiment: Experiment) -> "Base":
    """Load the run's base again in the precision that it ran in, and the adapter that training began at.

    Raises:
        UsageError: one of them has changed since.
    """
    from cllora.model.fingerprint import fingerprint_of_arrays
    from cllora.model.load import load_base

    ran_on = read_environment(run)
    precision = ran_on.precision or experiment.model.precision
    base = load_base(experiment.model.model_copy(update={"precision": precision}), experiment.lora)
    if base.fingerprint != (ran_on.model.fingerprint or base.fingerprint):
        raise UsageError(f"the weights of '{experiment.model.name}' have changed since {run} was run; bring them back")
    if base.start is not None and fingerprint_of_arrays(base.start) != ran_on.model.start_fingerprint:
        raise UsageError(f"the adapter in {experiment.lora.start} has changed since {run} was run; bring it back")
    return base
