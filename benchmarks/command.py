"""The command line of the benchmarks."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import Ours, Peer, PeerFailedError, go_sample
from benchmarks.report import Conditions, document, table
from benchmarks.rows import OURS, SAMPLE, TEN_THOUSAND, THOUSAND, Results
from benchmarks.suite import Effort, measure

_RESULTS = Path(__file__).parent / "results.json"
_FULL = Effort(starts=10, idle=60, calls=10_000, repetitions=100)
_QUICK = Effort(starts=3, idle=5, calls=2_000, repetitions=10)
_MANY = Effort(starts=5, idle=10, calls=10_000, repetitions=20)
_MANY_QUICK = Effort(starts=2, idle=2, calls=1_000, repetitions=5)

_DESCRIPTION = """\
Measure `kubelet-plugin run kvm` beside upstream's Go sample plugin, with one and the same client, in one run.

The table goes to standard output, progress to standard error, and all figures as JSON to a file. What each row means
is in docs/reference/benchmarks.md. A target that is missed is a result, not an error.
"""
_EPILOG = """\
The Go sample plugin is built once by: sh node/fetch.sh sample-device-plugin. Without it, its column is left out.
Device nodes of our own take root; without it, the plugin is given a link to the host's /dev/kvm.

exit codes:
  0  measured, targets met or not
  1  a plugin failed to start or ended early; what it wrote is shown
  2  wrong usage

examples:
  python -m benchmarks                        # about 3 minutes
  python -m benchmarks --quick                # about half a minute, for a first look
  python -m benchmarks --json figures.json
"""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks.

    Args:
        arguments: Those of the command line.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        with options.json.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        print(f"benchmarks: cannot write {options.json}: {error.strerror}", file=sys.stderr)
        return 2
    effort, many = (_QUICK, _MANY_QUICK) if options.quick else (_FULL, _MANY)
    load = os.getloadavg()[0]
    sample = go_sample(SAMPLE)
    left_out = (sample,) if isinstance(sample, str) else ()
    try:
        results = _measure(() if isinstance(sample, str) else (sample,), effort, many)
    except PeerFailedError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    conditions = _conditions(effort, load)
    print(table(results, conditions, left_out))
    options.json.write_text(json.dumps(document(results, conditions, left_out), indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and 5 s of idleness instead of 60")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        default=_RESULTS,
        help="where the JSON goes (default: benchmarks/results.json)",
    )
    return parser


def _measure(others: Sequence[Peer], effort: Effort, many: Effort) -> Results:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bytecode = Path(directory)
        # Many devices on their own: several of our processes at once would share memory that one alone does not.
        return (
            measure([Ours(OURS, bytecode), *others], effort)
            | measure([Ours(THOUSAND, bytecode, 1_000)], many)
            | measure([Ours(TEN_THOUSAND, bytecode, 10_000)], many)
        )


def _conditions(effort: Effort, load: float) -> Conditions:
    return Conditions(
        interpreter=f"{platform.python_implementation()} {platform.python_version()}",
        grpcio=version("grpcio"),
        cpus=len(os.sched_getaffinity(0)),
        load=load,
        idle=effort.idle,
        calls=effort.calls,
        repetitions=effort.repetitions,
        starts=effort.starts,
    )
