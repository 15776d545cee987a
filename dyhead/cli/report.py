"""`dyhead report` says how good the detectors of runs are, where they fail and what they cost."""

import argparse
from pathlib import Path

from dyhead.cli.options import path
from dyhead.cli.output import log_to_terminal, print_whole

DESCRIPTION = """
Write a report on trainings: report.html, one page that needs nothing beside itself, its charts as
PNG, and report.json with every number. It shows the curves of losses, learning rate and AP; AP by
class, size and IoU; precision, recall and F1 with the best threshold of each class; confusions;
the kinds of errors and the AP that each of them costs; calibration; the best and the worst
pictures; speed and memory; the config's differences; and the state of the data.

A training writes the report on itself into the folder `report` of its OUTPUT_DIR. Several runs are
set side by side, with the differences from the first; of runs that differ in their seed alone, mean
and spread are given.
"""

EXAMPLE = """
dyhead report output/cells
dyhead report output/cells output/cells_seed2 output/cells_seed3 --output compared
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "runs", nargs="+", type=path, metavar="RUN", help="the folder of a run, its OUTPUT_DIR"
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="folder for the report (default: `report` in the first run's folder)",
    )
    parser.add_argument(
        "--no-data",
        dest="with_data",
        action="store_false",
        help="leave out the section on the state of the data, which reads the header of every"
        " picture; labels of test sets are read all the same",
    )


def run(args: argparse.Namespace) -> None:
    """Write the report, and say where it is.

    Raises:
        UserError: see `dyhead.run_report.write_report`.
    """
    from dyhead.evaluation.run_folder import REPORT_FOLDER
    from dyhead.run_report import ReportSettings, write_report
    from dyhead.run_report.run import PAGE_NAME

    log_to_terminal()
    output: Path = args.output or args.runs[0] / REPORT_FOLDER
    reports = write_report(ReportSettings(args.runs, output, args.with_data))
    missing = [f"{each.name}: {sentence}" for each in reports for sentence in each.missing]
    print_whole("\n".join([*missing, f"Report: {output / PAGE_NAME}"]))
