"""Tools for working on this repository; no part of what is installed."""
