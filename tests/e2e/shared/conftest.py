"""One backend for the files of this folder, up until the last of them has run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rmft_verl.bridge.sampling import progress
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prepared, VerlBackend]]:
    """The shipped model on a backend that keeps its base. Tests change its configuration as they need it; those of the
    last file kill its engine.
    """
    options = ["rollout.rollouts=4", "selection.keep=2", "update.batch=8", "update.start=base"]
    prepared = prepare(load_config(["recipe=mab_tiny", *options]))
    backend = start_backend(prepared, tmp_path_factory.mktemp("run"))
    backend._keep_base()
    prepared.config.update.start = "current"
    backend.sync(0)
    yield prepared, backend
    backend.close()
    assert not progress.unfinished()  # the engine died in a sync, whose thread must not call Ray again
