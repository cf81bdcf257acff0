"""These tests import verl themselves, so the environment must be ready before they do (as ``run`` sees to)."""

from rmft_verl.bridge import runtime
from rmft_verl.config import HardwareConfig

runtime.prepare(runtime.device(HardwareConfig()))
