"""The rules that an environment must keep, each with the remedy for a plug-in that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rmft_verl.env import EnvLoadError, blame


class Rule(NamedTuple):
    """``must`` states the rule and ``mend`` the remedy; together they form one sentence."""

    must: str
    mend: str


RULES: dict[str, Rule] = {
    # ---- scenarios
    "options": Rule(
        "Generator(**options) must accept the options given and those of every suite",
        "give each option a default and let SUITES name only options that exist",
    ),
    "scenario": Rule(
        "draw(rng) must return a Scenario with a horizon of at least 1 and two or more different action names",
        "return Scenario(env, horizon, actions, context, game) with names that differ in more than their case",
    ),
    "draw": Rule(
        "draw(rng) must depend on rng alone",
        "take every random number from rng and keep nothing between two draws",
    ),
    "json": Rule(
        "a scenario must survive JSON",
        "put only dicts with text keys, lists, text, finite Python numbers, booleans and None into game and telling",
    ),
    "globals": Rule(
        "no global randomness",
        "replace np.random.* and random.* functions by the generator of draw(rng), or by np.random.default_rng(seed)",
    ),
    "raises": Rule(
        "a plug-in must not raise while it is drawn from and played",
        "mend that line; a reply that cannot be used is parse's None, not an exception",
    ),
    # ---- what a player sees
    "say": Rule(
        "say(action), where there is one, must return a reply that parse reads as that action",
        "say the name of scenario.actions[action] in the form that parse reads",
    ),
    "types": Rule(
        "reset() must return an Observation, step(action) a StepResult and oracle() an Oracle",
        "return these types of rmft_verl.types",
    ),
    "words": Rule(
        "every observation must have words: Messages of role user or system whose text is not blank and fits UTF-8",
        'give messages=(Message("user", text),)',
    ),
    "names": Rule(
        "the first observation must name every action",
        "put scenario.actions into its text: a model can only answer with names it has read",
    ),
    "leak": Rule(
        "words must not tell the hidden game",
        "leave the numbers of scenario.game out of the text, or round what the player may know to two digits",
    ),
    "spec": Rule(
        "spec must stay the same all game, with n_actions=len(scenario.actions) and horizon=scenario.horizon",
        "build one GameSpec from the scenario and give it to every Observation",
    ),
    "turn": Rule(
        "observation.turn must count the rounds from 0",
        "give the first Observation turn=0 and add 1 in every step",
    ),
    "last_action": Rule(
        "observation.last_action must be the action just played, None in the first round",
        "pass step's action on unchanged",
    ),
    "feedback": Rule(
        "observation.feedback_A must be None in the first round, then have shape (n_actions,): for a bandit the reward "
        "at the action played and NaN elsewhere, with full_information every reward, paying <policy, rewards>",
        "reveal exactly what the round paid",
    ),
    "context": Rule(
        "every observation must have context_F exactly if spec.n_features is above 0, as finite floats of that length",
        "give GameSpec n_features=F and every Observation context_F of shape (F,), or neither",
    ),
    "context_same": Rule(
        "the contexts must belong to the scenario, the same in every play of it",
        "draw them in Generator.draw and keep them in scenario.game",
    ),
    "context_means": Rule(
        "the means of a round must go with the context that the same round shows",
        "let the observation of round t show the context from which row t of oracle().expected_T_A follows",
    ),
    # ---- how a game goes
    "done": Rule(
        "done must mean that no observation follows",
        "return StepResult(None, reward, done=True) after the last round and an Observation with done=False before",
    ),
    "horizon": Rule(
        "an episode must last exactly scenario.horizon rounds",
        "count the rounds in step and end after the last one, neither sooner nor later",
    ),
    "reward": Rule(
        "rewards must be finite numbers",
        "return float(reward), never None, NaN or infinity",
    ),
    "law": Rule(
        "rewards must keep to the law: 0 or 1 if spec.reward_law is bernoulli, within 0 and 1 if it is bounded or if "
        "the game has full information",
        "rescale the rewards, or name the law they follow",
    ),
    "frozen": Rule(
        "a play must not change its scenario",
        "copy what you take from scenario.game before you change it",
    ),
    "same": Rule(
        "equal seeds must give equal observations",
        "draw everything random in __init__ from np.random.default_rng(seed)",
    ),
    "reward_seed": Rule(
        "the seed of a play must decide rewards only, not the game or its first words",
        "draw what belongs to the game in Generator.draw and keep it in scenario.game",
    ),
    "tape": Rule(
        "with one seed an action must pay the same in the same round, whatever was played before",
        "draw the rewards of all rounds and actions up front, shape (horizon, n_actions), and look them up in step",
    ),
    "shared": Rule(
        "two trajectories of one scenario must not share state",
        "keep what changes on self, not on the class, the module or the scenario",
    ),
    # ---- the truth
    "oracle": Rule(
        "oracle().expected_T_A must be finite and of shape (horizon, n_actions), also after a game that ended early",
        "return one row a round for the whole horizon, not only for the rounds played",
    ),
    "kind": Rule(
        "oracle().kind must name a kind of regret, contextual exactly for a bandit with contexts",
        "use 'pseudo' for fixed means, 'dynamic' for drifting ones, 'contextual' for those that follow a context, "
        "'external' for revealed reward vectors",
    ),
    "truth": Rule(
        "rewards must agree with the oracle: expected_T_A holds their means, with full information the vectors shown",
        "return from oracle() what step pays, its columns in the order of scenario.actions",
    ),
    "stakes": Rule(
        "in some scenario one action must be better than another",
        "draw actions that differ: where uniform play has no regret there is nothing to learn",
    ),
    # ---- replies
    "parse_raises": Rule(
        "parse must never raise, whatever the text",
        "return None for a reply that you cannot read",
    ),
    "parse_legal": Rule(
        "parse must return None or a legal action: an int from 0 to n_actions - 1, with full information a tuple of "
        "floats, each at least 0, with sum 1 within 1e-9",
        "check what you read, and return None where it is anything else",
    ),
    "parse_finds": Rule(
        "parse must find every action in a reply that follows the story",
        "show the format in the first observation as a line with NAME where the action goes, such as Action: NAME "
        "(full information: Policy: NAME 0.7, NAME 0.3)",
    ),
    "parse_pure": Rule(
        "parse must not change the game and must read one text always the same way",
        "let parse only read: step is where a round is played",
    ),
    "parse_linear": Rule(
        "parse must read a long reply in time proportional to its length",
        "bound what your pattern may match, or read only the last part of the text",
    ),
}
"""Key -> rule, from drawing a scenario to parsing replies."""


def require(holds: bool, key: str, seen: str = "") -> None:
    """Unless a rule ``holds``, raise ``EnvLoadError`` with the rule, what was ``seen`` instead, and the remedy."""
    if not holds:
        rule = RULES[key]
        raise EnvLoadError(f"not a conformant environment: {rule.must}{f' ({seen})' if seen else ''}; {rule.mend}.")


@contextmanager
def blaming(key: str, what: str) -> Iterator[None]:
    """Turn an exception of the plug-in into an ``EnvLoadError`` with rule and place."""
    try:
        yield
    except EnvLoadError:
        raise
    except Exception as error:
        rule = RULES[key]
        raise EnvLoadError(
            f"not a conformant environment: {rule.must} ({what}: {blame(error)}); {rule.mend}."
        ) from error
