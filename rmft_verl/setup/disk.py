"""The disk that a run's states and its model take, and whether ``root`` has room for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from rmft_verl.config import Config, ConfigError
from rmft_verl.setup.memory import GIB, Use, use_of
from rmft_verl.setup.prepare import Prepared
from rmft_verl.store.tracking import warn


def state_gib(use: Use, config: Config) -> float:
    """A state: weights in float32, Adam's moments unless each update begins at the base, with ``checkpoint.best`` a
    Hugging Face copy too.
    """
    moments = 8 if config.update.start == "current" else 0
    return (4 + moments + 4 * config.checkpoint.best) * use.trained / GIB


def model_gib(use: Use) -> float:
    """The trained model as a Hugging Face directory: float32, or bfloat16 where adapters are merged."""
    return (2 if use.lora.rank else 4) * use.shape.parameters / GIB


def most_states(config: Config) -> int:
    """States on disk at once: an old one goes when the new one is whole."""
    return config.checkpoint.keep + 1 + config.checkpoint.best


def disk_line(use: Use, config: Config) -> str:
    """What the checkpoints take, and what ``root`` has."""
    return (
        f"disk: {state_gib(use, config):.3g} GiB a checkpoint, one every checkpoint.every={config.checkpoint.every} "
        f"iterations; up to {most_states(config)} at once (checkpoint.keep={config.checkpoint.keep}); "
        f"{model_gib(use):.3g} GiB the trained model; root={config.root} has {free_gib(config.root):.3g} GiB free"
    )


def refuse_full_disk(prepared: Prepared) -> None:
    """Raise ``ConfigError`` if a new run's ``root`` cannot hold one state and the model; warn if not all it keeps."""
    config, use = prepared.config, use_of(prepared)
    if use is None:
        return
    state, model, free = state_gib(use, config), model_gib(use), free_gib(config.root)
    said = (
        f"root={config.root} has {free:.3g} GiB free, and one state of the trainer takes {state:.3g}, "
        f"the trained model {model:.3g}"
    )
    if state + model > free:
        raise ConfigError(f"{said}: choose another root=..., or free some of it")
    if (most := most_states(config)) * state + model > free:
        warn(f"{said}: {most} states do not fit at once; lower checkpoint.keep, or choose another root=...")


def free_gib(root: str) -> float:
    """Free space where ``root`` is, or is going to be made."""
    whole = Path(root).expanduser().absolute()
    return shutil.disk_usage(next(path for path in (whole, *whole.parents) if path.exists())).free / GIB
