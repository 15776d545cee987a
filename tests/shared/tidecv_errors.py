"""Counts and costs of the kinds of errors by tidecv, the authors' own program."""

from typing import Any

from dyhead.evaluation.measures.error_kinds import ErrorKind

NAMES = {
    ErrorKind.CLASSIFICATION: "Cls",
    ErrorKind.LOCALISATION: "Loc",
    ErrorKind.BOTH: "Both",
    ErrorKind.DUPLICATE: "Dupe",
    ErrorKind.BACKGROUND: "Bkg",
    ErrorKind.MISSED: "Miss",
}


def tidecv_errors(truth: dict, results: list[dict]) -> dict[str, Any]:
    """Return AP50, and by tidecv's short names counts, gains and gains of the special errors."""
    import tidecv

    ground_truth, found = tidecv.Data("truth"), tidecv.Data("found")
    for category in truth["categories"]:
        ground_truth.add_class(category["id"], category["name"])
    for image in truth["images"]:
        ground_truth.add_image(image["id"], image["file_name"])
    for each in truth["annotations"]:
        ground_truth.add_ground_truth(each["image_id"], each["category_id"], each["bbox"])
    for each in results:
        found.add_detection(each["image_id"], each["category_id"], each["score"], each["bbox"])
    run = tidecv.TIDERun(ground_truth, found, 0.5, 0.1, tidecv.TIDE.BOX, 100)  # draws nothing
    return {
        "ap": run.ap,
        "gains": {error.short_name: gain for error, gain in run.fix_main_errors().items()},
        "counts": {error.short_name: count for error, count in run.count_errors().items()},
        "special": {error.short_name: gain for error, gain in run.fix_special_errors().items()},
    }
