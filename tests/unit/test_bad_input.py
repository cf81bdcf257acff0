"""Bad input stops before anything loads: exit status 2, one line with key, value and remedy, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmft_verl.main import main
from rmft_verl.setup.recipe import load_config

CASES = {
    "context that cannot fit": (["model.context=2000"], ["model.context=2000", "rollout.reply_tokens"]),
    "unknown key": (["rollout.rolouts=3"], ["rollout.rolouts", "rollout.rollouts"]),
    "unknown key of verl": (["verl.actor_rollout_ref.actor.foo=1"], ["actor_rollout_ref.actor.foo"]),
    "missing model directory": (["model.path=./no/such/model"], ["./no/such/model", "config.json"]),
    "unknown shipped model": (["model.path=tiny:nope"], ["tiny:nope", "mab"]),
    "k > L": (["selection.keep=17"], ["selection.keep=17", "rollout.rollouts=16"]),
    "batch larger than what is kept": (["update.batch=4096"], ["update.batch=4096", "lower"]),
    "wrong type": (["rollout.rollouts=many"], ["rollout.rollouts", "many"]),
    "unknown score": (["selection.score=best"], ["selection.score='best'", "posterior"]),
    "fraction of a play": (["selection.keep=2.5"], ["selection.keep=2.5", "whole"]),
    "keep nothing": (["selection.keep=0"], ["selection.keep=0", "above 0"]),
    "continuation without a posterior": (["selection.further=1"], ["selection.further=1", "selection.score=posterior"]),
    "posterior without a prior": (
        ["selection.score=posterior", "env.options.means=one_best"],
        ["selection.score='posterior'", "means='one_best'", "selection.score=regret"],
    ),
    "posterior in full information": (
        ["selection.score=posterior", "recipe=fol_qwen3"],
        ["selection.score='posterior'", "fol", "selection.score=regret"],
    ),
    "a threshold for pairs": (
        ["update.loss=dpo", "selection.threshold=0.2"],
        ["selection.threshold=0.2", "update.loss=sft", "leave it out"],
    ),
    "a rule for pairs": (
        ["update.loss=dpo", "selection.accept=proportional"],
        ["selection.accept='proportional'", "update.loss=sft", "leave it out"],
    ),
    "a rule that nobody knows": (["selection.accept=luck"], ["selection.accept='luck'", "best, proportional"]),
    "an option of another loss": (["update.margin=0.1"], ["update.margin=0.1", "update.loss=dpo", "leave it out"]),
    "credit without reinforcement": (["update.credit=ucb"], ["update.credit='ucb'", "update.loss=grpo"]),
    "a threshold that is no number": (["selection.threshold=nan"], ["selection.threshold=nan", "write a number"]),
    "a clip below 0": (["update.max_grad_norm=-1"], ["update.max_grad_norm=-1", "above 0"]),
    "a probability above 1": (["rollout.top_p=2"], ["rollout.top_p=2", "at most 1"]),
    "a negative seed": (["seed=-1"], ["seed=-1", "at least 0"]),
    "no shard": (["hardware.fsdp_size=0"], ["fsdp_size=0", "-1 takes all"]),
    "shards that do not divide": (["hardware.fsdp_size=3"], ["fsdp_size=3", "8 GPUs"]),
    "more context than positions": (
        ["model.context=57344", "hardware.tokens_per_gpu=57344"],
        ["model.context=57344", "Qwen/Qwen3-8B has 40960 positions"],
    ),
    "more context than a local model has": (
        ["recipe=mab_tiny", "model.context=16384"],
        ["model.context=16384", "8192 positions"],
    ),
    "one value for a group": (["env=fol"], ["env=fol", "env.name=..."]),
    "a word for a list": (["env_dirs=my_envs"], ["env_dirs=my_envs", "write env_dirs=[my_envs]"]),
    "words on numbers": (["recipe=fol_numeric", "update.train_on=action"], ["update.train_on='action'", "reply"]),
    "held-out plays on numbers": (["recipe=fol_numeric", "eval.rollouts=4"], ["eval.rollouts=4", "numeric:"]),
    "no control in the theorem": (
        ["recipe=theory_ftrl", "update.loss=sft", "selection.score=random"],
        ["selection.score='random'", "ball", "leave it out"],
    ),
    "agreement with UCB of another scale": (
        ["update.loss=grpo", "update.credit=ucb", "env.options.law=[gaussian]", "env.options.noise=0.2"],
        ["update.credit='ucb'", "0.2"],
    ),
    "DPO with one play": (["update.loss=dpo", "rollout.rollouts=1", "selection.keep=1"], ["update.loss='dpo'", "2 or"]),
    "more pairs than plays": (["update.loss=dpo", "selection.keep=9"], ["selection.keep=9", "at most half"]),
    "DPO with a prompt a round": (["update.loss=dpo", "rollout.history=summary"], ["rollout.history=dialogue"]),
    "GRPO with one play": (["update.loss=grpo", "rollout.rollouts=1", "selection.keep=1"], ["update.loss='grpo'"]),
    "GRPO with an action-only mask": (["update.loss=grpo", "update.train_on=action"], ["update.train_on='action'"]),
    "GRPO from the base": (["update.loss=grpo", "update.start=base"], ["update.start='base'"]),
    "hotter than vLLM samples": (["rollout.temperature=4"], ["rollout.temperature=4.0", "2 at most", "soften"]),
    "a hot evaluation": (["eval.temperature=2.5"], ["eval.temperature=2.5", "2 at most", "soften"]),
    "GRPO without chance": (["update.loss=grpo", "rollout.temperature=0"], ["rollout.temperature=0", "above 0"]),
    "a pair that does not fit": (["update.loss=dpo"], ["hardware.tokens_per_gpu=16384", "twice"]),
    "GRPO on a nucleus": (["update.loss=grpo", "rollout.top_p=0.9"], ["rollout.top_p=0.9", "use rollout.top_p=1"]),
    "GRPO on a raw nucleus": (
        ["update.loss=grpo", "verl.actor_rollout_ref.rollout.top_p=0.9"],
        ["verl.actor_rollout_ref.rollout.top_p=0.9", "use verl.actor_rollout_ref.rollout.top_p=1"],
    ),
    "GRPO on the likeliest tokens": (
        ["update.loss=grpo", "verl.actor_rollout_ref.rollout.top_k=20"],
        ["verl.actor_rollout_ref.rollout.top_k=20", "use verl.actor_rollout_ref.rollout.top_k=-1"],
    ),
    "GRPO on an algorithm's play": (["update.loss=grpo", "rollout.player=ucb1"], ["rollout.player='ucb1'"]),
    "agreement with UCB without arms": (
        ["update.loss=grpo", "update.credit=ucb", "recipe=fol_qwen3"],
        ["update.credit='ucb'", "fol"],
    ),
    "unknown player": (["rollout.player=ucb9"], ["rollout.player='ucb9'", "ucb1"]),
    "a player that does not know the game": (["rollout.player=hedge"], ["rollout.player='hedge'", "mab"]),
    "unknown environment": (["env.name=nope"], ["env.name", "nope", "mab"]),
    "unknown option of the environment": (["env.options.arm=[3]"], ["arm"]),
    "bad value of an option": (["env.options.contexts=nowhere"], ["contexts", "nowhere"]),
    "missing env_dirs": (["env_dirs=[./no_such_dir]"], ["env_dirs", "no_such_dir"]),
    "tensor parallel that does not divide": (["hardware.tensor_parallel=3"], ["hardware.tensor_parallel=3"]),
    "not key=value": (["rollout"], ["rollout", "key=value"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_names_key_value_and_remedy(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = CASES[case]
    monkeypatch.chdir(tmp_path)
    assert main(["recipe=mab_qwen3", "dry_run=true", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert all(part in said for part in expected), said
    assert not list(tmp_path.iterdir())


def test_an_unknown_recipe_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe=nope"]) == 2
    assert "mab_tiny" in capsys.readouterr().err


def test_a_plug_in_that_raises_on_import_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    assert main(["recipe=mab_qwen3", "dry_run=true", "env.name=broken", f"env_dirs=[{tmp_path}]"]) == 2
    said = capsys.readouterr().err
    assert "broken.py:1: ModuleNotFoundError" in said and "no_such_module_here" in said
    assert said.count("\n") == 1


def test_the_plan_of_the_gpu_recipe_needs_neither_gpu_nor_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipe=mab_qwen3", "dry_run=true"]) == 0
    plan = capsys.readouterr().out
    for part in (
        "1 x 8 GPUs",
        "8.19 B parameters",
        "91.5 GiB a checkpoint",
        "512 dialogues",
        "spare",
        "fits: ",
    ):
        assert part in plan, part
    assert "derived verl values" not in plan
    monkeypatch.setenv("RMFT_VERBOSE", "1")
    assert main(["recipe=mab_qwen3", "dry_run=true"]) == 0
    assert "max_model_len = 12288" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_gpu_recipe_without_a_gpu_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main(["recipe=mab_qwen3"]) == 2
    assert "dry_run=true" in capsys.readouterr().err


@pytest.mark.parametrize(
    "size",
    [
        ["model.path=Qwen/Qwen3-0.6B", "hardware.gpus_per_node=1", "update.lr=2e-5"],
        ["model.path=Qwen/Qwen3-4B", "hardware.gpus_per_node=2", "hardware.gpu_memory=0.5"],
        [
            "model.path=Qwen/Qwen3-32B",
            "hardware.nodes=4",
            "hardware.tensor_parallel=4",
            "hardware.offload=true",
        ],
        [
            "model.chat_template.enable_thinking=true",
            "rollout.reply_tokens=1024",
            "model.context=40960",
            "hardware.tokens_per_gpu=40960",
        ],
    ],
)
def test_the_overrides_in_the_recipe_header_resolve(size: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    header = " ".join(Path("recipes/mab_qwen3.yaml").read_text().split())
    assert all(override in header for override in size)
    assert main(["recipe=mab_qwen3", "dry_run=true", *size]) == 0


def test_later_layers_win_and_open_mappings_stay_open() -> None:
    config = load_config(["recipe=mab_tiny", "rollout.scenarios=30", "env.options.horizon=[7]", "verl.ray_kwargs.x=1"])
    assert config.rollout.scenarios == 30
    assert config.rollout.rollouts == 16
    assert config.env.options["horizon"] == [7]
    assert config.verl == {"ray_kwargs": {"x": 1}}
