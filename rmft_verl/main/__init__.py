"""``python -m rmft_verl.main recipe=NAME key=value ...``. It parses first and imports what is heavy later."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from rmft_verl.env import VERBOSE
from rmft_verl.train.interrupt import RunStoppedError
from rmft_verl.types import RunError

HELP = ("-h", "--help", "help")

STARTS = ("recipe=", "resume=", "fork=", "model.path=")
"""What says which model learns. The defaults of all other keys are no run that anybody means."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: that of ``told``, or 0 for --help and 2 without arguments, which show how to start."""
    return told("rmft_verl", partial(_main, sys.argv[1:] if arguments is None else arguments))


def told(program: str, call: Callable[[], int | None]) -> int:
    """What ``call`` returns as an exit status, None being 0.

    2 = a ``RunError`` and 128 + n = signal n, told in one line. Any other error is passed on.
    """
    try:
        status = call() or 0
        sys.stdout.flush()
        return status
    except RunError as error:
        return complain(program, error)
    except RunStoppedError as stopped:
        print(f"{program}: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader has left, as head -1 does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush is silent too
        return 128 + signal.SIGPIPE


def _main(arguments: Sequence[str]) -> int:
    from rmft_verl.config import NUMERIC, ConfigError
    from rmft_verl.setup.recipe import load_config, usage

    if not arguments or set(HELP) & set(arguments):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    config = load_config(arguments)
    if not any(argument.startswith(STARTS) for argument in arguments):
        raise ConfigError("nothing says what to train: add recipe=NAME, such as recipe=mab_tiny (--help lists them)")
    if config.model.path.startswith(NUMERIC):
        from rmft_verl.labs.numeric.run import run as run_on_numbers

        run_on_numbers(config)
    elif config.dry_run:
        from rmft_verl.setup.plan import print_plan
        from rmft_verl.train.run import find_run

        find_run(config)  # what the start refuses
        print_plan(config)
    else:
        from rmft_verl.store.run_dir import shut_to_others
        from rmft_verl.train.run import run

        shut_to_others()
        run(config)
    return 0


def complain(program: str, error: RunError) -> int:
    """Print an error as one line, after its traceback if ``RMFT_VERBOSE`` is 1; returns the exit status."""
    if os.environ.get(VERBOSE) == "1":
        traceback.print_exception(error)
    print(f"{program}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
