"""Measures `kubelet-plugin cdi` and its library: `python -m benchmarks.cdi`.

Each figure stands beside what it is to be. A command is measured as a whole process, from its start to its end.
"""

import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.embedded import Figure
from kubelet_plugin import cdi

_COMMAND = [sys.executable, "-m", "kubelet_plugin", "cdi"]
_AND_STATUS = """
import atexit, sys
from kubelet_plugin.cli import main
atexit.register(lambda: sys.stderr.write(open("/proc/self/status").read()))
main()
"""
_FILES, _DEVICES = 1000, 8
_RUNS = 5
_TIMES = 200


def spec(number: int) -> cdi.Spec:
    """A spec such as a vendor writes."""
    devices = tuple(
        cdi.Device(
            f"dev{index}",
            cdi.ContainerEdits(
                env=(f"DEVICE_{index}=yes",),
                device_nodes=(cdi.DeviceNode("/dev/null", type="c", major=1, minor=3, file_mode=0o666),),
                mounts=(cdi.Mount("/usr/lib/vendor", f"/usr/lib/vendor{index}", options=("ro", "bind")),),
            ),
        )
        for index in range(_DEVICES)
    )
    return cdi.Spec(f"vendor{number}.example.com/device", devices)


def planted(directory: Path, files: int, ending: str) -> Path:
    """A directory of specs."""
    for number in range(files):
        cdi.write_file(spec(number), str(directory / f"{number}.{ending}"))
    return directory


def seconds_of(arguments: list[str]) -> float:
    """How long one run of the command takes."""
    began = perf_counter()
    subprocess.run([*_COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - began


def mebibytes_of(arguments: list[str]) -> float:
    """The most memory that a run of the command has. (Usage as told to a parent would include the parent's own.)"""
    command = [sys.executable, "-c", _AND_STATUS, "cdi", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return int(re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)[-1]) / 1024


def whole(title: str, arguments: list[str], seconds: float, mebibytes: float) -> Iterator[Figure]:
    """The figures of a command."""
    yield Figure(
        f"{title}, p50 of {_RUNS}", statistics.median(seconds_of(arguments) for _ in range(_RUNS)), "s", seconds
    )
    yield Figure(f"{title}, memory", mebibytes_of(arguments), "MiB", mebibytes)


def commands(place: Path) -> Iterator[Figure]:
    """Each command over one file, a thousand of JSON, and a thousand of YAML."""
    config = place / "config.json"
    config.write_text('{"ociVersion": "1.1.0", "process": {"args": ["sh"]}}')
    for files, ending, seconds, mebibytes in (
        (1, "json", 0.12, 45),
        (_FILES, "json", 0.5, 45),
        (_FILES, "yaml", 2, 60),
    ):
        directory = planted(place / f"{files}-{ending}", files, ending)
        options = ["--spec-dir", str(directory)]
        of = f"{files} {ending.upper()} file{'s' if files > 1 else ''}"
        yield from whole(f"devices, {of}", ["devices", *options], seconds, mebibytes)
        name = "vendor0.example.com/device=dev0"
        yield from whole(f"inject, {of}", ["inject", str(config), name, *options], seconds, mebibytes)
        yield from whole(f"validate, {of}", ["validate", str(directory)], seconds, mebibytes)


def library(place: Path) -> Iterator[Figure]:
    """What a program has of the library."""
    registry = cdi.Registry([str(planted(place / "library", _FILES, "json"))])
    names = registry.devices()[:10]
    oci = {"ociVersion": "1.1.0", "process": {"args": ["sh"], "env": ["PATH=/bin"]}, "linux": {}}
    began = perf_counter()
    for _ in range(_TIMES):
        registry.inject(oci, *names)
    yield Figure(f"inject of 10 devices, mean of {_TIMES}", (perf_counter() - began) / _TIMES * 1e3, "ms", 1)
    took = []
    for number in range(_RUNS):
        cdi.write_file(spec(_FILES + number), str(place / "library" / "0.json"))
        began = perf_counter()
        registry.refresh()
        took.append(perf_counter() - began)
    yield Figure(f"refresh, 1 of {_FILES} files changed, p50 of {_RUNS}", statistics.median(took) * 1e3, "ms", 50)


def main() -> int:
    """Measure and print; a figure that is missed is a result, not an error."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        for measure in (commands, library):
            for figure in measure(Path(directory)):
                print(figure, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
