"""What a machine with one GPU, Python 3.12, torch 2.11 and no network needs, collected here and assembled there.

    python3.12 tests/gpu/kit.py collect KIT [--model DIRECTORY] [--dry-run]     here: wheels and model, in pieces
    python tests/gpu/kit.py assemble KIT PLACE [--dry-run]                      there: an environment that checks itself

``collect`` asks pip what it would install for the extra ``gpu`` beside torch 2.11, leaves out torch and what torch
brings (CUDA), which the machine has, and makes wheels of the rest, this package included. pip judges by the Python that
it runs in, so that must be 3.12. ``assemble`` needs no network; its environment sees the machine's own packages.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import site
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import pieces

ROOT = Path(__file__).parents[2]
PYTHON, TORCH = (3, 12), "torch==2.11.0"
THERE = ("torch", "triton", "nvidia-", "cuda-toolkit")
"""torch, and beginnings of the names of what torch itself brings and pins: the machine has them. Of what it does not
pin (cuda-bindings) the machine may have another version than the rest of the wheels needs.
"""

MODEL = "smollm2.tar"
CHECK = (
    "import torch, verl, vllm, ray, transformers, rmft_verl; "
    "print(*(f'{m.__name__} {m.__version__}' for m in (torch, vllm, ray, transformers, rmft_verl)), sep='; '); "
    "assert torch.cuda.is_available(), 'torch sees no GPU'"
)


def resolve(report: Path, *wanted: str) -> list[str]:
    """pip's command that writes what it would install for ``wanted``."""
    options = ("--dry-run", "--ignore-installed", "--quiet", "--report", str(report))
    return [sys.executable, "-m", "pip", "install", *options, *wanted]


def make(into: Path, pinned: list[str]) -> list[str]:
    """pip's command that puts wheels of exactly these packages ``into`` a directory; it builds what has none."""
    return [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), *pinned]


def versions(report: Path) -> dict[str, str]:
    """Name -> version of what a report lists."""
    listed = [entry["metadata"] for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in listed}


def carried(wanted: dict[str, str], torch: dict[str, str]) -> list[str]:
    """What the machine lacks: ``wanted`` without torch and the parts of CUDA that ``torch`` brings, and without us."""
    there = {name for name in torch if name == THERE[0] or name.startswith(THERE[1:])}
    return sorted(f"{name}=={found}" for name, found in wanted.items() if name not in {*there, "rmft-verl"})


def collect(kit: Path, model: Path | None, dry_run: bool) -> None:
    """Write wheels and model into ``kit`` in pieces. Raises ``ValueError`` on another Python than the machine's."""
    if dry_run:
        for report, wanted in ("TORCH", [TORCH]), ("ALL", [f"{ROOT}[gpu]", TORCH]):
            print(shlex.join(resolve(Path(report), *wanted)))
        print(shlex.join(make(kit, [str(ROOT), "NAME==VERSION"])), "...")
        return
    if sys.version_info[:2] != PYTHON:
        raise ValueError(f"collect with Python {'.'.join(map(str, PYTHON))}, not {sys.version.split()[0]}")
    kit.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kit.parent) as scratch:
        wheels, reports = Path(scratch) / "wheels", [Path(scratch) / "torch.json", Path(scratch) / "all.json"]
        subprocess.run(resolve(reports[0], TORCH), check=True)
        subprocess.run(resolve(reports[1], f"{ROOT}[gpu]", TORCH), check=True)
        wanted = carried(versions(reports[1]), versions(reports[0]))
        subprocess.run(make(wheels, [str(ROOT), *wanted]), check=True)
        files = sorted(wheels.glob("*.whl"))
        if model is not None:
            with tarfile.open(wheels / MODEL, "w") as archive:
                archive.add(model, arcname="smollm2")
            files.append(wheels / MODEL)
        found = pieces.split(files, kit)
    print(f"{kit}: {len(found)} files in {sum(map(len, found.values()))} pieces of at most {pieces.MOST >> 20} MiB")


def commands(place: Path) -> list[list[str]]:
    """What makes the environment in ``place`` from the wheels beside it, and checks it."""
    python = str(place / "venv" / "bin" / "python")
    return [
        [sys.executable, "-m", "venv", str(place / "venv")],
        [python, "-m", "pip", "install", "--no-index", "--find-links", str(place / "wheels"), "rmft_verl[gpu]"],
        [python, "-c", CHECK],
    ]


def assemble(kit: Path, place: Path, dry_run: bool) -> None:
    """Put the pieces of ``kit`` together in ``place`` and install them. Raises on what is missing or fails."""
    create, *rest = commands(place)
    if dry_run:
        print("\n".join(shlex.join(command) for command in (create, *rest)))
        return
    for file in pieces.join(kit, place / "wheels"):
        if file.name == MODEL:
            with tarfile.open(file) as archive:
                archive.extractall(place, filter="data")
    subprocess.run(create, check=True)
    see_machine(place / "venv")
    for command in rest:
        subprocess.run(command, check=True)


def see_machine(environment: Path) -> None:
    """Let ``environment`` see the packages of this Python, which may itself be one of a virtual environment."""
    own = sysconfig.get_path("purelib", vars={"base": str(environment)})
    (Path(own) / "machine.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_subparsers(dest="command", required=True)
    here = chosen.add_parser("collect")
    here.add_argument("kit", type=Path)
    here.add_argument("--model", type=Path)
    there = chosen.add_parser("assemble")
    there.add_argument("kit", type=Path)
    there.add_argument("place", type=Path)
    for each in (here, there):
        each.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.command == "collect":
            collect(options.kit, options.model, options.dry_run)
        else:
            assemble(options.kit, options.place, options.dry_run)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"kit: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
