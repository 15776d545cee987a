"""`dyhead configs` lists, shows, compares and explains configs and keys."""

import argparse

from dyhead.cli.options import CONFIG_HELP, add_overrides
from dyhead.cli.output import print_whole

DESCRIPTION = """
Look at configs: those that the project brings, by name from any folder, and any other YAML file.
Without an action it lists them.
"""

EXAMPLE = """
dyhead configs
dyhead configs show quickstart MODEL.DYHEAD.NUM_CONVS 6
dyhead configs diff dyhead_r50_atss_fpn_1x dyhead_swint_atss_fpn_2x_ms
dyhead configs explain MODEL.DYHEAD.NUM_CONVS
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION")
    commands.add_parser(
        "list", help="name every packaged config, with a line on each (the default)"
    )

    show = commands.add_parser("show", help="print a config with its bases and defaults, as YAML")
    show.add_argument("config", metavar="CONFIG", help=CONFIG_HELP)
    add_overrides(show)

    diff = commands.add_parser("diff", help="print the keys that differ, with both values")
    diff.add_argument("first", metavar="A", help=CONFIG_HELP)
    diff.add_argument("second", metavar="B", help="the same")

    explain = commands.add_parser("explain", help="say what a key means and where it is used")
    explain.add_argument("key", metavar="KEY", help="a key, or a group such as MODEL.DYHEAD")

    commands.add_parser("reference", help="print a reference of all keys, as Markdown")


def run(args: argparse.Namespace) -> None:
    """Print the answer.

    Raises:
        UserError: there is no such config or key, or a config cannot be read.
    """
    from dyhead.config import load_config
    from dyhead.config.reference import explain, format_reference, to_yaml

    if args.action in (None, "list"):
        print_whole(_list())
    elif args.action == "show":
        print_whole(to_yaml(*load_config(args.config, args.opts)).rstrip())
    elif args.action == "diff":
        print_whole(_diff(args.first, args.second))
    elif args.action == "explain":
        print_whole(explain(args.key))
    else:
        print_whole(format_reference().rstrip())


def _list() -> str:
    from dyhead.config.reference import list_configs

    configs = list_configs()
    width = max(len(name) for name, _ in configs)
    return "\n".join(f"{name:{width}}  {description}" for name, description in configs)


def _diff(first: str, second: str) -> str:
    from dyhead.config import load_config
    from dyhead.config.reference import differences

    found = differences(load_config(first)[0], load_config(second)[0])
    lines = [f"{name}: {one!r} -> {other!r}" for name, one, other in found]
    return "\n".join(lines) or f"{first} and {second} say the same."
