"""One run on numbers, from configuration to report, with the same directory and files as any other run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rmft_verl.config import BALL, Config, ConfigError
from rmft_verl.env import Env
from rmft_verl.env.seeds import HELD_OUT_SEED
from rmft_verl.eval.algorithms import evaluate_players, plays_all, references
from rmft_verl.eval.report import write_report
from rmft_verl.labs.numeric.plan import check_numeric, one_size, plan_lines
from rmft_verl.setup.console import Screen
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store.env_copy import as_begun
from rmft_verl.store.record import logged_rows
from rmft_verl.store.run_dir import RunDir
from rmft_verl.train.results import held_out, untrained
from rmft_verl.train.run import begun, find_run, is_trained, start_trackers
from rmft_verl.train.view import page_writer
from rmft_verl.types import Scenario, Trajectory

NAMES = {"sft": "rmft", "regret": "regret_loss", "dpt": "dpt"}
"""Loss -> name of the trained model in the growth table."""


def run(config: Config) -> Path:
    """Train as configured, or resume an existing run; returns its directory. A dry run prints the plan."""
    check_numeric(config)
    generator, scenarios = (None, []) if config.env.name == BALL else one_size(config)
    screen, found = Screen(), find_run(config)
    if config.dry_run:
        screen.console.print("\n".join(plan_lines(config)), markup=False)
        return Path(config.root)
    if found is not None and is_trained(found, config) and (found.report / "table.json").exists():
        screen.console.print(f"{found.path} has finished: its {config.iterations} iterations are done")
        screen.console.print((found.report / "table.txt").read_text(encoding="utf-8"), markup=False)
        return found.path
    device = prepare_torch(config)
    with begun(config, found, screen) as directory:
        tracker = start_trackers(config, directory)
        try:
            if config.env.name == BALL:
                from rmft_verl.labs.numeric.theory import TheoryTrainer

                TheoryTrainer(config, directory, tracker).train(lambda n, row: say_theory(screen, n, row))
            else:
                from rmft_verl.labs.numeric.trainer import NumericTrainer

                NumericTrainer(config, generator, scenarios, directory, tracker, device).train(screen.iteration)
        finally:
            tracker.close()
        screen.console.print(report(config, directory), markup=False)
    screen.console.print(f"figures and tables: {directory.report}\nmodel: {directory.checkpoints / 'final'}")
    return directory.path


def report_run(path: Path) -> str:
    """Rebuild the report of a run from its files; returns the text to show."""
    directory = RunDir.open(path)
    config = reload_config(directory.config, [])
    return report(config, directory)


def prepare_torch(config: Config) -> str:
    """Give torch one thread; returns ``cuda`` or ``cpu``. ``ConfigError`` without torch or a requested GPU.

    Models this small gain nothing from a second thread, and lose much if another process wants its core.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"model.path={config.model.path}: torch is not installed; pip install torch") from error
    torch.set_num_threads(1)
    there = torch.cuda.is_available()
    if config.hardware.device == "cuda" and not there:
        raise ConfigError("hardware.device='cuda': no GPU is visible; use hardware.device=cpu or auto")
    return "cuda" if there and config.hardware.device != "cpu" else "cpu"


def say_theory(screen: Screen, n: int, row: dict[str, float]) -> None:
    """Print one line for a measured iteration of ``theory_ftrl``."""
    if "heldout/ftrl_rate" not in row:
        return
    screen.console.print(
        f"{n:>4}  rate {row['heldout/ftrl_rate']:.3f} of the theorem's, "
        f"relative error {row['heldout/ftrl_error']:.3f}, cosine {row['heldout/ftrl_cosine']:.4f}"
    )


def report(config: Config, directory: RunDir) -> str:
    """Write tables and figures of a run from its files; returns the text to show."""
    if config.env.name == BALL:
        from rmft_verl.labs.numeric.theory import report as report_theory

        return report_theory(config, directory)
    from rmft_verl.labs.numeric.growth import text, write_growth

    rows, sets, name = logged_rows(directory), held_out(directory), NAMES[config.update.loss]
    with as_begun(directory.path, config.env.name, config.env_dirs) as env_class:
        beside = reference_plays(config, [play.scenario for play in sets["base"]], env_class)
        page = page_writer(config, env_class, directory, sets)
        models = {name: [sets["trained"]]} if "trained" in sets else {}
        models |= {player: [plays] for player, plays in ({"base": sets["base"]} | beside).items()}
        growth = write_growth(directory.report, models)
        if config.env.name == "fol" and "trained" in sets:
            draw_first({"hedge": beside["hedge"], name: sets["trained"], "ftl": beside["ftl"]}, directory)
        table = write_report(directory.report, sets | beside, rows, untrained(directory, sets), page)
        return f"{text(growth)}\n{table.text()}"


def draw_first(plays: dict[str, list[Trajectory]], directory: RunDir) -> None:
    """Draw policies.png: what each player does in the first held-out game of the shortest horizon."""
    import numpy as np

    from rmft_verl.labs.numeric.figures import draw_decisions

    scenarios = [play.scenario for play in next(iter(plays.values()))]
    first = min(range(len(scenarios)), key=lambda i: (scenarios[i].horizon, i))
    draw_decisions(
        {name: np.array(one[first].actions_T) for name, one in plays.items()}, directory.report / "policies.png"
    )


def reference_plays(config: Config, scenarios: list[Scenario], env_class: type[Env]) -> dict[str, list[Trajectory]]:
    """The reference players' trajectories on the held-out scenarios, with the evaluation's draws."""
    import torch

    from rmft_verl.labs.numeric import players
    from rmft_verl.labs.numeric.games import KINDS, Games
    from rmft_verl.labs.numeric.models import full_history
    from rmft_verl.labs.numeric.plays import Plays
    from rmft_verl.labs.numeric.trainer import play_held_out

    if config.env.name != "fol":
        names = references(env_class, scenarios, [KINDS[config.env.name]])
        played = evaluate_players(env_class, names, scenarios, 1, HELD_OUT_SEED)
        if plays_all("exp3", env_class, scenarios):
            played["exp3"] = play_held_out(scenarios, players.play_exp3, "exp3")
        return played

    def playing(name: str) -> Any:
        def play_games(games: Games, rng: torch.Generator) -> Plays:
            policies = players.POLICIES[name](games.rewards_B_T_A, rng)
            return Plays(games, full_history(games.rewards_B_T_A), policies, None)

        return play_games

    return {name: play_held_out(scenarios, playing(name), name) for name in players.POLICIES}
