"""Measurements: each figure beside a bare reference in the same run. `make bench` runs them all."""
