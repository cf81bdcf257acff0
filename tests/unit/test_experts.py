"""Full information with one option a reply and fixed means: it conforms, and is played by its own references."""

from __future__ import annotations

import numpy as np
import pytest
from toy_experts import Experts

from rmft_verl.env import EnvLoadError
from rmft_verl.env.check import check_env
from rmft_verl.env.seeds import draw_held_out
from rmft_verl.eval.algorithms import evaluate_players, references
from rmft_verl.eval.table import summarize
from rmft_verl.types import Oracle


def test_one_option_a_reply_and_fixed_means_conform() -> None:
    check_env(Experts)


def test_means_that_are_not_those_of_the_rewards_are_found() -> None:
    class Wrong(Experts):
        def oracle(self) -> Oracle:
            return Oracle(1 - super().oracle().expected_T_A, "pseudo")

    with pytest.raises(EnvLoadError, match="an action whose mean is 1 higher pays"):
        check_env(Wrong)


def test_the_references_are_players_of_full_information() -> None:
    scenarios = draw_held_out(Experts, {}, 40, 0)
    names = references(Experts, scenarios, ["pseudo"])
    assert names == ("uniform", "ftl", "hedge", "ftpl")
    table = summarize(evaluate_players(Experts, [*names, "oracle"], scenarios, 1, 0))
    regrets = {row.player: row.normalized_regret.value for row in table.rows}
    assert regrets["oracle"] == pytest.approx(0) and regrets["uniform"] == pytest.approx(1)
    assert regrets["ftl"] < 0.9 and np.isfinite(list(regrets.values())).all()
