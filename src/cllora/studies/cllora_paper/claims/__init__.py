"""The claims of the paper (CLLoRA, arXiv 2502.18910) and one question that it leaves open.

Claims are of the strongest skew that a study has, and are held to every setting (model, context, rank, ...) in which it
has it. The rules, with their formulas and margins, stand in docs/method.md.
"""

from cllora.studies.cllora_paper.claims import length, quantity, communication, contexts, aside  # noqa: F401, I001 (in the order of the claims)
