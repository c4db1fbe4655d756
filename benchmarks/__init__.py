"""Measures this project's plugin beside upstream's Go sample plugin: `python -m benchmarks`."""
