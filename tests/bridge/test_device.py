"""The device of a run: this machine's, or that of the cluster which it joins."""

from __future__ import annotations

from typing import Any

import pytest

from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig
from rmft_verl.types import RunError


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This machine's GPUs and the cluster's, in numbers; None = no cluster."""

    def there_are(own: int, cluster: list[int] | None) -> None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if cluster is not None:
            monkeypatch.setenv("RAY_ADDRESS", "head:6379")
        monkeypatch.setattr(runtime, "gpus", lambda: ["a GPU"] * own)
        monkeypatch.setattr(runtime, "cluster_gpus", lambda: cluster)

    return there_are


@pytest.mark.parametrize(
    ("own", "cluster", "asked", "found"),
    [
        (0, None, {}, "cpu"),
        (1, None, {}, "cuda"),
        (1, None, {"device": "cpu"}, "cpu"),
        (0, [8, 8], {"gpus_per_node": 8, "nodes": 2}, "cuda"),  # a driver without a GPU
        (0, [0, 4], {"device": "cuda", "gpus_per_node": 4}, "cuda"),
        (1, [0], {}, "cpu"),  # the driver's own GPU is not the cluster's
    ],
)
def test_it_is_where_the_run_will_be(
    here: Any, own: int, cluster: list[int] | None, asked: dict[str, Any], found: str
) -> None:
    here(own, cluster)
    assert runtime.device(HardwareConfig(**asked)) == found


@pytest.mark.parametrize(
    ("own", "cluster", "asked", "told"),
    [
        (0, None, {"device": "cuda"}, "this machine has no GPU"),
        (2, None, {"gpus_per_node": 4}, "hardware.gpus_per_node=4: this machine has 2"),
        (8, None, {"nodes": 2}, "hardware.nodes=2: there is no cluster to join.*RAY_ADDRESS"),
        (0, None, {"nodes": 2, "device": "cpu"}, "hardware.nodes=2: there is no cluster to join"),
        (8, [0, 0], {"device": "cuda"}, "the cluster of RAY_ADDRESS=head:6379 has no GPU"),
        (0, [8, 4], {"nodes": 2, "gpus_per_node": 8}, "hardware.nodes=2 hardware.gpus_per_node=8: .* has 8, 4 on its"),
    ],
)
def test_what_is_missing_is_one_line(
    here: Any, own: int, cluster: list[int] | None, asked: dict[str, Any], told: str
) -> None:
    here(own, cluster)
    with pytest.raises(RunError, match=told):
        runtime.device(HardwareConfig(**asked))


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    for code in ("import time; time.sleep(9)", "raise SystemExit('no route')", "print('hello')"):
        monkeypatch.setattr(runtime, "ASKED", code)
        monkeypatch.setattr(runtime, "PATIENCE", 2.0)
        with pytest.raises(RunError, match=r"^RAY_ADDRESS=head:6379: no cluster answers there") as caught:
            runtime.cluster_gpus()
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(runtime, "PATIENCE", 60.0)
    monkeypatch.setattr(runtime, "ASKED", "print('a warning'); print([8, 0])")
    assert runtime.cluster_gpus() == [8, 0]
