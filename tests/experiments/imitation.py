"""Does a model learn *when* to repeat an action by imitating plays? A bare loop, asked on contexts of other games.

    python tests/experiments/imitation.py MODEL TRAIN.parquet ... --asked HELDOUT.parquet [--lr 2e-4] [--slow-start 8]

Cross-entropy on the action's first token of every round but the first, AdamW in float32 under bfloat16 autocast. Every
twelve steps: the probability of the last action, renormalised over the scenario's actions and averaged over the rounds
of the asked plays after a reward and after none (rewards of 0 and 1). Equal shares: the model does not use rewards.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory

EVERY = 12
TOGETHER = 8
"""Plays in one pass of the model."""


@dataclass
class Play:
    """One dialogue: its tokens, where its actions stand, the tokens of all actions, and what each round paid."""

    ids_N: torch.Tensor
    places_T: torch.Tensor
    names_A: torch.Tensor
    rewarded_T: np.ndarray


def read(files: Sequence[Path], tokenizer: Any) -> list[Play]:
    """The plays whose actions differ in their first token and stand once in every reply."""
    found = (_play(trajectory, tokenizer) for file in files for trajectory in read_trajectories(file))
    return [play for play in found if play is not None]


def _play(trajectory: Trajectory, tokenizer: Any) -> Play | None:
    names = [tokenizer(f" {name}", add_special_tokens=False).input_ids[0] for name in trajectory.scenario.actions]
    if len(set(names)) < len(names) or not trajectory.tokens:
        return None
    ids_N, mask_N = trajectory.tokens[0].ids_N, trajectory.tokens[0].mask_N
    places_T = np.flatnonzero((mask_N > 0) & np.isin(ids_N, names))
    if len(places_T) != len(trajectory.turns):
        return None
    rewarded_T = np.array([bool(turn.reward) for turn in trajectory.turns])
    return Play(torch.tensor(ids_N).long(), torch.tensor(places_T), torch.tensor(names), rewarded_T)


def logits(model: Any, plays: Sequence[Play]) -> Iterator[tuple[Play, torch.Tensor]]:
    """Each play with the logits (T, V) of its actions."""
    for start in range(0, len(plays), TOGETHER):
        part = plays[start : start + TOGETHER]
        ids = torch.nn.utils.rnn.pad_sequence([play.ids_N for play in part], batch_first=True)
        lengths = torch.tensor([len(play.ids_N) for play in part])
        attended = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, attention_mask=attended).last_hidden_state
            for row, play in zip(hidden, part, strict=True):
                yield play, model.lm_head(row[play.places_T - 1]).float()


@torch.no_grad()
def repeats(model: Any, plays: Sequence[Play]) -> tuple[float, float]:
    """Probability of the last action again: mean over rounds after a reward, and after none."""
    model.eval()
    shares: tuple[list[float], list[float]] = ([], [])
    for play, logits_T_V in logits(model, plays):
        probs_T_A = logits_T_V[:, play.names_A].softmax(-1)
        for t in range(1, len(probs_T_A)):
            last = play.names_A == play.ids_N[play.places_T[t - 1]]
            shares[int(play.rewarded_T[t - 1])].append(float(probs_T_A[t][last]))
    return float(np.mean(shares[1])), float(np.mean(shares[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--asked", type=Path, required=True)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--slow-start", type=int, default=8)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    taught, asked = read(options.train, tokenizer), read([options.asked], tokenizer)
    asked = asked[:: max(1, len(asked) // 48)][:48]
    print(f"{len(taught)} plays to imitate, {len(asked)} asked\nstep 0: repeats {repeats(model, asked)}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.0)
    rng, step = np.random.default_rng(0), 0
    for _ in range(options.epochs):
        order = rng.permutation(len(taught))
        for start in range(0, len(order) - options.batch + 1, options.batch):
            step += 1
            optimizer.param_groups[0]["lr"] = options.lr * min(1.0, step / max(1, options.slow_start))
            model.train()
            optimizer.zero_grad()
            shown = [taught[i] for i in order[start : start + options.batch]]
            for part in (shown[at : at + TOGETHER] for at in range(0, len(shown), TOGETHER)):
                losses = [
                    torch.nn.functional.cross_entropy(logits_T_V[1:], play.ids_N[play.places_T][1:])
                    for play, logits_T_V in logits(model, part)
                ]
                (torch.stack(losses).sum() / options.batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % EVERY == 0:
                after, none = repeats(model, asked)
                print(f"step {step}: repeats {after:.2f} after a reward, {none:.2f} after none", flush=True)


if __name__ == "__main__":
    main()
