"""The backend on verl 0.9: one actor worker group (FSDP2), colocated vLLM servers, verl's agent loop and weight sync.

verl's parts are composed, none of its trainers is inherited.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import DictConfig
from verl import DataProto
from verl.checkpoint_engine import CheckpointEngineManager
from verl.experimental.agent_loop.agent_loop import AgentLoopManager
from verl.single_controller.ray import RayClassWithInitArgs, RayWorkerGroup
from verl.single_controller.ray.base import ResourcePoolManager, create_colocated_worker_cls
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.rollout.llm_server import LLMServerManager

from rmft_verl.backend import OnProgress
from rmft_verl.bridge import canary, progress
from rmft_verl.bridge.batches import sampled_logprobs, sft_batch
from rmft_verl.bridge.client import DialogueClient
from rmft_verl.bridge.losses import loss
from rmft_verl.bridge.verl_config import AGENT
from rmft_verl.config import Config
from rmft_verl.types import RolloutRequest, RunError, Tokens, Trajectory

PROBE = 4
"""Dialogues that the canary compares."""


class VerlBackend:
    """Starts verl's workers and servers; ``ray.init`` must have been called."""

    def __init__(self, config: Config, verl_config: DictConfig, kind: str) -> None:
        self._config = config
        self._world = config.hardware.nodes * config.hardware.gpus_per_node
        pools = ResourcePoolManager(
            resource_pool_spec={"all": [config.hardware.gpus_per_node] * config.hardware.nodes},
            mapping={"actor": "all"},
        )
        pools.create_resource_pool()
        pool = pools.resource_pool_dict["all"]
        worker = RayClassWithInitArgs(
            cls=ray.remote(ActorRolloutRefWorker),
            config=verl_config.actor_rollout_ref,
            role="actor_rollout",
            distillation_config=None,
        )
        colocated = create_colocated_worker_cls({"actor_rollout": worker})
        group = RayWorkerGroup(resource_pool=pool, ray_cls_with_init=colocated, device_name=kind)
        self._actor = group.spawn(prefix_set=["actor_rollout"])["actor_rollout"]
        self._actor.init_model()
        self._actor.set_loss_fn(loss)
        servers = LLMServerManager.create(config=verl_config, worker_group=self._actor, rollout_resource_pool=pool)
        self._client = servers.get_client(DialogueClient)
        engine = omega_conf_to_dataclass(verl_config.actor_rollout_ref.rollout.checkpoint_engine)
        engine.backend = "naive"  # trainer and sampler share the process tree
        self._weights = CheckpointEngineManager(config=engine, actor_wg=self._actor, replicas=servers.get_replicas())
        self._agents = AgentLoopManager.create(config=verl_config, llm_client=self._client)
        self._counter = progress.start()
        self._weights.sleep_replicas()
        self._probe: list[Tokens] = []
        self._before: list[torch.Tensor] | None = None

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        workers = self._config.hardware.agent_workers
        padded = math.ceil(len(requests) / workers) * workers  # verl splits evenly
        rows = [self._row(requests[i % len(requests)]) for i in range(padded)]
        batch = DataProto.from_dict(
            non_tensors={
                "agent_name": _objects([AGENT] * padded),
                "raw_prompt": _objects([[] for _ in rows]),
                "request": _objects(rows),
                "version": np.full(padded, version),
            },
            meta_info={"validate": False, "global_steps": version},
        )
        played = progress.watch(lambda: self._agents.generate_sequences(batch), self._counter, on_progress)
        trajectories: list[Trajectory] = list(played.non_tensor_batch["trajectory"][: len(requests)])
        if not self._probe:  # the first rollout proves the first sync: nothing had been sampled to prove it on
            self._probe = _samples(trajectories)[:PROBE]
            self._prove(version)
        return trajectories

    def _row(self, request: RolloutRequest) -> str:
        return json.dumps(
            {
                "scenario": request.scenario.to_json(),
                "reward_seed": request.reward_seed,
                "policy_seed": request.policy_seed,
                "temperature": request.temperature,
            }
        )

    def update(self, kept: Sequence[Trajectory], seed: int) -> dict[str, float]:
        samples = _samples(kept)
        size, steps = self._batches(len(samples))
        order = np.random.default_rng(seed).permutation(len(samples))[: size * steps]
        self._weights.sleep_replicas()
        self._probe = samples[:PROBE]
        self._before = self._trainer_logprobs(self._probe)
        batch = sft_batch([samples[i] for i in order])
        tu.assign_non_tensor(
            batch,
            mini_batch_size=size,
            epochs=self._config.update.epochs,
            seed=seed,
            dataloader_kwargs={"shuffle": True},
        )
        metrics = tu.get(_value(self._actor.update_actor(batch)), "metrics")
        losses = np.array(metrics["loss"], dtype=float)
        norms = np.array([float(norm) for norm in metrics["grad_norm"]])
        if not (np.isfinite(losses).all() and np.isfinite(norms).all()):
            raise RunError(
                f"update: loss {losses[-1]} or gradient norm {norms[-1]} is not finite; the run stops before the "
                "weights are used. Lower update.lr or update.max_grad_norm"
            )
        return {
            "update/loss": float(losses.mean()),
            "update/loss_first": float(losses[0]),
            "update/loss_last": float(losses[-1]),
            "update/grad_norm": float(norms.mean()),
            "update/steps": float(len(losses)),
            "update/samples": float(size * steps),
            "update/tokens": float(batch["input_ids"].offsets()[-1]) * self._config.update.epochs,
            "update/gpu_memory_gib": float(np.max(metrics["perf/max_memory_allocated_gb"])),
            "update/dropped": float(len(samples) - size * steps),
        }

    def _batches(self, n_samples: int) -> tuple[int, int]:
        """Samples in an optimizer step and steps in an epoch: near ``update.batch``, a multiple of the GPUs."""
        steps = max(1, round(n_samples / self._config.update.batch))
        size = n_samples // steps // self._world * self._world
        if size == 0:
            raise RunError(
                f"update: only {n_samples} valid samples were kept for {self._world} GPUs; "
                "see the invalid rate, and raise rollout.scenarios or selection.keep"
            )
        return size, steps

    def sync(self, version: int) -> dict[str, float]:
        self._transfer(version)
        return self._prove(version) if self._probe else {}

    def _transfer(self, version: int) -> None:
        self._weights.update_weights(version)

    def _prove(self, version: int) -> dict[str, float]:
        """The canary on the probe's sampled tokens; raises ``StaleSamplerError``."""
        trainer = self._trainer_logprobs(self._probe)
        sampler = canary.sampler_logprobs(self._client, self._probe)
        return canary.judge(trainer, sampler, self._before, self._config.canary_tolerance, version)

    def _trainer_logprobs(self, probe: Sequence[Tokens]) -> list[torch.Tensor]:
        """The trainer's log-probability of every sampled token of each dialogue, at temperature 1."""
        rows = [probe[i % len(probe)] for i in range(math.ceil(len(probe) / self._world) * self._world)]
        batch = sft_batch(rows)
        tu.assign_non_tensor(batch, compute_loss=False)
        log_probs = tu.get(_value(self._actor.compute_log_prob(batch)), "log_probs")
        return sampled_logprobs(log_probs, rows)[: len(probe)]

    def save(self, directory: Path) -> None:
        scratch = directory.with_name(directory.name + ".partial")
        shutil.rmtree(scratch, ignore_errors=True)
        self._actor.save_checkpoint(str(scratch), global_step=0)
        (scratch / "huggingface").rename(directory)
        shutil.rmtree(scratch)

    def close(self) -> None:
        ray.shutdown()


def _samples(trajectories: Sequence[Trajectory]) -> list[Tokens]:
    return [tokens for trajectory in trajectories for tokens in trajectory.tokens]


def _objects(values: list[Any]) -> np.ndarray:
    """A one-dimensional object array, whatever the values are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _value(result: Any) -> Any:
    """What a worker group's call returns, whether verl made the call blocking or not."""
    if isinstance(result, ray.ObjectRef):
        return ray.get(result)
    return result.get() if type(result).__name__ == "DataProtoFuture" else result
