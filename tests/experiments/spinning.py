"""What waiting threads cost: matrix products per second of one process alone and of two on the same cores.

python tests/experiments/spinning.py [--seconds 6]     # a minute; the machine idle

GNU OpenMP, which torch uses on Linux, reads GOMP_SPINCOUNT when it is loaded; without it, its own default holds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

WORK = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
left, right = torch.randn(64, 576), torch.randn(576, 1536)
made, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for _ in range(20):
        (left @ right).relu_()
    made += 20
print(made / float(sys.argv[1]))
"""


def rates(processes: int, spins: int | None, seconds: float) -> list[float]:
    """Products per second of each of ``processes`` that run at once."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = str(spins)
    command = [sys.executable, "-c", WORK, str(seconds), str(len(os.sched_getaffinity(0)))]
    begun = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [float(process.communicate()[0]) for process in begun]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0)
    seconds = parser.parse_args().seconds
    print("| GOMP_SPINCOUNT | alone | two at once, both together |\n|---|---|---|")
    for spins in (None, 100, 1000, 10_000, 100_000):
        (alone,), both = rates(1, spins, seconds), rates(2, spins, seconds)
        print(f"| {spins or 'default'} | {alone:.0f} | {sum(both):.0f} |", flush=True)


if __name__ == "__main__":
    main()
