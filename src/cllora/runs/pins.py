"""Pins: choices that the machine makes for a study once, so that its cells agree, also after an interruption."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cllora.corpus.files import digest
from cllora.errors import UsageError
from cllora.places import expanded
from cllora.registry import code_files
from cllora.spec import Experiment, ModelSpec
from cllora.store import lock_of, read_environment, read_json, write_json
from cllora.types import Samples


class Pins:
    """`pins.json` in a study's folder: what `auto` came to, and fingerprints of the texts and of the bases."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def settled(self, model: ModelSpec) -> ModelSpec:
        """The model with `auto` replaced by what it came to when the study began."""
        from cllora.model.device import settle

        device, precision = self._pin(
            f"device of {model.device}, precision of {model.precision}", lambda: settle(model)
        )
        return model.model_copy(update={"device": device, "precision": precision})

    def together(self) -> int | None:
        """Return how many cells are computed together, if the study has begun."""
        pinned = self._read().get("together")
        if pinned is not None:
            return int(pinned[0])
        return 1 if self._began() else None

    def hold_together(self, number: int) -> None:
        """Keep to so many from now on."""
        if number > 1:
            self._pin("together", lambda: [str(number)])

    def threads(self) -> int | None:
        """Return how many threads compute a cell of the study, if it has begun; of one from before this was pinned,
        those of its first run."""
        pinned = self._read().get("threads")
        if pinned is not None:
            return int(pinned[0])
        began = self._began()
        return read_environment(began[0].parent).hardware.threads if began else None

    def hold_threads(self, number: int) -> None:
        """Keep to so many threads for a cell from now on."""
        self._pin("threads", lambda: [str(number)])

    def hold_texts(self, experiment: Experiment, samples: Samples) -> None:
        """Make sure that the texts are those that the study began with.

        Raises:
            UsageError: they have changed: another file under the same name, another version of a package.
        """
        asked = f"{experiment.data.model_dump_json()} {experiment.model.name}"
        key = f"texts {hashlib.sha256(asked.encode()).hexdigest()[:12]}"
        self._hold(key, samples.fingerprint, "the texts have")

    def hold_base(self, model: ModelSpec, fingerprint: str) -> None:
        """Make sure that the base's weights and config are those that the study began with.

        Raises:
            UsageError: they have changed under the same name.
        """
        self._hold(
            f"base {model.name} in {model.precision}", fingerprint, f"the weights or config of '{model.name}' have"
        )

    def hold_start(self, place: str, fingerprint: str) -> None:
        """Make sure of the same of the adapter at which training starts."""
        self._hold(f"adapter {place}", fingerprint, f"the adapter in {place} has")

    def hold_files(self, files: Sequence[str]) -> None:
        """Make sure of the same of the user's own files (`load`), whose code decides numbers."""
        for file in files:
            code = " ".join(digest(code_file) for code_file in code_files(expanded(file)))
            subject = f"the file {file}, which the study loads, or what it imports beside it, has"
            self._hold(f"code {file}", hashlib.sha256(code.encode()).hexdigest(), subject)

    def _hold(self, key: str, fingerprint: str, subject: str) -> None:
        if self._pin(key, lambda: [fingerprint]) != [fingerprint]:
            raise UsageError(
                f"{subject} changed since the study in {self._path.parent} began; choose another --out, or put it back"
            )

    def _pin(self, key: str, decide: Callable[[], list[str]]) -> list[str]:
        """The value pinned under the key, or else what is decided now; by one process, if several ask at once."""
        with lock_of(self._path):
            pins = self._read()
            if key not in pins:
                pins[key] = decide()
                write_json(self._path, pins)
            return pins[key]

    def _began(self) -> list[Path]:
        """The records of the environments that cells began on."""
        return sorted(self._path.parent.glob("*/environment.json"))

    def _read(self) -> dict[str, list[str]]:
        return read_json(self._path) if self._path.exists() else {}
