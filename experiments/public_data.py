"""Makes the data sets of experiments/results from copies of their authors' repositories.

    git clone https://github.com/Shenggan/BCCD_Dataset
    git clone https://github.com/tangsanli5201/DeepPCB
    python experiments/public_data.py --bccd BCCD_Dataset/BCCD --deeppcb DeepPCB/PCBData
    python experiments/study.py --data output/data/bccd --data output/data/deeppcb --name m --plan

Each becomes train.json and val.json in COCO's form, beside a folder with the pictures. Its
annotations have to be those that the results were measured on, by their digest there; they are in
BCCD's commit d272fb1 and DeepPCB's 08e98c4.

BCCD has its authors' lists train and val. Corners count pixels from 1 and name the last one, as
VOC's own do: x = xmin - 1, width = xmax - xmin + 1. --data BCCD_Dataset/BCCD itself is read as
labelling tools write corners, from 0 (docs/data.md): its boxes are smaller by a pixel, and its
classes in another order.

Of DeepPCB every third line counts: the first 300 of them in trainval.txt to train on, the first 150
in test.txt to validate. Width and height of a box are x2 - x1 and y2 - y1.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_sets import PARTS, annotations_digest, find_data_set, prepare_data

from dyhead.data.sources import read_source
from dyhead.engine import exit_on_user_error
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.json_text import write_json

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "experiments" / "results" / "study.json"
CELLS = ("RBC", "WBC", "Platelets")
DEFECTS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
SIDE = 640  # pixels of every picture of DeepPCB
LISTS = {"train": ("trainval.txt", 300), "val": ("test.txt", 150)}  # and the number of pictures

Part = tuple[dict[str, Any], list[Path]]  # COCO's form, and the paths of the pictures


def read_bccd(folder: Path, part: str) -> Part:
    """Read a part of BCCD's folder with Annotations, ImageSets and JPEGImages."""
    source = read_source(Path(f"{folder}#{part}"))
    content = source.content
    names = {category["id"]: category["name"] for category in content["categories"]}
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        each["bbox"] = [x - 1, y - 1, width + 1, height + 1]
        each["area"] = (width + 1) * (height + 1)
        each["category_id"] = 1 + CELLS.index(names[each["category_id"]])
    about = {"info": {"description": "converted from VOC xml"}, "licenses": []}
    pictures = [source.image_root / image["file_name"] for image in content["images"]]
    return {**content, **about, "categories": categories(CELLS)}, pictures


def read_deeppcb(folder: Path, part: str) -> Part:
    """Read a part of DeepPCB's folder PCBData."""
    name, count = LISTS[part]
    pictures: list[Path] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for line in (folder / name).read_text(encoding="utf-8").splitlines()[::3][:count]:
        template, labels = (folder / path for path in line.split())
        pictures.append(template.with_name(f"{template.stem}_test.jpg"))
        image = {"id": len(pictures), "file_name": pictures[-1].name}
        images.append({**image, "width": SIDE, "height": SIDE})
        for label in labels.read_text(encoding="utf-8").splitlines():
            x1, y1, x2, y2, kind = map(int, label.split())
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            of = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": kind}
            annotations.append({**of, **box})
    about = {"source": "github.com/tangsanli5201/DeepPCB", "license": "MIT"}
    info = {"description": f"DeepPCB subset {part}", **about}
    content = {"info": info, "images": images, "annotations": annotations}
    return {**content, "categories": categories(DEFECTS)}, pictures


def categories(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return COCO's categories, with ids from 1 on."""
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


READERS = {"bccd": read_bccd, "deeppcb": read_deeppcb}


def make(name: str, folder: Path, output: Path) -> None:
    """Write a data set into a folder of its name.

    Raises:
        UserError: the authors' folder cannot be read, or has other annotations than the results.
    """
    target = output / name
    (target / "images").mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        with user_errors(f"--{name} {folder}"):
            content, pictures = READERS[name](folder.expanduser(), part)
            for picture in pictures:
                shutil.copy(picture, target / "images")
        write_json(content, target / f"{part}.json")
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["annotations"][name]
    with tempfile.TemporaryDirectory() as prepared:
        found = annotations_digest(prepare_data(find_data_set(target), Path(prepared)))
    if found != known:
        raise UserError(
            f"{target} has the annotations {found}, not {known} of {RESULTS}: give --{name} the"
            " commit that this script names, or its numbers do not compare."
        )
    print(f"{target}: its annotations are those of experiments/results.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data sets whose folders are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bccd", type=Path, metavar="FOLDER", help="of its authors")
    parser.add_argument("--deeppcb", type=Path, metavar="FOLDER", help="of its authors")
    parser.add_argument("--output", type=Path, default=PROJECT / "output" / "data")
    args = parser.parse_args(arguments)
    with exit_on_user_error():
        for name in READERS:
            if folder := getattr(args, name):
                make(name, folder, args.output)


if __name__ == "__main__":
    main()
