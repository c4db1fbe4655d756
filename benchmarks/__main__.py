"""`python -m benchmarks`."""

import os
import sys

# Read when grpc is imported: its C core otherwise writes notes of its own between ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main(sys.argv[1:]))
