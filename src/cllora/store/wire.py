"""What crosses the network: named vectors as safetensors, each tensor under the adapter's own names."""

import numpy as np
import safetensors.numpy

from cllora.types import Arrays, Layout


def serialise(arrays: Arrays, layout: Layout) -> bytes:
    """The message as it would be sent: safetensors of every vector's tensors, float32, `<vector>/<tensor>`.

    An adapter keeps the tensors' plain names, as PEFT's file has them; an array that is not of `layout.size`, such as
    a part of an adapter, is sent as it is.
    """
    tensors = {}
    for key, vector in arrays.items():
        if vector.shape != (layout.size,):
            tensors[key] = np.ascontiguousarray(vector)
            continue
        prefix = "" if key == "adapter" else f"{key}/"
        tensors.update({prefix + name: tensor for name, tensor in layout.split(vector).items()})
    message: bytes = safetensors.numpy.save(tensors)
    return message


def message_bytes(arrays: Arrays, layout: Layout) -> int:
    """Bytes of the serialised message, its header of names and shapes included."""
    return len(serialise(arrays, layout))
