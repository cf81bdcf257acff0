"""``rmft-verl envs list|describe|play|check|new``: what a person does with environments before any model plays."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.config import ConfigError
from rmft_verl.env import Env, EnvLoadError, find_envs, load_env, make_generator, suites
from rmft_verl.eval.options import OWN_DIR, generator_options, own_dirs
from rmft_verl.types import Scenario

SHOWN_ROUNDS = 2

PRIOR_GAMES = 20
"""Games against which ``envs check`` holds a prior."""


def add_envs(commands: Any) -> None:
    """Add ``envs`` and its actions to the command line; ``commands`` is what ``add_subparsers`` returned."""
    envs = commands.add_parser("envs", help="list, describe, play, check or start environments")
    actions = envs.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        parser.set_defaults(call=run)
        return parser

    listing = action("list", _list, "every environment, where it comes from and what it is")
    describing = action("describe", _describe, "an environment's options, suites and an example")
    playing = action("play", _play, "play a scenario yourself; Ctrl-D or quit ends it")
    checking = action("check", _check, "the conformance test for plug-in authors")
    new = action("new", _new, "start an environment of your own: a drop-in that passes check as it is")

    for parser in (describing, playing, checking):
        parser.add_argument("name", metavar="NAME", help="an environment, or the path of a drop-in")
        parser.add_argument(
            "--option", action="append", default=[], metavar="KEY=VALUE", help="option of its Generator"
        )
    for parser in (describing, playing):
        parser.add_argument("--suite", help="one of its named sets of options")
    describing.add_argument("--seed", type=int, default=0, help="of the example (default 0)")
    playing.add_argument("--seed", type=int, help="of the scenario and its draws (default: a new one, which is shown)")
    for parser in (listing, describing, playing, checking):
        text = f"a folder of drop-ins (default: {OWN_DIR}, if there is one)"
        parser.add_argument("--env-dir", action="append", default=[], metavar="DIR", help=text)
    new.add_argument("name", metavar="NAME", help="letters, digits and _")
    new.add_argument("directory", nargs="?", type=Path, default=Path(OWN_DIR), metavar="DIR")
    new.add_argument("--full-information", action="store_true", help="the rewards of all actions are revealed")
    new.add_argument("--recipe", action="store_true", help="write recipes/NAME.yaml too")


def _list(options: argparse.Namespace) -> None:
    directories = own_dirs(options.env_dir)
    for name, where in sorted(find_envs(directories).items()):
        try:
            about = _about(load_env(name, directories)) or "(no docstring)"
        except EnvLoadError as error:
            about = str(error)
        print(f"{name:16} {where}  {about}")


def _check(options: argparse.Namespace) -> None:
    from rmft_verl.env.check import RULES, check_env

    env_class, given = load_env(options.name, own_dirs(options.env_dir)), generator_options(options.option)
    rounds = check_env(env_class, given)
    _check_prior(env_class, given)
    print(f"{options.name}: conforms ({len(RULES)} rules, {rounds} rounds played)")


def _check_prior(env_class: type[Env], given: Mapping[str, Any]) -> None:
    """Check the prior, where there is one, against the games that are drawn.

    A generator may refuse games whose means follow no law that the score knows, by ``ValueError``: those are left out.
    """
    from rmft_verl.env.play import play_now
    from rmft_verl.players import make_player
    from rmft_verl.setup.env_checks import check_prior, check_truth_of_prior

    generator = make_generator(env_class, given)
    if not hasattr(generator, "prior"):
        return
    rng = np.random.default_rng(0)
    scenarios = [generator.draw(rng) for _ in range(PRIOR_GAMES)]
    players = (make_player("uniform", np.random.default_rng(i)) for i in range(PRIOR_GAMES))
    oracles = [
        play_now(env_class, player, scenario, reward_seed=0, policy_seed=0).oracle
        for player, scenario in zip(players, scenarios, strict=True)
    ]
    games = [pair for pair in zip(scenarios, oracles, strict=True) if pair[1].kind != "external"]
    bandits = [(scenario, oracle) for scenario, oracle in games if _has_law(generator, scenario)]
    if bandits:
        check_prior(env_class.name, generator, [scenario for scenario, _ in bandits])
        check_truth_of_prior(env_class.name, generator, bandits)


def _has_law(generator: Any, scenario: Scenario) -> bool:
    try:
        generator.prior(scenario)
    except ValueError:
        return False
    except Exception:  # check_prior says what is wrong
        return True
    return True


def _new(options: argparse.Namespace) -> None:
    from rmft_verl.env.scaffold import write_plug_in, write_recipe

    name, directory = options.name, options.directory
    print(f"wrote {write_plug_in(name, directory, options.full_information)}")
    where = "" if str(directory) == OWN_DIR else f" --env-dir {directory}"
    dry_run = f"recipe={name}"
    if options.recipe:
        print(f"wrote {write_recipe(name, directory)}")
    else:
        dry_run = f"env.name={name} env_dirs=[{directory}] model.path=Qwen/Qwen3-0.6B model.context=8192"
    print("\nIt works as it is; change it from there (docs/write_an_env.md). Next:")
    print(f"  rmft-verl envs check {name}{where}")
    print(f"  rmft-verl envs play {name}{where}")
    print(f"  python -m rmft_verl.main {dry_run} dry_run=true")


def _play(options: argparse.Namespace) -> None:
    from rmft_verl.eval.human import play_by_hand

    env_class = load_env(options.name, own_dirs(options.env_dir))
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if options.seed is None else options.seed
    _check_seed(seed)
    scenario, reward_seed, policy_seed = _drawn(env_class, _chosen(env_class, options), seed)
    print(f"{env_class.name}, seed {seed}. Ctrl-D or quit ends the game.\n")
    play_by_hand(env_class, scenario, reward_seed=reward_seed, policy_seed=policy_seed)


def _describe(options: argparse.Namespace) -> None:
    _check_seed(options.seed)
    env_class = load_env(options.name, own_dirs(options.env_dir))
    print(f"{env_class.name}  ({env_class.__module__}:{env_class.__qualname__})")
    for line in (inspect.getdoc(env_class) or "").splitlines():
        print(f"  {line}".rstrip())
    print("\noptions (KEY=VALUE; in a recipe under env.options)")
    rows = list(option_rows(env_class.Generator))
    name_width, default_width = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    for name, default, text in rows:
        left = f"  {name:{name_width}}  {default:{min(default_width, 24)}}  "
        print(textwrap.fill(left + text, 110, subsequent_indent=" " * (name_width + 4)).rstrip())
    known = suites(env_class)
    if known:
        print("\nsuites (--suite NAME)")
    for name, given in known.items():
        listed = " ".join(f"{key}={value}" for key, value in given.items())
        print(f"  {name:{max(map(len, known))}}  {listed}")
    print(f"\nexample (seed {options.seed}), the first {SHOWN_ROUNDS} rounds played at random")
    chosen = _chosen(env_class, options)
    try:
        for line in _example(env_class, chosen, options.seed):
            print(f"  {line}".rstrip())
    except ConfigError as error:
        if chosen:
            raise
        print(f"  none without options: {error}")


def _example(env_class: type[Env], given: Mapping[str, Any], seed: int) -> Iterator[str]:
    from rmft_verl.env.play import play_now
    from rmft_verl.env.regret import uniform_regret
    from rmft_verl.players.scripted import Scripted

    scenario, reward_seed, policy_seed = _drawn(env_class, given, seed)
    at_random = Scripted([""] * scenario.horizon)  # a uniform action replaces a reply without an action
    game = play_now(env_class, at_random, scenario, reward_seed=reward_seed, policy_seed=policy_seed)
    if game.error:
        raise EnvLoadError(f"the example broke off: {game.error.strip().splitlines()[-1]}. Run envs check.")
    for turn in game.turns[:SHOWN_ROUNDS]:
        for message in turn.messages:
            yield from f"[{message.role}] {message.content}".splitlines()
        named = scenario.actions[turn.action] if isinstance(turn.action, int) else "uniform policy"
        yield f"-> {named}, reward {turn.reward:g}"
    for message in game.turns[SHOWN_ROUNDS].messages if len(game.turns) > SHOWN_ROUNDS else ():
        yield from f"[{message.role}] {message.content}".splitlines()
    yield ""
    yield (
        f"regret: {game.oracle.kind}; uniform play is expected to have {uniform_regret(game.oracle):.2f} after "
        f"{scenario.horizon} rounds here"
    )


def option_rows(generator: type) -> Iterator[tuple[str, str, str]]:
    """(name, default, docstring) of each option, in the order of the constructor."""
    texts: dict[str, str] = {}
    for parent in reversed(generator.__mro__[:-1]):
        texts |= _field_docs(parent)
    factories: dict[str, Any] = {}
    if dataclasses.is_dataclass(generator):
        made = [field for field in dataclasses.fields(generator) if callable(field.default_factory)]
        factories = {field.name: field.default_factory for field in made}
    for name, option in inspect.signature(generator).parameters.items():
        if option.kind is inspect.Parameter.VAR_KEYWORD:
            default = "(any)"
        elif name in factories:
            default = repr(factories[name]())
        else:
            default = "(needed)" if option.default is inspect.Parameter.empty else repr(option.default)
        yield name, default, texts.get(name, "")


def _field_docs(generator: type) -> dict[str, str]:
    """Field -> its docstring, for a dataclass whose source is available."""
    if not dataclasses.is_dataclass(generator):
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(generator)))
    except (OSError, TypeError):  # made at run time: it has no source
        return {}
    assert isinstance(tree.body[0], ast.ClassDef)
    body, texts = tree.body[0].body, {}
    for field, below in itertools.pairwise(body):
        text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
            texts[field.target.id] = " ".join(text.split())
    return texts


def _about(env_class: type[Env]) -> str:
    """The first line of the docstring of the class, or else of its module."""
    text = env_class.__doc__ or sys.modules[env_class.__module__].__doc__ or ""
    return (text.strip().splitlines() or [""])[0]


def _chosen(env_class: type[Env], options: argparse.Namespace) -> dict[str, Any]:
    """The suite's options, with those of --option merged over them."""
    known = suites(env_class)
    if options.suite is not None and options.suite not in known:
        raise ConfigError(f"--suite {options.suite}: {env_class.name} has {', '.join(known) or 'no suites'}.")
    return {**(known[options.suite] if options.suite else {}), **generator_options(options.option)}


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"--seed {seed}: must be at least 0")


def _drawn(env_class: type[Env], given: Mapping[str, Any], seed: int) -> tuple[Scenario, int, int]:
    """A scenario with its reward seed and its policy seed."""
    scenario_seed, reward_seed, policy_seed = (int(n) for n in np.random.SeedSequence(seed).generate_state(3))
    scenario: Scenario = make_generator(env_class, given).draw(np.random.default_rng(scenario_seed))
    return scenario, reward_seed, policy_seed
