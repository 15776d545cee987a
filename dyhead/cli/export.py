"""`dyhead export` writes a trained detector as an ONNX model or a program of torch.export."""

import argparse
from pathlib import Path

from dyhead.cli.options import add_checkpoint, add_config, add_overrides, add_size

DESCRIPTION = """
Write a trained detector as one file: OUT.onnx, an ONNX model of standard operators alone, which
onnxruntime runs without this project, or OUT.pt2, a program of torch.export, which needs this
project's operators. It takes pictures of any number and size, normalises and pads them, and gives
detections.

File and detector are run on the same pictures, and the largest difference is printed. A file that
differs by more than 0.01 pixels or 0.0001 of a score is not written. ATSS, FCOS, RepPoints and
RetinaNet can be exported. docs/export.md says more.
"""

EXAMPLE = """
dyhead export output/cells cells.onnx --picture cell.jpg
dyhead export model_best.pth cells.onnx --picture cell.jpg --without-nms
dyhead export model.safetensors model.pt2 --config dyhead_r50_atss_fpn_1x
"""

_ENDINGS = (".onnx", ".pt2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_checkpoint(parser, "a run's folder, or a checkpoint")
    parser.add_argument("output", metavar="OUT", help="a .onnx or .pt2 file")
    add_config(parser)
    parser.add_argument(
        "--opset", type=int, metavar="N", help="operator set of ONNX, 20 or more (default: 20)"
    )
    parser.add_argument(
        "--without-nms",
        action="store_true",
        help="give the boxes and scores of all anchors, before non-maximum suppression",
    )
    parser.add_argument(
        "--picture",
        action="append",
        default=[],
        dest="pictures",
        metavar="FILE",
        help="compare on this picture, on which something is found; may be repeated (default: on"
        " generated shapes)",
    )
    add_size(parser, "compare at this size (default: at the size of INPUT.MIN_SIZE_TEST)")
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Export, and print the deviation of the file from the detector.

    Raises:
        UserError: see `dyhead.export.export_onnx`.
    """
    from dyhead.d2.utils.logger import setup_logger
    from dyhead.detector import load_detector
    from dyhead.export import export_onnx, export_torch
    from dyhead.export.check import pictures_to_compare
    from dyhead.export.translation import MIN_OPSET

    _check_arguments(args)
    setup_logger(name="dyhead")
    # what concerns this machine, not the file
    as_executed = ["MODEL.COMPILE.ENABLED", "False", "FLOAT32_PRECISION", "highest"]
    ready = load_detector(
        args.checkpoint, args.config_file or None, [*args.opts, *as_executed], device="cpu"
    )
    pictures = pictures_to_compare(ready.cfg, args.pictures, args.size and tuple(args.size))
    with_nms = not args.without_nms
    if args.output.lower().endswith(".onnx"):
        opset = MIN_OPSET if args.opset is None else args.opset
        check = export_onnx(ready, args.output, pictures=pictures, opset=opset, with_nms=with_nms)
    else:
        check = export_torch(ready, args.output, pictures=pictures, with_nms=with_nms)
    print(f"{args.output}: {check}")


def _check_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot work, before the checkpoint is read."""
    from dyhead.errors import UserError
    from dyhead.export.exporting import check_pytorch
    from dyhead.export.extra import PACKAGES, import_extra

    ending = Path(args.output).suffix.lower()
    if ending not in _ENDINGS:
        raise UserError(f"{args.output} has the ending {ending!r}: choose .onnx or .pt2.")
    if ending == ".pt2" and args.opset is not None:
        raise UserError("--opset is for .onnx files: leave it out.")
    if args.size and min(args.size) < 1:
        raise UserError(f"--size {args.size[0]} {args.size[1]} has no pixels: give two lengths.")
    check_pytorch()
    for package in PACKAGES if ending == ".onnx" else ():
        import_extra(package)
