"""``python -m rmft_verl.labs.tiny mab OUT_DIR``: rebuild a tiny model; with ``--evaluate``, measure one instead."""

from __future__ import annotations

import argparse
from pathlib import Path

from rmft_verl.setup.models import TINY


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rmft_verl.labs.tiny", description=__doc__)
    parser.add_argument("name", choices=TINY)
    parser.add_argument("directory", type=Path, help="where the model is written; with --evaluate, where it lies")
    parser.add_argument("--steps", type=int, default=0, help="training steps (default: those of the shipped model)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", action="store_true", help="play held-out scenarios and print a table")
    parser.add_argument("--scenarios", type=int, default=400, help="scenarios of the evaluation")
    options = parser.parse_args()
    if options.evaluate:
        from rmft_verl.labs.tiny.evaluate import evaluate

        evaluate(options.name, options.directory, options.scenarios, options.seed, options.threads)
    else:
        from rmft_verl.labs.tiny.build import build

        build(options.name, options.directory, options.steps, options.seed, options.threads)


if __name__ == "__main__":
    main()
