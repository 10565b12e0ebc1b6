"""The kinds of array, and of callback, that the rooms hand to each other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Real numbers, such as a feature of every text."""

Ids = NDArray[np.int64]
"""Sample ids."""

OnRead = Callable[[int, int | None, str], None]
"""Called while texts are read: with rows read so far, rows in all (None where that is not known), and of what."""
