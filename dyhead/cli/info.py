"""`dyhead info` describes the installation: versions, devices, back ends, missing parts."""

import argparse

from dyhead.cli.output import print_whole

DESCRIPTION = """
Print what a report of a problem needs: host, versions, devices, compilers, the state of the C++
extension, the back ends of the deformable convolution with the reason why one does not serve, and
the optional parts with what installs them.
"""

EXAMPLE = "dyhead info"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    parser.add_argument(
        "--build", action="store_true", help="build the C++ extension where it is not built yet"
    )


def run(args: argparse.Namespace) -> None:
    """Collect and print."""
    from dyhead.info import collect_info, format_info
    from dyhead.safe_io.json_text import strict_json

    info = collect_info(args.build)
    print_whole(strict_json(info, indent=2) if args.json else format_info(info))
