"""The backend on verl 0.9: one actor worker group (FSDP2), colocated vLLM servers, verl's agent loop and weight sync.

It composes verl's parts and inherits none of its trainers.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import DictConfig
from tensordict import TensorDict
from verl import DataProto
from verl.checkpoint_engine import CheckpointEngineManager
from verl.single_controller.ray import RayClassWithInitArgs, RayWorkerGroup
from verl.single_controller.ray.base import ResourcePoolManager, create_colocated_worker_cls
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass

from rmft_verl.algo import METHODS
from rmft_verl.algo.method import Samples
from rmft_verl.bridge.backend import OnProgress
from rmft_verl.bridge.cluster import runtime
from rmft_verl.bridge.cluster.faults import sampler_lives, told
from rmft_verl.bridge.cluster.peers import Peers
from rmft_verl.bridge.sampling import progress
from rmft_verl.bridge.sampling.chat import load_template
from rmft_verl.bridge.sampling.progress import watched
from rmft_verl.bridge.sampling.rendering import render_all
from rmft_verl.bridge.sampling.servers import RemoteClient, Servers
from rmft_verl.bridge.shapes import PROBE
from rmft_verl.bridge.training import canary, steps
from rmft_verl.bridge.training.action_line import action_only
from rmft_verl.bridge.training.batches import plain_batch, sampled_logprobs, training_batch
from rmft_verl.bridge.training.engine import DialogueWorker
from rmft_verl.bridge.training.lora import write_merged
from rmft_verl.bridge.training.losses import loss
from rmft_verl.bridge.training.receipt import Receipt
from rmft_verl.bridge.training.reshard import ranks
from rmft_verl.bridge.verl_config import AGENT, STATE, WEIGHTS
from rmft_verl.config import Config
from rmft_verl.env import load_env
from rmft_verl.types import Batch, RolloutRequest, RunError, Tokens, Trajectory

PROBE_FILE = "probe.npz"
"""Their file beside the trainer's state, so that the first sync of a resumed run is checked too."""


class VerlBackend:
    """Runs verl's workers and servers."""

    def __init__(
        self,
        config: Config,
        verl_config: DictConfig,
        kind: str,
        started: runtime.Ray,
        peers: Peers,
        scratch: Path | None = None,
    ) -> None:
        """``scratch``: where ``update.start=base`` stores the base during the run. Every node can write to it; None =
        the system's temporary directory.
        """
        self._config, self._ray, self._peers = config, started, peers
        self._world = config.hardware.nodes * config.hardware.gpus_per_node
        model = verl_config.actor_rollout_ref.model
        self._model_path = model.path
        self._template = load_template(model.path, model.custom_chat_template or "", config.model.chat_template)
        self._verl = verl_config
        pools = ResourcePoolManager(
            resource_pool_spec={"all": [config.hardware.gpus_per_node] * config.hardware.nodes},
            mapping={"actor": "all"},
        )
        pools.create_resource_pool()
        pool = pools.resource_pool_dict["all"]
        worker = RayClassWithInitArgs(
            cls=ray.remote(DialogueWorker),
            config=verl_config.actor_rollout_ref,
            role="actor_rollout",
            distillation_config=None,
        )
        colocated = create_colocated_worker_cls({"actor_rollout": worker})
        group = RayWorkerGroup(resource_pool=pool, ray_cls_with_init=colocated, device_name=kind)
        self._actor = group.spawn(prefix_set=["actor_rollout"])["actor_rollout"]
        self._actor.init_model()
        actor = omega_conf_to_dataclass(verl_config.actor_rollout_ref.actor)
        self._actor.set_loss_fn(partial(loss, actor=actor))
        self._scratch = scratch
        self._base: Path | None = None
        servers = Servers.create(config=verl_config, worker_group=self._actor, rollout_resource_pool=pool)
        self._agents = servers.agents()
        self._addresses: list[str] = servers.get_addresses()
        handles = servers.server_handles
        self._each = [RemoteClient(verl_config, *server) for server in zip(self._addresses, handles, strict=True)]
        self._receipt = Receipt(handles)
        engine = omega_conf_to_dataclass(verl_config.actor_rollout_ref.rollout.checkpoint_engine)
        engine.backend = "naive"  # trainer and sampler share the process tree
        self._weights = CheckpointEngineManager(config=engine, actor_wg=self._actor, replicas=servers.get_replicas())
        self._counter = progress.start()
        self._weights.sleep_replicas()
        self._awake = self._updated = False  # updated: since the last sync
        self._probe: list[Tokens] = []
        self._before: list[torch.Tensor] | None = None

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        replicas = len(self._each)
        padded = math.ceil(len(requests) / replicas) * replicas  # verl splits them evenly
        asked = [requests[i % len(requests)] for i in range(padded)]
        batch = DataProto.from_dict(
            non_tensors={
                "agent_name": _objects([AGENT] * padded),
                "raw_prompt": _objects([[] for _ in asked]),
                "request": _objects(asked),
                "version": np.full(padded, version),
            },
            meta_info={"validate": False, "global_steps": version},
        )
        patience = self._config.rollout.timeout
        sample = partial(self._agents.generate_sequences, batch)
        with told(self._peers.check):
            played = progress.watch(sample, self._counter, on_progress, patience, self._peers.check)
        trajectories: list[Trajectory] = list(played.non_tensor_batch["trajectory"][: len(requests)])
        sampled = [] if self._probe else _samples(trajectories)
        if sampled:  # the first rollout checks the first sync, when nothing had been sampled
            self._probe = _spread(sampled)
            self._prove(version)
        return trajectories

    @property
    def _state(self) -> list[str]:
        """What a state holds. With ``update.start=base`` the next update takes the base's optimizer, not this one."""
        return STATE if self._config.update.start == "current" else [part for part in STATE if part != "optimizer"]

    def _keep_base(self) -> None:
        """With ``update.start=base``: save the base and the optimizer's first state, before either changes."""
        if self._config.update.start == "base" and self._base is None:
            self._base = Path(tempfile.mkdtemp(prefix="rmft_verl_base_", dir=self._scratch))
            self._actor.save_as(str(self._base), STATE)

    def _sleep(self) -> None:
        """Free the sampler's memory, which verl wants before an update and before a sync."""
        if self._awake:
            progress.within(self._weights.sleep_replicas, "putting the sampler to sleep", self._config.rollout.timeout)
            self._awake = False

    def render(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        return render_all(trajectories, self._template, self._config)

    @watched("update")
    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        update, world = self._config.update, self._world
        together = METHODS[update.loss].together
        samples = Samples.of(batch)
        n_samples = len(samples.tokens)
        size, n_steps = steps.cut(n_samples, update.batch, world, together)
        drawn = samples.take(steps.draw(n_samples, size * n_steps, together, seed).tolist())
        self._sleep()
        self._keep_base()
        self._probe = _spread(samples.tokens)
        self._before = self._trainer_logprobs(self._probe)
        order = steps.order(size * n_steps, size, world, together, update.epochs, seed)
        rows = tu.index_select_tensor_dict(self._training_batch(drawn), torch.from_numpy(order))
        if update.start == "base":  # from here on the trainer is not the model that played
            self._actor.load_as(str(self._base), STATE)
        tu.assign_non_tensor(rows, **steps.entries(size, together))
        metrics = tu.get(_value(self._actor.update_actor(rows)), "metrics")
        self._actor.give_back()
        self._updated = True
        counts = {
            "update/samples": float(size * n_steps),
            "update/tokens": float(rows["input_ids"].offsets()[-1]),
            "update/dropped": float(n_samples - size * n_steps),
        }
        return steps.outcome(metrics) | counts

    def _training_batch(self, samples: Samples) -> TensorDict:
        """verl's batch of the samples, with log-probabilities of the model that played if the method needs them."""
        config, actor = self._config, self._verl.actor_rollout_ref.actor
        method = METHODS[config.update.loss]
        tokens, temperature = samples.tokens, config.rollout.temperature or 1.0  # 0: one rollout of the likeliest
        columns = method.columns(samples, config, self._verl)
        old = self._logprobs(tokens, temperature) if method.needs_old else None
        if config.update.train_on == "action":
            env_class = load_env(config.env.name, config.env_dirs)
            games = [env_class(samples.batch.trajectories[i].scenario, 0) for i in samples.trajectory]
            tokens = [action_only(each, self._template, env.parse) for each, env in zip(tokens, games, strict=True)]
        entropy = bool(actor.calculate_entropy or actor.entropy_coeff)
        return training_batch(config, tokens, columns, old, temperature, entropy)

    @watched("weight sync")
    def sync(self, version: int) -> dict[str, float]:
        self._transfer(version)
        held = self._within(lambda: self._receipt.check(self._actor.sent()[0], version, self._updated), "canary")
        self._updated = False
        if not self._probe:
            return {"sync/weights": held}
        canary.check_cache(self._each, self._probe[0], self._config.rollout.timeout, version)
        return {"sync/weights": held} | self._prove(version)

    def _transfer(self, version: int) -> None:
        self._sleep()
        self._within(lambda: self._weights.update_weights(version), "weight sync")
        self._awake = True

    def _within(self, work: Callable[[], Any], what: str) -> Any:
        """The result of ``work``; raises ``RunError`` if it takes longer than a reply may, or if a sampler dies."""
        check = partial(sampler_lives, self._addresses)
        return progress.within(work, what, self._config.rollout.timeout, check)

    @watched("canary")
    def _prove(self, version: int) -> dict[str, float]:
        """Run the canary on the probe's sampled tokens; returns the worst replica's values. Raises
        ``StaleSamplerError``.
        """
        trainer = self._trainer_logprobs(self._probe)
        samplers = canary.sampler_logprobs(self._each, self._probe, self._config.rollout.timeout)
        tolerance = self._config.canary_tolerance
        found = [canary.judge(trainer, sampler, self._before, tolerance, version) for sampler in samplers]
        return max(found, key=lambda metrics: metrics["sync/canary"])

    def _trainer_logprobs(self, probe: Sequence[Tokens]) -> list[torch.Tensor]:
        """The trainer's log-probability of every sampled token of each dialogue, at temperature 1."""
        return sampled_logprobs(self._logprobs(probe, 1.0), probe)

    def _logprobs(self, samples: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
        """verl's row of log-probabilities under the trainer for each sample. Position j is of token j + 1."""
        padded = math.ceil(len(samples) / self._world) * self._world  # verl splits them evenly
        batch = plain_batch([samples[i % len(samples)] for i in range(padded)], temperature)
        log_probs = tu.get(_value(self._actor.compute_log_prob(batch)), "log_probs")
        return list(log_probs.unbind())[: len(samples)]

    @watched("saving the model")
    def save(self, directory: Path) -> None:
        scratch = directory.with_name(directory.name + ".state.partial")
        lora = self._config.model.lora.rank
        self._actor.save_as(str(scratch), ["model"] if lora else WEIGHTS)
        if lora:
            write_merged(scratch, self._model_path)
        (scratch / "huggingface").rename(directory)
        shutil.rmtree(scratch)

    @watched("checkpoint")
    def save_state(self, directory: Path) -> None:
        copy = WEIGHTS if self._config.checkpoint.best and not self._config.model.lora.rank else []
        self._actor.save_as(str(directory), [*copy, *self._state])
        if (found := ranks(directory)) < self._world:
            raise RunError(
                f"{directory} holds {found} of {self._world} parts of the trainer: root= must be a directory that "
                "every node writes to"
            )
        canary.write_probe(directory / PROBE_FILE, self._probe, self._before)

    @watched("loading the checkpoint")
    def load_state(self, directory: Path) -> None:
        self._keep_base()
        self._actor.load_as(str(directory), self._state)
        self._probe, self._before = canary.read_probe(directory / PROBE_FILE)

    def close(self) -> None:
        self._ray.stop(progress.unfinished())
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)


def _samples(trajectories: Sequence[Trajectory]) -> list[Tokens]:
    """Those with sampled tokens; a play that failed at its first may have none."""
    return [tokens for trajectory in trajectories for tokens in trajectory.tokens if tokens.sampled_N.any()]


def _spread(samples: Sequence[Tokens]) -> list[Tokens]:
    """``PROBE`` evenly spaced dialogues: those of one scenario often say the same, and a few tokens prove little. The
    sampler gives log-probabilities among the whole vocabulary only, so what was allowed is left out.
    """
    places = np.linspace(0, len(samples) - 1, min(PROBE, len(samples))).round().astype(int)
    return [dataclasses.replace(samples[place], allowed={}) for place in places]


def _objects(values: list[Any]) -> np.ndarray:
    """A one-dimensional object array of any values."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _value(result: Any) -> Any:
    """The result of a worker group's call, whether or not verl made the call blocking."""
    if isinstance(result, ray.ObjectRef):
        return ray.get(result)
    return result.get() if type(result).__name__ == "DataProtoFuture" else result
