"""Imports asyncio without `ssl`, which it takes along where it can: 4 MiB that a daemon on unix sockets never uses.

Import this module before anything that imports asyncio. Afterwards `ssl` can be imported as ever by whoever needs it.
"""

import sys

if "asyncio" not in sys.modules and "ssl" not in sys.modules:
    sys.modules["ssl"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    import asyncio  # noqa: F401

    del sys.modules["ssl"]
