"""`dyhead analyze` counts a detector's costs, part by part."""

import argparse
from typing import TYPE_CHECKING, Any

from dyhead.cli.options import add_config, add_overrides, add_size
from dyhead.errors import UserError, user_errors

if TYPE_CHECKING:
    from dyhead.d2.config import CfgNode

DESCRIPTION = """
Print multiply-adds, parameters, activations and the memory saved for backward of every part of a
detector with random weights: bottom-up backbone, FPN, each DyHead block and its attentions, and
the head. Operators that no number counts are listed by name. How the model is executed
(MODEL.DEFORM_CONV_BACKEND, MODEL.CHANNELS_LAST, MODEL.COMPILE) changes none of the numbers.
"""

EXAMPLE = "dyhead analyze --config dyhead_r50_atss_fpn_1x --size 800 1344"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config(parser, required=True)
    add_size(parser, "of the tensor that the backbone gets (default: 800 1344)")
    parser.add_argument(
        "--table2",
        action="store_true",
        help="compare 1 to 10 blocks with the paper's Table 2 instead",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to FILE too")
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file if one is named.

    Raises:
        UserError: the config or the size cannot be used, or the file cannot be written.
    """
    import dyhead.modeling  # noqa: F401  registers the models
    from dyhead.analysis.table2 import SIZE
    from dyhead.config import load_config
    from dyhead.data.known_classes import known_classes
    from dyhead.data.num_classes import num_classes_key, set_num_classes
    from dyhead.safe_io.json_text import write_json

    height, width = size = tuple(args.size or SIZE)
    if args.table2 and size != SIZE:
        raise UserError(f"--table2 is for images of {SIZE[0]} x {SIZE[1]}: leave --size out.")
    cfg, explicit_keys = load_config(args.config_file, args.opts)
    _settle_execution(cfg)
    classes = known_classes(cfg).names
    if classes and num_classes_key(cfg) not in explicit_keys:
        set_num_classes(cfg, len(classes))
    text, values = _table2(cfg) if args.table2 else _analysis(cfg, (height, width))
    print(text)
    if args.json:
        with user_errors(f"--json {args.json}"):
            write_json(values, args.json, indent=2)


def _settle_execution(cfg: "CfgNode") -> None:
    """Set plain options of execution: no count depends on them, and any machine has them."""
    cfg.MODEL.DEVICE, cfg.MODEL.DEFORM_CONV_BACKEND = "cpu", ""
    cfg.MODEL.COMPILE.ENABLED = False
    cfg.TEST.PRECISION = "float32"


def _analysis(cfg: "CfgNode", size: tuple[int, int]) -> tuple[str, dict[str, Any]]:
    from dyhead.analysis import analyze_detector
    from dyhead.analysis.report import analysis_as_dict, format_analysis
    from dyhead.detector import build_detector

    analysis = analyze_detector(build_detector(cfg), size)
    return format_analysis(analysis), analysis_as_dict(analysis)


def _table2(cfg: "CfgNode") -> tuple[str, dict[str, Any]]:
    from dyhead.analysis import measure_table2
    from dyhead.analysis.report import format_table2, table2_as_dict

    table = measure_table2(cfg)
    return format_table2(table), table2_as_dict(table)
