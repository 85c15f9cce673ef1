"""`python -m deploy.images build` writes OCI image layouts; the other commands serve whoever builds with an engine."""

import argparse
import os
import sys
from pathlib import Path

from deploy.images.build import Builder, root_file_system
from deploy.images.components import COMPONENTS, Component
from deploy.images.containerfile import write_containerfiles
from deploy.images.elf import MissingLibrary
from deploy.images.layout import UnsupportedMachine
from deploy.images.packages import LockMismatch
from deploy.images.tree import unpack

_BY_NAME = {component.name: component for component in COMPONENTS}


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write FOLDER/<component>, an OCI image layout each")
    build.add_argument("components", nargs="*", metavar="component", help=f"of {', '.join(_BY_NAME)}; default: all")
    build.add_argument("--output", type=Path, default=Path("build/images"), metavar="FOLDER")
    build.add_argument("--revision", default="", help="the source's revision, for the label")
    rootfs = commands.add_parser("rootfs", help="write the root file system of one component into a new folder")
    rootfs.add_argument("component", choices=_BY_NAME)
    rootfs.add_argument("folder", type=Path)
    commands.add_parser("containerfiles", help="write deploy/images/<component>/Containerfile anew")
    arguments = parser.parse_args()
    try:
        if arguments.command == "build":
            unknown = sorted(set(arguments.components) - set(_BY_NAME))
            if unknown:
                parser.error(f"no component {', '.join(unknown)}; there are {', '.join(_BY_NAME)}")
            _build([_BY_NAME[name] for name in arguments.components] or list(COMPONENTS), arguments)
        elif arguments.command == "rootfs":
            tree = root_file_system(_BY_NAME[arguments.component])
            arguments.folder.mkdir(parents=True)
            unpack(tree, arguments.folder)
        else:
            write_containerfiles()
    except (LockMismatch, MissingLibrary, UnsupportedMachine, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _build(components: list[Component], arguments: argparse.Namespace) -> None:
    # reproducible-builds.org: the one variable by which a build is told its date.
    time_s = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)  # noqa: TID251
    builder = Builder(time_s=time_s, revision=arguments.revision)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for component in components:
        built = builder.build(component, arguments.output)
        sizes = f"{built.compressed_bytes / 1e6:5.1f} MB compressed, {built.files_bytes / 1e6:6.1f} MB unpacked"
        print(f"{built.path}: {sizes}, {built.digest}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
