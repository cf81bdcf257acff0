"""``python -m rmft_verl.main recipe=NAME key=value ...``: parse first, import what is heavy after."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rmft_verl.types import RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a configuration or input that cannot run (one line says why), 1 anything else."""
    from rmft_verl.recipe import load_config

    try:
        config = load_config(sys.argv[1:] if arguments is None else arguments)
        if config.dry_run:
            from rmft_verl.prepare import print_plan

            print_plan(config)
        else:
            from rmft_verl.run import run

            run(config)
    except RunError as error:
        print(f"rmft_verl: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
