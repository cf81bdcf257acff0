"""Exports a run's trained model as a Hugging Face directory, if it loads and differs from its base."""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from rmft_verl.store.checkpoints import verify_final
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import RunDir
from rmft_verl.types import RunError


def export_run(run_path: Path, out: Path) -> Path:
    """Copy the final checkpoint of a run to ``out`` and return its path.

    Raises ``RunError`` if the run has no final model, ``out`` exists or cannot be written, the model does not load, or
    its weights equal the base's (a merge without effect).
    """
    run = RunDir.open(run_path)
    trained = run.checkpoints / "final"
    if not (trained / "config.json").is_file():
        raise RunError(f"{run.path} has no final model: it stopped after {run.read_state().completed} iterations")
    if out.exists():
        raise RunError(f"{out} exists already: name a new directory")
    check_place(out)
    verify_final(trained)
    base = str(OmegaConf.load(run.verl_config).actor_rollout_ref.model.path)
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise RunError(f"{run.path}: its base {base} is gone, and an export is compared with it: restore the base")
    if not moved(base, str(trained)):
        raise RunError(f"the model of {run.path} equals its base {base}: training changed nothing, nothing is exported")
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(trained)
    try:
        shutil.copytree(trained, out)
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise RunError(f"{out} cannot be written ({error.strerror or error}): name another place") from error
        raise
    return out.resolve()


def moved(base: str, trained: str) -> bool:
    """Whether any weight of ``trained`` differs from ``base`` in bfloat16. Raises ``RunError`` if the shapes differ."""
    import torch
    from transformers import AutoModelForCausalLM

    first = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).state_dict()
    second = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.bfloat16).state_dict()
    if first.keys() != second.keys() or any(first[key].shape != second[key].shape for key in first):
        raise RunError(f"{trained} is not a model of the same shape as {base}")
    return any(not torch.equal(first[key], second[key]) for key in first)
