"""``python -m rmft_verl.main recipe=NAME key=value ...``. It parses first and imports what is heavy later."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from rmft_verl.env import VERBOSE
from rmft_verl.train.interrupt import RunStoppedError
from rmft_verl.types import RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 = done, 2 = a ``RunError`` (one line says why), 128 + n = signal n, 1 = anything else."""
    from rmft_verl.config import NUMERIC
    from rmft_verl.setup.recipe import load_config

    try:
        config = load_config(sys.argv[1:] if arguments is None else arguments)
        if config.model.path.startswith(NUMERIC):
            from rmft_verl.labs.numeric.run import run as run_on_numbers

            run_on_numbers(config)
        elif config.dry_run:
            from rmft_verl.setup.plan import print_plan

            print_plan(config)
        else:
            from rmft_verl.store.run_dir import shut_to_others
            from rmft_verl.train.run import run

            shut_to_others()
            run(config)
    except RunError as error:
        return complain("rmft_verl", error)
    except RunStoppedError as stopped:
        print(f"rmft_verl: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    return 0


def complain(program: str, error: RunError) -> int:
    """Print an error as one line, after its traceback if ``RMFT_VERBOSE`` is 1; returns the exit status."""
    if os.environ.get(VERBOSE) == "1":
        traceback.print_exception(error)
    print(f"{program}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
