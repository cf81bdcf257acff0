"""The method on small Transformers that read reward vectors and write policies: no words, no verl.

    python -m rmft_verl.main recipe=fol_numeric

A laptop trains this controlled setting, whose optimum is known, in a minute. docs/theory.md says what is known about
it. torch is imported only when a run starts.
"""
