"""Studies by name. A preset is a function that returns a `Study`; a variant calls it and replaces fields."""

from collections.abc import Callable, Iterable
from pathlib import Path

from cllora.errors import UsageError
from cllora.registry import Registry, guess
from cllora.spec import Study, load_study_file

presets: Registry[Callable[[], Study]] = Registry("preset")


@presets.register()
def demo() -> Study:
    """Length skew over 20 clients on the embedded base, in a few minutes on two cores."""
    return Study.parse(
        {
            "name": "demo",
            "model": {"name": "embedded", "context": 128},
            "lora": {"r": 2, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
            "data": {"corpus": "docstrings", "limit": 4000},
            "partition": {"scheme": "client_mix", "by": "length", "classes": 5, "num_clients": 20},
            "federation": {"strategy": "fedavg", "num_rounds": 10, "clients_per_round": 2},
            "local": {"epochs": 3, "batch_size": 8, "learning_rate": 2e-3},
            "grid": {"partition.alpha": [0.1, 1, 100, "iid"]},
            "control": {"partition.alpha": "iid"},
            "seeds": 1,
        }
    )


def find_study(name: str, settings: Iterable[str] = ()) -> Study:
    """A study by preset name or YAML file, changed by `section.field=value` settings.

    Raises:
        UsageError: neither a preset nor a file, or not a valid study.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return load_study_file(path, settings)
    if name not in presets.names():
        raise UsageError(f"there is no preset and no file '{name}'; {guess(name, presets.names())}")
    return Study.parse(presets.get(name)().to_mapping(), settings)
