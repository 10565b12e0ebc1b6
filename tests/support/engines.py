"""Plug-ins that die, and what is compared of the folders of two engines."""

KILLED = '''
import os, signal
from pathlib import Path
import pandas as pd
from cllora.probes import probes

@probes.register(when="round", title="killed")
def killed(model, moment, *, marker: str, times: int = 1):
    """Kills the process that is at round 2, for the first so many times."""
    deaths = Path(marker)
    before = len(deaths.read_text()) if deaths.exists() else 0
    if moment.round == 2 and before < times:
        deaths.write_text("x" * (before + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return pd.DataFrame({"round": [moment.round]})
'''
