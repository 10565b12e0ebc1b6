"""Messages on the network: named arrays as safetensors, an adapter's tensors under its own names."""

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from cllora.errors import UsageError
from cllora.types import Arrays, Layout


def serialise(arrays: Arrays, layout: Layout) -> bytes:
    """The message as it would be sent: safetensors, each array in its own type.

    A vector of `layout.size` is sent as its tensors, `<vector>/<tensor>`; an adapter's keep their plain names, as
    PEFT's file has them. Anything else, such as a part of an adapter, is sent under its own name.

    Raises:
        UsageError: something is no array of numbers.
    """
    tensors = {}
    for key, array in arrays.items():
        sent = storable(key, array)
        if sent.shape != (layout.size,):
            tensors[key] = sent
            continue
        prefix = "" if key == "adapter" else f"{key}/"
        tensors.update({prefix + name: tensor for name, tensor in layout.split(sent).items()})
    message: bytes = safetensors.numpy.save(tensors)
    return message


def message_bytes(arrays: Arrays, layout: Layout) -> int:
    """Bytes of the serialised message, its header of names and shapes included."""
    return len(serialise(arrays, layout))


def storable(key: str, array: object) -> NDArray[np.generic]:
    """An array as safetensors takes it.

    Raises:
        UsageError: it is no array, or not of whole or real numbers or booleans.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"the strategy's array '{key}' is of type {kind}; make it a NumPy array of numbers")
    return np.asarray(array, order="C")
