"""The command line: `python -m deploy.image`."""

import argparse
import os
import sys
from pathlib import Path

from deploy.image import building, oci, wheels
from deploy.image.cache import Cache
from deploy.image.errors import ImageError
from deploy.image.registry import Credentials, Registry
from deploy.image.report import MB, table

PROJECT = Path(__file__).parents[2]
_REPOSITORY = "localhost/kubelet-plugin"
_LIMIT = 25 * MB  # of one platform, compressed
_EPILOG = """\
environment:
  IMAGE_REPO                 the image's name, such as registry.example.com/team/kubelet-plugin
  SOURCE_DATE_EPOCH          the time of all files (default: 0)
  MIRROR, SECURITY_MIRROR    Debian's archive (default: what apt uses here)
  REGISTRY_USER, REGISTRY_PASSWORD    for `push`, where the registry asks

exit codes:
  0  done
  1  it could not be done; what to do is said
  2  wrong usage

examples:
  python -m deploy.image build                # dist/kubelet-plugin-image.tar
  python -m deploy.image build --debug        # dist/kubelet-plugin-image-debug.tar
  python -m deploy.image build --refresh      # record the newest packages first
  IMAGE_REPO=localhost:5000/kubelet-plugin python -m deploy.image push
"""


def main(arguments: list[str]) -> int:
    """Build, push or name the image; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "build":
            _build(options)
        elif options.verb == "push":
            _push(options)
        elif options.verb == "requirements":
            _print(building.requirements(PROJECT))
        else:
            _print(oci.read(_archive(options)).index["digest"])
    except ImageError as error:
        _say(str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.image",
        description="Build the container image, without a container engine and without root, and push it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build the image for all platforms into one archive")
    build.add_argument(
        "--refresh", action="store_true", help="record the newest Debian packages and the pinned wheels first"
    )
    build.add_argument(
        "--wheel", metavar="FILE", type=Path, help="the project's wheel (default: built from the sources)"
    )
    push = verbs.add_parser("push", help="push the archive to a registry")
    push.add_argument("--repo", metavar="NAME", default=os.environ.get("IMAGE_REPO", ""), help="default: IMAGE_REPO")
    push.add_argument("--tag", help="default: the version")
    digest = verbs.add_parser("digest", help="print the digest by which the image can be pulled")
    verbs.add_parser("requirements", help="print what a Containerfile installs, with the checksums of constraints.txt")
    for verb in (build, push, digest):
        verb.add_argument("--debug", action="store_true", help="the image with a shell and a debugger")
        verb.add_argument(
            "--output", metavar="DIR", type=Path, default=PROJECT / "dist", help="where the archive is (dist)"
        )
    return parser


def _archive(options: argparse.Namespace) -> Path:
    output: Path = options.output
    return output / f"kubelet-plugin-image{'-debug' if options.debug else ''}.tar"


def _build(options: argparse.Namespace) -> None:
    cache = Cache()
    if options.refresh:
        building.refresh(PROJECT, cache, _say)
    options.output.mkdir(parents=True, exist_ok=True)
    built = building.build(
        building.Order(
            project=PROJECT,
            wheel=options.wheel.read_bytes() if options.wheel else wheels.build(PROJECT),
            debug=options.debug,
            output=options.output,
            repository=os.environ.get("IMAGE_REPO") or _REPOSITORY,
            created=building.created(),
            revision=building.revision(PROJECT),
            cache=cache,
        )
    )
    for platform, parts in built.rows.items():
        _print(f"linux/{platform}:\n{table(parts)}\n")
        size = sum(row.compressed for row in parts if not row.owner)
        if size > _LIMIT and not options.debug:
            raise ImageError(f"linux/{platform} has {size / MB:.1f} MB compressed, and may have {_LIMIT / MB:g}")
    _print(f"{built.archive}: {built.reference}")


def _push(options: argparse.Namespace) -> None:
    if not options.repo:
        raise ImageError("no repository is named: IMAGE_REPO=registry.example.com/team/kubelet-plugin make push")
    archive = oci.read(_archive(options))
    user, password = os.environ.get("REGISTRY_USER", ""), os.environ.get("REGISTRY_PASSWORD", "")
    registry = Registry.of(options.repo, Credentials(user, password) if user else None)
    registry.push(archive, options.tag or archive.tag, _say)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"image: {line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
