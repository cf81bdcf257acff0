"""A real run that loses its engine, then a rollout process, then hangs: one line each, nothing left, and it goes on.

``test_vanished`` asks in minutes less what the backend says.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from real_run import SMALL, Tree, is_open, litter, plays, state

from rmft_verl.store.run_dir import PHASES

pytestmark = [pytest.mark.e2e, pytest.mark.soak]

UP = "verl and vLLM are up"


def reached(run: Path, edge: tuple[int, str]) -> bool:
    iteration, phase = state(run)
    return (iteration, PHASES.index(phase)) >= (edge[0], PHASES.index(edge[1]))


def test_a_run_that_loses_a_process_stops_in_one_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RMFT_VERBOSE", raising=False)
    run, log, before = tmp_path / "run", tmp_path / "log", litter()
    sizes = ["env.options.horizon=[20]", "rollout.scenarios=8", "rollout.rollouts=16", "eval.scenarios=64"]
    arguments = [*SMALL, *sizes, "iterations=1", f"root={tmp_path}", "name=run"]

    def lose(edge: tuple[int, str], word: str, number: signal.Signals) -> str:
        """Start, send a signal to the processes called ``word`` after ``edge``; returns the last line that was said."""
        tree = Tree(log, arguments)
        said = log.read_text().count(UP)
        try:
            while not reached(run, edge) or log.read_text().count(UP) == said:
                assert tree.process.poll() is None, log.read_text()
                time.sleep(0.02)
            assert not is_open(tree), "takes connections from outside"
            (pid, *_) = tree.named(word)
            os.kill(pid, number)
            assert tree.process.wait() == 2, log.read_text()
        except BaseException:
            tree.kill()
            raise
        assert not tree.gone(), "left processes"
        assert not litter() - before
        return log.read_text().strip().splitlines()[-1]

    said = lose((0, "sync"), "VLLM::EngineCore", signal.SIGKILL)
    assert re.match(r"rmft_verl: vLLM's engine \(process \d+\) has ended; it held \d", said), said
    assert state(run) == (0, "sync") and not plays(run)  # nothing of a phase that was cut is taken for whole
    said = lose((0, "log"), "ray::DialogueServer", signal.SIGKILL)
    assert re.match(r"rmft_verl: vLLM's server, which plays the dialogues \(process \d+\) has ended", said), said
    assert set(plays(run)) == {"eval_000.parquet"}
    said = lose((0, "log"), "VLLM::EngineCore", signal.SIGSTOP)
    assert re.match(r"rmft_verl: vLLM's engine \(process \d+\) has been stopped for 30 s", said), said
    measured = plays(run)
    assert set(measured) == {"eval_000.parquet"}

    tree = Tree(log, arguments)
    assert tree.process.wait() == 0, log.read_text()
    assert not tree.gone() and not litter() - before
    assert state(run) == (1, "save") and plays(run).items() >= measured.items()
