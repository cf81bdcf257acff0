"""Draw docs/architecture.png: one iteration, and the files that do it.

python tests/experiments/architecture_figure.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).resolve().parents[2] / "docs" / "architecture.png"

BLUE, GREEN, ORANGE, GRAY = "#dcebf7", "#e0f2e4", "#fdeedc", "#eeeeee"

BOXES: dict[str, tuple[float, float, str, str, str]] = {
    # name: x, y, color, title, the files
    "draw": (0.0, 2.0, GREEN, "draw", "env_plugins/\nM scenarios"),
    "rollout": (2.2, 2.0, ORANGE, "rollout", "bridge/sampling/, env/play.py\nL trajectories each, in vLLM"),
    "score": (4.4, 2.0, BLUE, "score", "env/regret.py, algo/scores.py\nregret, after the game"),
    "select": (6.6, 2.0, BLUE, "select", "algo/rmft.py, dpo.py, grpo.py\nthe k lowest of each scenario"),
    "update": (6.6, 0.0, ORANGE, "update", "bridge/training/\nverl's FSDP worker"),
    "sync": (4.4, 0.0, ORANGE, "sync", "bridge/verl_backend.py\nweights to vLLM, canary"),
    "measure": (2.2, 0.0, BLUE, "measure", "train/trainer.py, eval/\nheld-out scenarios"),
    "store": (0.0, 0.0, GRAY, "record", "store/\nevery phase, to resume from"),
}

WIDTH, HEIGHT = 1.9, 1.15


def main() -> None:
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    axes: Any = figure.subplots()
    for x, y, color, title, files in BOXES.values():
        axes.add_patch(
            FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.04", facecolor=color, edgecolor="#555555")
        )
        axes.text(x + WIDTH / 2, y + HEIGHT - 0.18, title, ha="center", va="center", fontsize=12, weight="bold")
        axes.text(x + WIDTH / 2, y + 0.42, files, ha="center", va="center", fontsize=8)
    arrows = [("draw", "rollout"), ("rollout", "score"), ("score", "select"), ("select", "update")]
    arrows += [("update", "sync"), ("sync", "measure"), ("measure", "store")]
    for start, end in arrows:
        axes.annotate("", _edge(end, start), _edge(start, end), arrowprops={"arrowstyle": "-|>", "color": "#333333"})
    axes.annotate(
        "next iteration",
        (1.0, 1.92),
        (1.0, 1.28),
        ha="center",
        va="center",
        fontsize=8,
        arrowprops={"arrowstyle": "-|>", "color": "#333333"},
    )
    axes.set_xlim(-0.15, 8.65)
    axes.set_ylim(-0.15, 3.3)
    axes.set_axis_off()
    figure.savefig(OUT, dpi=130)


def _edge(start: str, end: str) -> tuple[float, float]:
    """Where an arrow between two boxes touches ``start``."""
    (x, y, *_), (to_x, to_y, *_) = BOXES[start], BOXES[end]
    if y != to_y:
        return x + WIDTH / 2, y - 0.05 if to_y < y else y + HEIGHT + 0.05
    return (x + WIDTH + 0.05 if to_x > x else x - 0.05), y + HEIGHT / 2


if __name__ == "__main__":
    main()
