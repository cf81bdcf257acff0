"""Tests import verl themselves, in any order, so the environment must be ready before the first does."""

from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig

runtime.prepare(runtime.device(HardwareConfig()))
