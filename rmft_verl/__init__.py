"""Iterative regret-minimization fine-tuning (RMFT) of language models on verl.

The core (everything outside ``bridge`` and ``numeric``) imports numpy, never torch, verl, ray or vllm.
"""

__version__ = "0.1.0"
