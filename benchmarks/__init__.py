"""Measurements: `python -m benchmarks` for the whole server beside its peers, and single parts as scripts."""
