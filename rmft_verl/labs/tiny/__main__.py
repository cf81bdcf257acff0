"""Build a tiny model, deterministic by its seed: ``python -m rmft_verl.labs.tiny weak --seed 2`` makes ``tiny:weak-2``.

The shipped ones are built anew with ``python -m rmft_verl.labs.tiny mab DIRECTORY``. With ``--evaluate``, measure one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rmft_verl.setup.models import BUILT, TINY, tiny_path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rmft_verl.labs.tiny", description=__doc__)
    parser.add_argument("name", choices=(*TINY, *BUILT))
    where = "where the model lies or is written (default: where tiny:NAME-SEED is found)"
    parser.add_argument("directory", type=Path, nargs="?", help=where)
    parser.add_argument("--steps", type=int, default=0, help="training steps (default: the model's own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", action="store_true", help="play held-out scenarios and print a table")
    parser.add_argument("--scenarios", type=int, default=400, help="scenarios of the evaluation")
    options = parser.parse_args()
    if options.directory is None and options.name in TINY:
        parser.error(f"{options.name} ships with the package: name a directory")
    directory = options.directory or tiny_path(f"{options.name}-{options.seed}")
    if options.evaluate:
        from rmft_verl.labs.tiny.evaluate import evaluate

        evaluate(options.name, directory, options.scenarios, options.seed, options.threads)
    else:
        from rmft_verl.labs.tiny.build import build

        build(options.name, directory, options.steps, options.seed, options.threads)


if __name__ == "__main__":
    main()
