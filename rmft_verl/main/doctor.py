"""``rmft-verl doctor`` checks versions, plug-ins, GPUs, memory, disk and sampling for a run on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rmft_verl.bridge.backend import Backend
from rmft_verl.config import Config
from rmft_verl.env import find_envs, load_env
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds, held_out_scenarios
from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.types import RolloutRequest, RunError, Trajectory

GIB = 1 << 30

LEAST_GIB = {"memory": 8.0, "disk": 10.0, "shared memory": 2.0}
"""With less, the smallest recipe does not run, or not for long."""


SECONDS = 10
"""Seconds that the sampling check plays."""

FEWEST = 8
"""Trajectories in its first batch. Batches double up to ``max_num_seqs``, so that a slow machine plays few."""


class Finding(NamedTuple):
    """One line of the report."""

    fine: bool
    text: str


def examine(env_dirs: Sequence[str], root: Path, sample: Sequence[str] | None = None) -> int:
    """Print the findings; returns the number of problems. ``root``: where runs will be written.

    ``sample``: ``key=value ...`` of a model that plays and is synced too; None = none.
    """
    from rmft_verl.bridge.cluster import runtime

    gpus = runtime.gpus()
    findings = [
        *versions("rmft_verl", "gpu" if gpus else "cpu"),
        *plug_ins(env_dirs),
        Finding(True, f"GPUs: {', '.join(gpus) or 'none; recipes for a CPU run, such as recipe=mab_tiny'}"),
        *room(root),
        *(sampling(sample) if sample is not None else ()),
    ]
    for finding in findings:
        print(f"{'ok' if finding.fine else 'PROBLEM':8} {finding.text}")
    return sum(not finding.fine for finding in findings)


def sampling(arguments: Sequence[str]) -> Iterator[Finding]:
    """Start verl and vLLM, sync, play for ``SECONDS`` and sync again. Reports validity, speed and the canary.

    ``arguments``: ``key=value ...``; the recipe is ``mab_tiny`` unless they name one.
    """
    recipe = [] if any(argument.startswith("recipe=") for argument in arguments) else ["recipe=mab_tiny"]
    try:
        config = load_config([*recipe, *arguments])
        with tempfile.TemporaryDirectory() as scratch:
            backend = start_backend(prepare(config), Path(scratch))
            try:
                yield from _sampled(config, backend)
            finally:
                backend.close()
    except Exception as error:  # any error of verl, vLLM or Ray is a finding
        yield Finding(False, f"sampling: {type(error).__name__}: {' '.join(str(error).split())[:500]}")


def _sampled(config: Config, backend: Backend) -> Iterator[Finding]:
    scenarios = held_out_scenarios(config, load_env(config.env.name, config.env_dirs))
    requests = [RolloutRequest(scenario, *episode_seeds(HELD_OUT_SEED, i, 0)) for i, scenario in enumerate(scenarios)]
    backend.sync(0)
    ends, trajectories, together = time.monotonic() + SECONDS, list[Trajectory](), FEWEST
    while not trajectories or time.monotonic() < ends:
        begun, batch = time.monotonic(), backend.rollout(requests[:together], 0)
        sampled = sum(int(tokens.sampled_N.sum()) for trajectory in batch for tokens in trajectory.tokens)
        per_second = sampled / (time.monotonic() - begun)
        trajectories += batch
        together = min(2 * together, config.hardware.max_num_seqs)
    valid = sum(trajectory.valid for trajectory in trajectories) / len(trajectories)
    speed = f"{len(trajectories)} trajectories, {valid:.0%} valid; {per_second:,.0f} tokens/s with {len(batch)} at once"
    yield Finding(valid > 0, f"sampling: {speed}" + ("" if valid else ": read what it says with rmft-verl eval"))
    gap = backend.sync(0)["sync/canary"]
    yield Finding(True, f"sync: sampler and trainer differ by {gap:.4f} nats per token")


def versions(distribution: str, extra: str) -> Iterator[Finding]:
    """Compare what a distribution with an extra requires to what is installed; of nested extras only problems."""
    for text in requires(distribution) or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        asked = f"{wanted.name}{wanted.specifier}"
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            yield Finding(False, f"{wanted.name} is not installed: pip install '{asked}'")
            continue
        fits = wanted.specifier.contains(found, prereleases=True)
        need = "" if fits else f", {distribution} needs {asked}: pip install '{asked}'"
        yield Finding(fits, f"{canonicalize_name(wanted.name)} {found}{need}")
        for inner in sorted(wanted.extras):
            yield from (line for line in versions(wanted.name, inner) if not line.fine)


def plug_ins(env_dirs: Sequence[str]) -> Iterator[Finding]:
    """Every environment; for one that does not load, the reason."""
    try:
        names = find_envs(env_dirs)
    except RunError as error:
        yield Finding(False, str(error))
        return
    for name, where in sorted(names.items()):
        try:
            load_env(name, env_dirs)
            yield Finding(True, f"environment {name} ({where})")
        except RunError as error:
            yield Finding(False, str(error))


def room(root: Path) -> Iterator[Finding]:
    """Free memory, and free space for runs, Ray's session and Ray's object store."""
    free = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()}
    yield _room("memory", "available", free["MemAvailable"], f"{os.cpu_count()} cores")
    existing = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    yield _room("disk", f"free for runs in {root}", shutil.disk_usage(existing).free)
    yield _room("disk", f"free for Ray in {tempfile.gettempdir()}", shutil.disk_usage(tempfile.gettempdir()).free)
    if Path("/dev/shm").is_dir():
        yield _room("shared memory", "free in /dev/shm", shutil.disk_usage("/dev/shm").free)


def _room(kind: str, where: str, size: int, also: str = "") -> Finding:
    least = LEAST_GIB[kind]
    fine = size >= least * GIB
    need = "" if fine else f"; a run needs {least:.0f} GiB: free some"
    return Finding(fine, f"{kind}: {size / GIB:.1f} GiB {where}{need}" + (f", {also}" if also else ""))
