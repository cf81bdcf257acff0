"""A second backend: a model that only a provider's API reaches. It imports no verl, Ray or torch.

settings.py   the provider and its prices        jobs.py      files and fine-tuning jobs, never started twice
journal.py    what was paid for, on file         rollouts.py  episodes through the chat endpoint
rules.py      what a provider refuses            backend.py   the ``Backend`` of these parts
"""
