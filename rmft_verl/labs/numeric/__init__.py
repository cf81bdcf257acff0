"""The method on small Transformers that read reward vectors and write policies: no words, no verl.

    python -m rmft_verl.main recipe=fol_numeric

A controlled setting, where the optimum is known, that a laptop trains in a minute. docs/theory.md says what is known of
it; nothing here imports torch before a run starts.
"""
