"""Starts the backend of a run: Ray, verl's workers and vLLM's servers, or the client of a hosted model."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from rmft_verl.setup.hosted import KIND
from rmft_verl.setup.prepare import Prepared

if TYPE_CHECKING:
    from rmft_verl.bridge.backend import Backend
    from rmft_verl.bridge.verl_backend import VerlBackend


def start_backend(prepared: Prepared, directory: Path) -> Backend:
    """Start the backend of a prepared run, which ``model.path`` chooses; what it writes goes to ``directory``."""
    if prepared.kind == KIND:
        from rmft_verl.bridge.hosted.backend import HostedBackend

        return HostedBackend(prepared.config, prepared.env_class, prepared.examples, directory)
    return _start_verl(prepared, directory)


def _start_verl(prepared: Prepared, directory: Path) -> VerlBackend:
    from rmft_verl.bridge.cluster import runtime
    from rmft_verl.bridge.verl_config import agent_loop_file

    config, verl_config = prepared.config, prepared.verl_config
    loops = directory / "agent_loops.yaml"
    agent_loop_file(config, prepared.examples, loops)
    OmegaConf.update(verl_config, "data.apply_chat_template_kwargs", config.model.chat_template, force_add=True)
    OmegaConf.update(verl_config, "actor_rollout_ref.rollout.agent.agent_loop_config_path", str(loops))
    logging.getLogger("verl").setLevel(logging.ERROR)
    threading.Thread(target=_import_while_ray_starts, daemon=True).start()
    started = runtime.Ray(prepared.kind, prepared.environment, config.hardware)
    try:
        from rmft_verl.bridge.cluster.faults import told
        from rmft_verl.bridge.cluster.peers import Peers
        from rmft_verl.bridge.sampling.progress import within
        from rmft_verl.bridge.verl_backend import VerlBackend

        runtime.plugin_loaded(prepared.kind)
        with open(directory / "start.log", "w") as log, contextlib.redirect_stdout(log):  # verl prints a great deal
            peers = Peers()
            start = partial(VerlBackend, config, verl_config, prepared.kind, started, peers, directory)
            with told(peers.check):
                return within(start, "start-up", check=peers.check)
    except BaseException:
        started.stop()
        raise


def _import_while_ray_starts() -> None:
    """Import what takes the driver longest. Nothing here imports Ray, so that no two threads wait for each other."""
    for module in ("torch", "tensordict", "vllm.distributed.utils", "transformers.models.auto.modeling_auto"):
        with contextlib.suppress(Exception):  # raised again where it is needed
            importlib.import_module(module)
