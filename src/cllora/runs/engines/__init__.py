"""Engines by name, which compute the cells of a study; its field `engine` picks one."""

# Importing a module puts its engine into the registry.
from cllora.runs.engines import auto, inline, on_ray, processes, slurm
from cllora.runs.engines.engine import Engine, EngineFacts, Progress, Setting, Work, engines, groups_of, together_of

__all__ = [
    "Engine",
    "EngineFacts",
    "Progress",
    "Setting",
    "Work",
    "auto",
    "engines",
    "groups_of",
    "inline",
    "on_ray",
    "processes",
    "slurm",
    "together_of",
]
