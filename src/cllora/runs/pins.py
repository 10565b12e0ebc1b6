"""What the machine decides for a study, decided once: so that its cells agree, and agree after an interruption."""

import hashlib
from pathlib import Path

from cllora.errors import UsageError
from cllora.spec import Experiment, ModelSpec
from cllora.store import read_json, write_json
from cllora.types import Samples


class Pins:
    """`pins.json` in a study's folder: what `auto` came to, and fingerprints of the texts and of the bases."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def settled(self, model: ModelSpec) -> ModelSpec:
        """The model with `auto` replaced by what it came to when the study began."""
        from cllora.model.device import settle

        device, precision = self._pin(f"device of {model.device}, precision of {model.precision}", settle(model))
        return model.model_copy(update={"device": device, "precision": precision})

    def hold_texts(self, experiment: Experiment, samples: Samples) -> None:
        """Make sure that the texts are those that the study began with.

        Raises:
            UsageError: they have changed: another file under the same name, another version of a package.
        """
        asked = f"{experiment.data.model_dump_json()} {experiment.model.name}"
        key = f"texts {hashlib.sha256(asked.encode()).hexdigest()[:12]}"
        if self._pin(key, [samples.fingerprint]) != [samples.fingerprint]:
            raise UsageError(
                f"the texts have changed since the study in {self._path.parent} began; choose another --out"
            )

    def hold_base(self, model: ModelSpec, fingerprint: str) -> None:
        """Make sure that the base's weights are those that the study began with.

        Raises:
            UsageError: they have changed under the same name.
        """
        if self._pin(f"weights of {model.name} in {model.precision}", [fingerprint]) != [fingerprint]:
            raise UsageError(
                f"the weights of '{model.name}' have changed since the study in {self._path.parent} began; "
                "choose another --out"
            )

    def _pin(self, key: str, value: list[str]) -> list[str]:
        """What was pinned under the key, or else `value`, now pinned."""
        pins = read_json(self._path) if self._path.exists() else {}
        if key not in pins:
            write_json(self._path, {**pins, key: value})
            return value
        pinned: list[str] = pins[key]
        return pinned
