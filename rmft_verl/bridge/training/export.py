"""Exports a run's trained model as a Hugging Face directory, if it loads and differs from its base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rmft_verl.store.checkpoints import verify_final
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.tracking import warn
from rmft_verl.types import RunError


def export_run(run_path: Path, out: Path) -> Path:
    """Copy the final checkpoint of a run to ``out`` and return its path.

    If the model's chat template renders past turns in another way than they were played, or prints the date, the copy
    gets one that renders what was played.

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
    template = _template(run, trained)
    try:
        shutil.copytree(trained, out)
        if template:
            _write_template(out, template)
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise RunError(f"{out} cannot be written ({error.strerror or error}): name another place") from error
        raise
    return out.resolve()


def _template(run: RunDir, trained: Path) -> str:
    """The chat template to write in place of the model's own; empty if that renders dialogues as they were played.

    A warning says what a reader of the model's own template would miss if none can be written.
    """
    from rmft_verl.bridge.sampling.chat import load_template
    from rmft_verl.bridge.sampling.dialogue import TODAY
    from rmft_verl.bridge.sampling.whole import difference, played_template, spaces_lost

    config = OmegaConf.load(run.config)
    arguments: Any = OmegaConf.to_container(config.model.chat_template)
    own = load_template(str(trained), "", {TODAY: run.date} | arguments)
    history = str(config.rollout.history)
    found = difference(own, history)
    if not found and not own.dated:
        return ""
    try:
        if config.rollout.get("examples", 0):
            raise ValueError("the worked examples before a dialogue are rendered by the model's own template")
        made = played_template(own, history)
        if left := spaces_lost(own, own.replaced(made, {}), history):
            warn(f"no chat template renders all replies as they were played: {left}")
        return made
    except ValueError as error:
        warn(f"the exported chat template is the model's own: {found or 'it prints the date'}; no other fits: {error}")
        return ""


def _write_template(folder: Path, template: str) -> None:
    """Make ``template`` the only chat template of the model in ``folder``."""
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        kept = json.loads(settings.read_text(encoding="utf-8"))
        kept.pop("chat_template", None)
        write_text(settings, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "chat_template.jinja", template)


def moved(base: str, trained: str) -> bool:
    """Whether any weight of ``trained`` differs from ``base`` in bfloat16. Raises ``RunError`` if the shapes differ."""
    import torch
    from transformers import AutoModelForCausalLM

    first = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).state_dict()
    second = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.bfloat16).state_dict()
    if first.keys() != second.keys() or any(first[key].shape != second[key].shape for key in first):
        raise RunError(f"{trained} is not a model of the same shape as {base}")
    return any(not torch.equal(first[key], second[key]) for key in first)
