"""What a machine with one GPU, Python 3.12, torch 2.11 and no network needs, collected here and assembled there.

    python tests/gpu/kit.py collect KIT [--model DIRECTORY] [--dry-run]     here: wheels and model, in pieces
    python tests/gpu/kit.py assemble KIT PLACE [--dry-run]                  there: an environment that checks itself

``collect`` downloads what pip would install for the extra ``gpu`` on Python 3.12 beside torch 2.11 (about 1 GB without
torch and CUDA, which the machine has). ``assemble`` needs no network; its environment sees the machine's own packages.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pieces

ROOT = Path(__file__).parents[2]
PYTHON, PLATFORMS = "3.12", ("manylinux_2_35_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")
THERE = ("torch-", "nvidia_", "nvidia-", "triton-", "cuda_", "cuda-")
"""Beginnings of the names of wheels that the machine has already."""

MODEL = "smollm2.tar"
CHECK = (
    "import torch, verl, vllm, ray, transformers, rmft_verl; "
    "print(*(f'{m.__name__} {m.__version__}' for m in (torch, vllm, ray, transformers, rmft_verl)), sep='; '); "
    "assert torch.cuda.is_available(), 'torch sees no GPU'"
)


def download(into: Path) -> list[str]:
    """pip's command that gets the wheels."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    wanted = [f"{ROOT}[gpu]", "torch==2.11.0"]
    return [
        *(sys.executable, "-m", "pip", "download", "--dest", str(into), "--only-binary", ":all:"),
        *("--python-version", PYTHON, "--implementation", "cp", *platforms, *wanted),
    ]


def carried(files: list[Path]) -> list[Path]:
    """The wheels that the machine lacks."""
    return sorted(file for file in files if not file.name.lower().startswith(THERE))


def collect(kit: Path, model: Path | None, dry_run: bool) -> None:
    """Write wheels and model into ``kit`` in pieces."""
    if dry_run:
        print(shlex.join(download(kit)))
        return
    with tempfile.TemporaryDirectory(dir=kit.parent) as scratch:
        wheels = Path(scratch)
        subprocess.run(download(wheels), check=True)
        files = carried(list(wheels.glob("*.whl")))
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
        [sys.executable, "-m", "venv", "--system-site-packages", str(place / "venv")],
        [python, "-m", "pip", "install", "--no-index", "--find-links", str(place / "wheels"), f"{ROOT}[gpu]"],
        [python, "-c", CHECK],
    ]


def assemble(kit: Path, place: Path, dry_run: bool) -> None:
    """Put the pieces of ``kit`` together in ``place`` and install them. Raises on what is missing or fails."""
    if dry_run:
        print("\n".join(shlex.join(command) for command in commands(place)))
        return
    for file in pieces.join(kit, place / "wheels"):
        if file.name == MODEL:
            with tarfile.open(file) as archive:
                archive.extractall(place, filter="data")
    for command in commands(place):
        subprocess.run(command, check=True)


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
