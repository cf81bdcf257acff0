"""``python tests/unit/fake_main.py key=value ...``: what ``rmft_verl.main`` does, on ``FakeBackend`` at a human pace.

For kills of a whole process from outside, at moments that a clock chooses.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from fake_backend import FakeBackend
from fake_machine import Machine, plain_report

import rmft_verl.train.run
from rmft_verl.main import main

PAUSE = 0.1


def slowly(method: str) -> Any:
    def call(self: FakeBackend, *args: Any, **kwargs: Any) -> Any:
        time.sleep(PAUSE)
        done = vars(FakeBackend)[method](self, *args, **kwargs)
        time.sleep(PAUSE)
        return done

    return call


class SlowBackend(FakeBackend):
    rollout, update, sync, save_state, save = map(slowly, ("rollout", "update", "sync", "save_state", "save"))


if __name__ == "__main__":
    machine = Machine()
    machine.make = SlowBackend
    fakes = {"prepare": machine.prepare, "start_backend": machine.start, "write_report": plain_report}
    vars(rmft_verl.train.run).update(fakes, references=lambda *_: ())
    sys.exit(main(sys.argv[1:]))
