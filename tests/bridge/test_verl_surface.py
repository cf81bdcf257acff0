"""The parts of verl that the bridge calls, by name and signature: a verl that moved one fails here first."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from verl.checkpoint_engine import CheckpointEngineManager
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopManager,
    AgentLoopOutput,
    AgentLoopWorker,
)
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.utils.tensordict_utils import make_iterator
from verl.workers.engine.utils import prepare_micro_batches
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer
from verl.workers.utils.losses import ppo_loss, sft_loss

SURFACE = [
    (ActorRolloutRefWorker.__init__, ["config", "role", "distillation_config"]),
    (ActorRolloutRefWorker.set_loss_fn, ["loss_fn"]),
    (ActorRolloutRefWorker.update_actor, ["data"]),
    (ActorRolloutRefWorker.compute_log_prob, ["data"]),
    (ActorRolloutRefWorker.save_checkpoint, ["local_path", "global_step"]),
    (ActorRolloutRefWorker.load_checkpoint, ["local_path"]),
    (AgentLoopBase.__init__, ["trainer_config", "server_manager", "tokenizer"]),
    (AgentLoopBase.run, ["sampling_params"]),
    (AgentLoopManager.__init__, ["config", "llm_client"]),
    (AgentLoopManager.generate_sequences, ["prompts"]),
    (AgentLoopWorker.__init__, ["config", "llm_client"]),
    (AgentLoopWorker.generate_sequences, ["batch"]),
    (AgentLoopWorker._run_agent_loop, ["sampling_params", "trajectory"]),
    (AgentLoopWorker._agent_loop_postprocess, ["output", "validate"]),
    (vLLMHttpServer.generate, ["prompt_ids", "sampling_params", "request_id"]),
    (LLMServerManager.__init__, ["config", "worker_group", "rollout_resource_pool"]),
    (LLMServerManager.get_replicas, []),
    (LLMServerClient.generate, ["request_id", "prompt_ids", "sampling_params"]),
    (CheckpointEngineManager.__init__, ["config", "actor_wg", "replicas"]),
    (CheckpointEngineManager.update_weights, ["global_steps"]),
    (CheckpointEngineManager.sleep_replicas, []),
    (sft_loss, ["config", "model_output", "data", "dp_group"]),
    (ppo_loss, ["config", "model_output", "data", "dp_group"]),
    (
        compute_grpo_outcome_advantage,
        ["token_level_rewards", "response_mask", "index", "norm_adv_by_std_in_grpo"],
    ),
    (make_iterator, ["tensordict", "mini_batch_size", "epochs", "seed", "dataloader_kwargs"]),
    (prepare_micro_batches, ["data"]),
]


@pytest.mark.parametrize(("function", "names"), SURFACE, ids=lambda value: getattr(value, "__qualname__", ""))
def test_parameters_are_where_we_expect_them(function: Any, names: list[str]) -> None:
    assert set(names) <= set(inspect.signature(function).parameters)


def test_agent_loop_output_has_the_fields_we_fill() -> None:
    fields = set(AgentLoopOutput.model_fields)
    assert {"prompt_ids", "response_ids", "response_mask", "num_turns", "metrics", "extra_fields"} <= fields
