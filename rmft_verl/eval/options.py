"""The options of ``rmft-verl eval``, and the values that are refused."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rmft_verl.players.api import DEFAULT_KEY, PREFIX
from rmft_verl.types import RunError

MODEL = "model"
"""Name of the player that is a language model on verl's backend."""

REFERENCES = "references"
"""Name that stands for the reference players of a target's kind of game."""


USED = (
    "model",
    "hardware",
    "verl",
    "env_dirs",
    "root",  # with warmup it says which warmed model
    "warmup",
    "eval.temperature",
    "canary_tolerance",
    "update.batch",  # the number of GPUs must divide it
    *(
        f"rollout.{key}"
        for key in ("reply_tokens", "top_p", "history", "on_invalid", "structured", "examples", "timeout")
    ),
)
"""The configuration's keys, or groups of keys, that ``eval --recipe``, ``--run`` and ``--base`` use."""

INSTEAD = {
    "env.name": "name it as a TARGET",
    "eval.scenarios": "write --scenarios",
    "eval.rollouts": "write --episodes",
    "rollout.temperature": "write eval.temperature=...",
    "seed": "write --seed",
}
"""What an evaluation uses in place of other keys."""

OWN_DIR = "my_envs"
"""Where ``envs new`` writes, and where commands look for drop-ins if it is there and --env-dir is not given."""


def own_dirs(given: Sequence[str]) -> list[str]:
    """The folders of drop-ins: those given, else ``OWN_DIR`` if there is one."""
    return list(given) or ([OWN_DIR] if Path(OWN_DIR).is_dir() else [])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add = parser.add_argument
    add("target", nargs="+", metavar="TARGET", help="ENV, ENV:SUITE or RECIPE; 'ENV:SUITE key=value'")
    text = "algorithms, oracle, references (the default), api:MODEL, model"
    add("--players", nargs="+", default=[REFERENCES], metavar="P", help=text)
    add("--scenarios", type=int, default=200, metavar="N", help="scenarios of each target (200)")
    add("--episodes", type=int, default=1, metavar="E", help="episodes of each player in each scenario (1)")
    add("--seed", type=int, default=0, help="of the scenarios and the draws (0)")
    add("--option", nargs="+", action="extend", default=[], metavar="key=value", help="options of the generators")
    add("--env-dir", action="append", default=[], metavar="DIR", help="a folder of drop-in environments")
    add("--out", type=Path, metavar="DIR", help="where the files go (evals/NAME-TIME); one with files is continued")
    model = parser.add_argument_group("player model (through verl)").add_mutually_exclusive_group()
    model.add_argument("--recipe", nargs="+", metavar=("NAME", "key=value"), help="model, context, hardware: a recipe")
    model.add_argument("--run", nargs="+", metavar=("RUN", "key=value"), help="the trained model of a run")
    model.add_argument("--base", nargs="+", metavar=("RUN", "key=value"), help="the model that a run started from")
    api = parser.add_argument_group("players api:MODEL (OpenAI-compatible endpoints)").add_argument
    api("--base-url", default="", metavar="URL", help="such as http://localhost:8000/v1; default OPENAI_BASE_URL")
    api("--api-key-env", default=DEFAULT_KEY, metavar="NAME", help=f"variable that holds the key ({DEFAULT_KEY})")
    api("--concurrency", type=int, default=8, metavar="N", help="episodes at once (8)")
    api("--max-tokens", type=int, default=512, metavar="N", help="most tokens of a reply (512)")
    api("--temperature", type=float, metavar="X", help="default: the endpoint's own")
    api("--timeout", type=float, default=120.0, metavar="SECONDS", help="silence after which a request fails (120)")
    api("--price-in", type=float, metavar="DOLLARS", help="per million prompt tokens")
    api("--price-out", type=float, metavar="DOLLARS", help="per million reply tokens")
    api("--yes", action="store_true", help="do not ask whether the cost is right")


def check(options: argparse.Namespace) -> None:
    """Refuse values that are invalid on their own (``RunError``); set ``generator_options`` from ``--option``."""
    options.generator_options = generator_options(options.option)
    lowest = {"scenarios": 1, "episodes": 1, "seed": 0, "concurrency": 1, "max_tokens": 1, "timeout": 0.001}
    for key, low in (lowest | {"temperature": 0.0, "price_in": 0.0, "price_out": 0.0}).items():
        value = vars(options)[key]
        if value is not None and not low <= value < float("inf"):
            raise RunError(f"--{key.replace('_', '-')} {value}: must be at least {low}")
    _check_players(options)
    if (options.price_in is None) != (options.price_out is None):
        raise RunError("--price-in and --price-out: give both or neither")


def check_overrides(words: Sequence[str]) -> None:
    """Raise ``RunError`` for a ``key=value`` of a model's configuration that an evaluation does not use."""
    for word in words:
        key, _, value = word.partition("=")
        if any(key == used or key.startswith(f"{used}.") for used in USED):
            continue
        option = key.removeprefix("env.eval_options.").removeprefix("env.options.")
        remedy = f"write --option {option}={value}" if option != key else INSTEAD.get(key, "leave it out")
        raise RunError(f"{word}: an evaluation does not use {key}: {remedy}")


def _check_players(options: argparse.Namespace) -> None:
    """Refuse options of a kind of player that is not asked for."""
    given = next((name for name in ("recipe", "run", "base") if vars(options)[name]), None)
    if given is not None:
        if MODEL not in options.players:
            raise RunError(
                f"--{given} {vars(options)[given][0]}: nobody plays it; add model to --players, or leave it out"
            )
        check_overrides(vars(options)[given][1:])
    if options.temperature is not None and not any(player.startswith(PREFIX) for player in options.players):
        raise RunError(f"--temperature {options.temperature:g} is for {PREFIX}MODEL; a model has eval.temperature=...")


def generator_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse options as a recipe does: ``arms=[3,4]`` is a list, ``min_gap=0.1`` a number. Raises ``RunError``."""
    for pair in pairs:
        if "=" not in pair:
            raise RunError(f"option {pair!r}: write KEY=VALUE, for example horizon=20")
    try:
        options: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(pairs)))
    except Exception as error:  # from YAML or OmegaConf
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"options {' '.join(pairs)!r} cannot be parsed: {first}. Quote lists and spaces.") from error
    return {str(key): value for key, value in options.items()}
