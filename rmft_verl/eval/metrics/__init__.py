"""Metrics of regret and behavior: pure functions of trajectories (docs/metrics.md has every formula).

Rewards and regrets are in reward units. A function of one trajectory that counts arms raises ``ValueError`` if the
trajectory plays points of the simplex (full information). A function of a set that counts arms uses only the bandit
trajectories, so a set may mix environments, and is NaN if there are none. A round that was not played chooses no arm.
"""

from rmft_verl.eval.metrics.behavior import (
    action_coverage,
    bandits,
    best_arm_frequency,
    best_arm_mass,
    coverage_curve,
    cut_rate,
    greedy_choices,
    greedy_fraction,
    invalid_rate,
    median_reward,
    min_fraction,
    scaled_min_fraction,
    suffix_failure,
    suffix_failure_frequency,
    suffix_failure_interval,
)
from rmft_verl.eval.metrics.comparison import WinRate, win_rates
from rmft_verl.eval.metrics.frequency import FrequencyBias, action_entropy, first_action_entropy, frequency_bias
from rmft_verl.eval.metrics.growth import Growth, RegressionTest, TrendTest, growth, regression_test, trend_test
from rmft_verl.eval.metrics.intervals import (
    FEW,
    NO_INTERVAL,
    RESAMPLES,
    UNKNOWN,
    Band,
    Interval,
    bootstrap,
    few_scenarios,
    value_or,
)
from rmft_verl.eval.metrics.scale import (
    absolute_change,
    mean_regret,
    normalized_regret,
    normalized_regret_interval,
    regret_band,
    relative_change,
    scored,
)
from rmft_verl.eval.metrics.seeds import change_tested, holm, two_level, two_level_tested

__all__ = [
    "FEW",
    "NO_INTERVAL",
    "RESAMPLES",
    "UNKNOWN",
    "Band",
    "FrequencyBias",
    "Growth",
    "Interval",
    "RegressionTest",
    "TrendTest",
    "WinRate",
    "absolute_change",
    "action_coverage",
    "action_entropy",
    "bandits",
    "best_arm_frequency",
    "best_arm_mass",
    "bootstrap",
    "change_tested",
    "coverage_curve",
    "cut_rate",
    "few_scenarios",
    "first_action_entropy",
    "frequency_bias",
    "greedy_choices",
    "greedy_fraction",
    "growth",
    "holm",
    "invalid_rate",
    "mean_regret",
    "median_reward",
    "min_fraction",
    "normalized_regret",
    "normalized_regret_interval",
    "regression_test",
    "regret_band",
    "relative_change",
    "scaled_min_fraction",
    "scored",
    "suffix_failure",
    "suffix_failure_frequency",
    "suffix_failure_interval",
    "trend_test",
    "two_level",
    "two_level_tested",
    "value_or",
    "win_rates",
]
