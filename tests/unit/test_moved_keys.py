"""Keys of earlier versions that verl's own keys have replaced: runs and commands that hold them go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmft_verl.config import FSDP_SIZE, WEIGHT_DECAY, Config, ConfigError
from rmft_verl.setup.recipe import load_config, reload_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.stored_config import check_same, stored_config

OLD = "hardware: {fsdp_size: FSDP, device: cpu}\nupdate: {weight_decay: DECAY, epochs: 2}\n"


def run_of(root: Path, fsdp: str, decay: str) -> RunDir:
    return RunDir.create(root, "run", OLD.replace("FSDP", fsdp).replace("DECAY", decay))


@pytest.mark.parametrize(("decay", "now"), [("0.0", None), ("0.1", 0.1)])
def test_a_run_of_an_earlier_version_has_the_same_configuration(decay: str, now: float | None, tmp_path: Path) -> None:
    run = run_of(tmp_path, "-1", decay)
    config = reload_config(run.config, [])
    assert config.verl_override(WEIGHT_DECAY) == now and config.verl_override(FSDP_SIZE) is None
    assert config.update.epochs == 2 and (config.verl == {}) == (now is None)
    stored = stored_config(run.path)
    assert "update.weight_decay" not in stored and stored.get(f"verl.{WEIGHT_DECAY}") == now
    check_same(run, config)


def test_a_command_of_an_earlier_version_still_means_what_it_did() -> None:
    config = load_config(["recipe=mab_tiny", "update.weight_decay=0.1"])
    assert config.verl_override(WEIGHT_DECAY) == 0.1 and config.update.lr != Config().update.lr


def test_a_key_that_is_gone_is_ignored_in_a_run_and_refused_in_a_command(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "run", "hardware: {agent_workers: 8, device: cpu}\n")
    config = reload_config(run.config, [])
    assert config.hardware.device == "cpu" and "hardware.agent_workers" not in stored_config(run.path)
    check_same(run, config)
    with pytest.raises(ConfigError, match=r"hardware.agent_workers=8: this key is gone, since vLLM's servers play"):
        load_config(["recipe=mab_tiny", "hardware.agent_workers=8"])
