"""The keys that MODEL.PIXELS_FROM_WEIGHTS decides, which nobody else sets beside it."""

from collections.abc import Collection

from dyhead.errors import UserError
from dyhead.safe_io.yaml import file_that_sets, is_based_on

PIXEL_KEYS = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
_FROM_WEIGHTS = "MODEL.PIXELS_FROM_WEIGHTS"


def refuse_overwritten_pixels(config_file: str, overridden: Collection[str]) -> None:
    """Refuse values of `PIXEL_KEYS` that a config's MODEL.PIXELS_FROM_WEIGHTS True would overwrite.

    Those that somebody set to suit one model are refused: on the command line, or in a file that
    stands on one with MODEL.PIXELS_FROM_WEIGHTS. A file with all of these, as a whole config is
    written, is not.

    Args:
        config_file: path of the config's file, "" for none.
        overridden: keys that were set besides, as on the command line.

    Raises:
        UserError: one of the keys is set; the message says how to keep its value.
    """

    def is_set_above(key: str) -> bool:
        file = file_that_sets(config_file, key)
        return bool(file) and is_based_on(file, decides)

    is_in_files = config_file and _FROM_WEIGHTS not in overridden
    decides = file_that_sets(config_file, _FROM_WEIGHTS) if is_in_files else ""
    kept = [key for key in PIXEL_KEYS if key in overridden or (decides and is_set_above(key))]
    if kept:
        raise UserError(
            f"{', '.join(kept)} {'is' if len(kept) == 1 else 'are'} set, but"
            f" {_FROM_WEIGHTS} True takes colours and pixel statistics from the weights: set it to"
            " False to keep your values, or leave them out."
        )
