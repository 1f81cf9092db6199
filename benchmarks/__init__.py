"""Benchmarks: ratios measured within one run, medians, and a check at the end that the result is right."""
