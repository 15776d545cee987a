"""The 80 categories of COCO's boxes."""

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
