"""Tests of one backend; a package, so that pytest closes it when the last of them has run."""
