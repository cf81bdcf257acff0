"""Iterative regret-minimization fine-tuning (RMFT) of language models on verl.

The core (everything outside ``bridge`` and ``labs``) imports numpy, never torch, verl, ray or vllm.
"""

import os

__version__ = "0.1.0"

# Turns of a loop for which a thread of GNU OpenMP waits before it sleeps; read when torch is loaded. Its own 300,000
# keep a core busy doing nothing at every barrier, so that processes on the same cores take ten times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
