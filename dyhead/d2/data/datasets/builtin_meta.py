"""The 80 categories of COCO's boxes."""

from typing import Any

# COCO numbers its categories 1 to 90 and left these numbers out.
_UNUSED_IDS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))

COCO_CLASS_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED_IDS)

# In the order of the ids, one line per group of COCO's.
_NAMES = """
person,
bicycle, car, motorcycle, airplane, bus, train, truck, boat,
traffic light, fire hydrant, stop sign, parking meter, bench,
bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
backpack, umbrella, handbag, tie, suitcase,
frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket,
bottle, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, dining table, toilet,
tv, laptop, mouse, remote, keyboard, cell phone,
microwave, oven, toaster, sink, refrigerator,
book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

COCO_CLASS_NAMES = tuple(name.strip() for name in _NAMES.split(","))


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """Metadata of "coco": class names, and the mapping from its category ids to 0, 1, 2...

    Raises:
        KeyError: it is another name, of a data set that the embedded host does not know.
    """
    if dataset_name != "coco":
        raise KeyError(f"There is no builtin metadata of {dataset_name!r}, but of 'coco' alone.")
    return {
        "thing_classes": list(COCO_CLASS_NAMES),
        "thing_dataset_id_to_contiguous_id": {
            coco_id: index for index, coco_id in enumerate(COCO_CLASS_IDS)
        },
    }
