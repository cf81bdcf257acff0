"""Growth of regret over seeds, for the runs of a comparison on numbers (ROOT/LABEL_seedS).

    rmft-verl compare --arm rmft fol_numeric --arm random fol_numeric+random \
        --arm regret_loss fol_numeric+regret_loss --arm dpt fol_numeric+dpt --root runs/learns/fol_numeric
    python tests/experiments/numeric_growth.py runs/learns/fol_numeric docs/results/fol_numeric
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rmft_verl.env import load_env
from rmft_verl.labs.numeric.growth import text, write_growth
from rmft_verl.labs.numeric.run import reference_plays
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    sets: dict[str, list[list[Trajectory]]] = {}
    for path in sorted(options.root.glob("*_seed*")):
        if not (path / "report/table.json").exists():
            continue  # not finished
        run = RunDir.open(path)
        label = path.name.rpartition("_seed")[0]
        sets.setdefault(label, []).append(read_trajectories(run.trajectories("eval", run.recorded("eval")[-1])))
        config = reload_config(run.config, [])
    print({label: len(seeds) for label, seeds in sets.items()})
    scenarios = [play.scenario for play in next(iter(sets.values()))[0]]
    beside = reference_plays(config, scenarios, load_env(config.env.name, config.env_dirs))
    references = {name: [plays] for name, plays in beside.items()}
    print(text(write_growth(options.out, sets | references)))


if __name__ == "__main__":
    main()
