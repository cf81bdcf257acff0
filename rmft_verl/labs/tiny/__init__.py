"""How the shipped tiny models were made: believable weak decision-makers that a laptop can train.

``python -m rmft_verl.labs.tiny mab OUT_DIR`` builds one from scratch.
"""
