"""Gives images, categories and annotations numbers that COCO's tools handle exactly.

Ids of text, negative ones and those that double precision cannot hold make the tools fail, or
count wrongly without a word. Such a list is numbered from 1 in the order of its ids; the original
ids stand beside it, and everything that is written for the user has them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport
from dyhead.data.checks.values import Id, id_order, read_id, read_number

ORIGINAL_IDS = "original_ids"  # key of a checked copy: {list: {number: id as written}}
_REFERENCES = (("images", "image_id"), ("categories", "category_id"))
_NUMBERS = ("id", "width", "height")
_TOO_LARGE = 2**53  # from here on doubles skip whole numbers


def is_exact(identifier: Id) -> bool:
    """Return True for an id that COCO's tools take as it is."""
    return isinstance(identifier, int) and 0 <= identifier < _TOO_LARGE


def read_entries(entries: list, report: CheckReport) -> tuple[list, dict[Id, str]]:
    """Read ids, and sizes of images, as the numbers that they are.

    Sizes that are missing, null or 0 are taken out: the files tell them.

    Returns:
        the entries, copied where they change, and the ids in quotes as they were written.
    """
    read: list = []
    written: dict[Id, str] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            read.append(entry)
            continue
        found = {**entry, "id": read_id(entry.get("id"))}
        for side in ("width", "height"):
            _read_size(found, side)
        if isinstance(entry.get("id"), str) and entry["id"] != found["id"]:
            written.setdefault(found["id"], entry["id"])
        changed = [k for k in _NUMBERS if type(found.get(k)) is not type(entry.get(k))]
        if any(isinstance(entry[key], str) for key in changed if key in found):
            report.add(kinds.NUMBER_AS_TEXT, f"entry {entry}"[:100])
        report.completed |= bool(changed)
        read.append(found)
    return read, written


def _read_size(entry: dict, side: str) -> None:
    if side not in entry:
        return
    number = read_number(entry[side])
    if entry[side] in (None, "") or number == 0:
        del entry[side]
    elif number is not None:
        entry[side] = int(number) if number == int(number) else number


def with_exact_ids(
    coco: dict[str, Any], written: Mapping[str, Mapping[Any, Id]], report: CheckReport
) -> dict[str, Any]:
    """Number what COCO's tools would not handle, and note the original ids beside it.

    Args:
        coco: checked; ids are whole numbers or text.
        written: list -> id -> the id as the source has it, where that differs.
        report: takes what is found.

    Returns:
        `coco`, copied where it changes, with `ORIGINAL_IDS` where its ids are not the source's.
    """
    # of an earlier copy that is now a source
    coco = {key: value for key, value in coco.items() if key != ORIGINAL_IDS}
    originals: dict[str, Mapping[Any, Id]] = {"annotations": written.get("annotations", {})}
    for key, reference in _REFERENCES:
        ids = [entry["id"] for entry in coco[key]]
        numbers = _numbers(ids)
        if numbers:
            coco[key] = [{**entry, "id": numbers[entry["id"]]} for entry in coco[key]]
            coco["annotations"] = [
                {**each, reference: numbers[each[reference]]} for each in coco["annotations"]
            ]
        for identifier in (each for each in ids if not is_exact(each)):
            report.add(kinds.INTERNAL_ID, f"{key} {identifier!r}")
        as_written = written.get(key, {})
        originals[key] = {
            numbers.get(each, each): as_written.get(each, each)
            for each in ids
            if each in numbers or each in as_written
        }
    if any(originals.values()):
        coco[ORIGINAL_IDS] = {key: ids for key, ids in originals.items() if ids}
    return coco


def _numbers(ids: Iterable[Id]) -> dict[Id, int]:
    """Number ids from 1 in their order if one of them needs it; {} if none does."""
    ids = list(ids)
    if all(map(is_exact, ids)):
        return {}
    return {each: number for number, each in enumerate(sorted(ids, key=id_order), start=1)}


def restore_ids(coco: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a checked set with the ids of its source, for its author.

    Annotations that were given a new id keep that.
    """
    restored = {key: value for key, value in coco.items() if key != ORIGINAL_IDS}
    originals = coco.get(ORIGINAL_IDS, {})
    for key in ("images", "categories", "annotations"):
        ids = originals.get(key, {})
        restored[key] = [{**entry, "id": ids.get(entry["id"], entry["id"])} for entry in coco[key]]
    for key, reference in _REFERENCES:
        ids = originals.get(key, {})
        for annotation in restored["annotations"]:
            annotation[reference] = ids.get(annotation[reference], annotation[reference])
    return restored
