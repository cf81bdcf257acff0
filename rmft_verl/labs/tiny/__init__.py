"""Build the shipped tiny models: believable weak decision-makers that a laptop can train.

``python -m rmft_verl.labs.tiny mab OUT_DIR`` builds one from scratch.
"""
