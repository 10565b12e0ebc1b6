"""Names for the objects of libraries whose types mypy does not read, so that a signature says what it takes."""

from collections.abc import Mapping
from typing import Any

Causal = Any  # transformers.PreTrainedModel: what it has beside the common depends on its family
Adapted = Any  # peft.PeftModel around a causal model; where every weight is trained, that alone
Layer = Any  # a layer of PEFT's, or one that it wraps
Config = Any  # transformers.PreTrainedConfig: its entries depend on the family
StockTokenizer = Any  # transformers.PreTrainedTokenizerBase
Backend = Any  # tokenizers.Tokenizer, and what it is made of and gives
Context = Any  # what torch hands to an autograd function
Metadata = Mapping[str, Any]  # of a GGUF file, by key: `gguf_fields` holds every value to its type before it is used
Entries = dict[str, Any]  # of a config, or arguments for one
Tensor = Any  # gguf.ReaderTensor
