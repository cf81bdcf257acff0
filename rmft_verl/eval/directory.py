"""The directory of an evaluation. A rerun of the command plays only what is missing.

OUT/config.json        everything that was asked            OUT/table.txt, table.json, table.csv
OUT/environment.json   versions, commit, machine            OUT/figures/*.png
OUT/usage.json         tokens that endpoints have counted   OUT/trajectories/TARGET--PLAYER.parquet

While an endpoint plays, each trajectory is written to its own file in TARGET--PLAYER.partial/ when it ends.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from rmft_verl.store.places import RunDirError, check_place
from rmft_verl.store.run_dir import describe_environment, write_text
from rmft_verl.store.tracking import warn
from rmft_verl.store.trajectory_file import read_trajectories, write_trajectories
from rmft_verl.types import RolloutRequest, StopReason, Trajectory, content_hash

Episode = tuple[str, int, int]
"""Key of an episode within its player: scenario id, reward seed, policy seed."""


def episode(played: Union[RolloutRequest, Trajectory]) -> Episode:
    return played.scenario.id, played.reward_seed, played.policy_seed


def file_name(text: str) -> str:
    """``text`` with everything but letters, digits, dots and dashes replaced by underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


@dataclass(frozen=True)
class EvalDir:
    """One evaluation's directory."""

    path: Path

    def check(self, asked: Mapping[str, Any]) -> None:
        """Raise ``RunDirError`` if the directory holds other files, or an evaluation that conflicts with ``asked``.

        ``asked`` has the keys ``seed``, ``targets`` and ``players``; the last two map names to settings.
        """
        check_place(self.path, "name another --out", folder=True)
        if self._config.exists():
            self._merged(asked)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise RunDirError(f"{self.path} holds files that are no evaluation: name another --out")

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Make or resume the directory, and add what is asked to its config.json."""
        asked = self._merged(asked) if self._config.exists() else asked
        try:
            (self.path / "trajectories").mkdir(parents=True, exist_ok=True)
            (self.path / "figures").mkdir(exist_ok=True)
        except OSError as error:
            raise RunDirError(f"{self.path} cannot be made: {error}. Name another --out") from error
        write_text(self._config, json.dumps(asked, indent=2) + "\n")
        machine = {key: value for key, value in describe_environment().items() if key != "command"}
        write_text(self.path / "environment.json", json.dumps(machine, indent=2) + "\n")

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    def _merged(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """``asked`` with the earlier targets and players added; refuses conflicts."""

        def refuse(what: str, old: Any, new: Any) -> None:
            if old != new:
                raise RunDirError(f"{self.path} holds an evaluation with {what}={old}, not {new}: name another --out")

        before, now = _read(self._config), json.loads(json.dumps(asked))
        refuse("seed", before["seed"], now["seed"])
        for group in ("targets", "players"):
            for name in [name for name in now[group] if name in before[group]]:
                old, new = before[group][name], now[group][name]
                for key in old | new:
                    refuse(f"{name}: {key}", old.get(key), new.get(key))
            now[group] = before[group] | now[group]
        return dict(now)

    def trajectories(self, target: str, player: str) -> Path:
        return self.path / "trajectories" / f"{file_name(target)}--{file_name(player)}.parquet"

    def figure(self, target: str, kind: str) -> Path:
        return self.path / "figures" / f"{file_name(target)}--{kind}.png"

    def stored(self, target: str, player: str) -> dict[Episode, Trajectory]:
        """The stored trajectories that did not fail. A damaged file of ``add`` is deleted with a warning."""
        path = self.trajectories(target, player)
        found = read_trajectories(path) if path.exists() else []
        for part in sorted(self._parts(path).glob("*.parquet")):
            try:
                found += read_trajectories(part)
            except RunDirError as error:
                warn(f"{error}; it is played again")
                part.unlink()
        return {episode(played): played for played in found if played.stop_reason is not StopReason.ERROR}

    def add(self, target: str, player: str, played: Trajectory) -> None:
        """Store one trajectory in its own file at once."""
        parts = self._parts(self.trajectories(target, player))
        parts.mkdir(exist_ok=True)
        write_trajectories(parts / f"{content_hash(episode(played))}.parquet", [played], phase="eval", iteration=0)

    def finish(self, target: str, player: str, played: Sequence[Trajectory]) -> None:
        """Store all trajectories in one file and delete the files of ``add``."""
        path = self.trajectories(target, player)
        write_trajectories(path, played, phase="eval", iteration=0)
        shutil.rmtree(self._parts(path), ignore_errors=True)

    def usage(self, player: str) -> dict[str, int]:
        """What a player's endpoint has counted so far for this directory."""
        counted: dict[str, int] = self._usage().get(player, {})
        return counted

    def add_usage(self, player: str, counted: Mapping[str, int]) -> None:
        before = self.usage(player)
        now = {key: before.get(key, 0) + value for key, value in counted.items()}
        write_text(self.path / "usage.json", json.dumps(self._usage() | {player: now}, indent=2) + "\n")

    def _usage(self) -> dict[str, Any]:
        path = self.path / "usage.json"
        return _read(path) if path.exists() else {}

    @staticmethod
    def _parts(path: Path) -> Path:
        return path.with_suffix(".partial")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path} cannot be read ({error}): name another --out") from error
    if not isinstance(value, dict):
        raise RunDirError(f"{path} is not a JSON object: name another --out")
    return value
