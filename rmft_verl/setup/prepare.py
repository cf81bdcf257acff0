"""Resolves and checks a run before it touches a GPU: model, context budget, verl's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmft_verl.bridge.shapes import SHAPES, model_positions
from rmft_verl.config import Config
from rmft_verl.env import Env, load_env, make_generator
from rmft_verl.env.tokens import Budget, CountTokens, estimate_tokens, measure_budget
from rmft_verl.setup.env_checks import check_budget, check_fit, check_positions
from rmft_verl.setup.examples import examples_before
from rmft_verl.setup.hosted import is_hosted, prepare_hosted
from rmft_verl.setup.models import base_model, chat_template, check_files, check_hub
from rmft_verl.types import Message

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Prepared:
    """A run that can start."""

    config: Config
    env_class: type[Env]
    kind: str
    """``cuda``, ``cpu``, or ``hosted`` for a model behind an API, which has no keys of verl and no environment."""
    model_path: str
    budget: Budget
    counted: bool
    """Whether the budget was counted with the model's tokenizer, or estimated from characters."""
    derived: dict[str, Any]
    """verl's keys that follow from the configuration."""
    verl_config: DictConfig
    environment: dict[str, str]
    """Variables that every process of the run needs; already set in this one."""
    examples: Sequence[Message] = ()
    """Messages before the first message of every dialogue."""
    remarks: Sequence[str] = ()
    """What the model's own files add to a dialogue, and what a user should know about its chat template, one line each;
    empty if the model is not on this machine.
    """


def prepare(config: Config, option_sets: Sequence[Mapping[str, Any]] = ()) -> Prepared:
    """Resolve and check the whole configuration; raises ``RunError`` with a one-line remedy.

    ``option_sets``: options of the environment's generator whose dialogues must fit; empty = the configuration's,
    for training and held out.
    """
    if is_hosted(config):
        return prepare_hosted(config, option_sets)
    from rmft_verl.bridge.cluster import runtime
    from rmft_verl.bridge.verl_config import check_raw, compose_verl, derive

    env_class = load_env(config.env.name, config.env_dirs)
    option_sets = option_sets or [config.env.options, config.env.options | config.env.eval_options]
    for options in option_sets:
        make_generator(env_class, options)
    check_fit(config, env_class)
    model_path, template = base_model(config), chat_template(config)
    runtime.installed()
    check_raw(config)
    kind = _planned_device(config) if config.dry_run else runtime.device(config.hardware)
    if Path(model_path).is_dir():
        check_files(model_path)
    elif not (config.dry_run and model_path in SHAPES):  # a plan of ours needs no hub
        check_hub(model_path)
    check_positions(model_positions(model_path), config)
    environment = runtime.prepare(kind, config.hardware.nodes)  # before anything imports verl
    count, remarks = _read_template(model_path, template, config) if Path(model_path).is_dir() else (None, ())
    rollout = config.rollout
    examples = examples_before(env_class, config.env.options, rollout.examples, rollout.history)
    budget = measure_budget(
        env_class,
        option_sets,
        rollout.reply_tokens,
        count or estimate_tokens,
        rollout.history,
        examples,
        rollout.on_invalid,
    )
    check_budget(budget, config)
    derived = derive(config, kind, model_path, budget)
    verl_config = compose_verl(derived, config.verl, template)
    return Prepared(
        config,
        env_class,
        kind,
        model_path,
        budget,
        count is not None,
        derived,
        verl_config,
        environment,
        examples,
        remarks,
    )


def _planned_device(config: Config) -> str:
    """The device that a dry run plans for: the configured one, or this machine's for ``auto``."""
    if config.hardware.device != "auto":
        return config.hardware.device
    from rmft_verl.bridge.cluster import runtime

    return runtime.device(config.hardware)


def _read_template(model_path: str, text: str, config: Config) -> tuple[CountTokens, list[str]]:
    """How tokens are counted, and remarks about what the model's own files add to a dialogue."""
    from rmft_verl.bridge.sampling.chat import load_template, sampling_lines, token_counter
    from rmft_verl.bridge.sampling.whole import difference

    template = load_template(model_path, text, config.model.chat_template)
    remarks = sampling_lines(model_path, template)
    if found := difference(template, config.rollout.history):
        remarks.append(f"chat template: {found}; rmft-verl export writes a template that renders what was played")
    if template.dated:
        remarks.append(
            "chat template: it prints the date, in all of a run that of its start or model.chat_template.today"
        )
    return token_counter(template), remarks
