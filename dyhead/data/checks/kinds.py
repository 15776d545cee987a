"""The kinds of problems that the checks of a data set look for.

A new kind is one more constant here: reports, pages and the documentation list them from `KINDS`.
"""

from dataclasses import dataclass

KINDS: dict[str, "Kind"] = {}  # by name, in the order of this file


@dataclass(frozen=True)
class Kind:
    """A kind of problem: what is wrong with an item, what is done with it, what to change.

    Attributes:
        name: its name in json files and links, such as "missing-image".
        problem: what is wrong, without its object: "image file missing".
        handling: what the project does with such an item: "image left out".
        advice: what its author can change, a sentence in the imperative.
        is_fault: False for what is worth knowing and may well be meant so.
        changes_content: False where the item is used as it stands.
    """

    name: str
    problem: str
    handling: str
    advice: str
    is_fault: bool = True
    changes_content: bool = True

    def __post_init__(self) -> None:
        """Enter the kind into `KINDS`."""
        assert self.name not in KINDS, f"Two kinds of problems are called {self.name}."
        KINDS[self.name] = self

    def __str__(self) -> str:
        """Say what is wrong and what is done about it."""
        return f"{self.problem}: {self.handling}"


MISSING_IMAGE = Kind(
    "missing-image",
    "image file missing",
    "image left out",
    "Put the file into the image folder, or correct its file_name.",
)
UNREADABLE_IMAGE = Kind(
    "unreadable-image",
    "image file unreadable",
    "image left out",
    "Save the picture anew as JPEG or PNG, or take its entry out.",
)
FILE_NAME = Kind(
    "file-name",
    "file name written in another way than the file's",
    "the only file that fits is used",
    "Write the names as they are in the image folder: with /, without escapes or foreign folders.",
)
OUTSIDE_FOLDER = Kind(
    "file-outside-folder",
    "file name leads out of the image folder",
    "image left out",
    "Name the folder above as the image folder, or set DATASETS.ALLOW_OUTSIDE to True.",
)
LISTED_TWICE = Kind(
    "file-listed-twice",
    "file listed more than once, under several image ids",
    "kept as images of their own",
    "Make one entry of them with all of their boxes: each shows objects that the other says are"
    " not there.",
)
SAME_PICTURE = Kind(
    "same-picture",
    "picture of the same content as an earlier file",
    "both kept",
    "Take one of them out, or bring their boxes together.",
    is_fault=False,
)
SIMILAR_PICTURE = Kind(
    "similar-picture",
    "picture nearly the same as an earlier one",
    "both kept",
    "Nothing, if they are frames of a video; keep such pictures in one part of the data.",
    is_fault=False,
)
LEAKED_PICTURE = Kind(
    "same-picture-in-train",
    "picture that is in the training set too",
    "kept; its score counts what was learnt by heart",
    "Take it out of one of the two sets.",
)
SIMILAR_LEAK = Kind(
    "similar-picture-in-train",
    "picture nearly the same as one of the training set",
    "kept; its score counts what was learnt by heart",
    "Divide the data by scenes, so that nearly equal pictures come into one set.",
)
DEEP_PICTURE = Kind(
    "deep-picture",
    "picture of more than 8 bits per channel",
    "scaled to 8 bits",
    "Nothing, if brightness differs little between them; else scale all alike, and save 8 bits.",
    is_fault=False,
)
SENSOR_RASTER = Kind(
    "exif-size",
    "image size is the one before EXIF's orientation turns the picture",
    "boxes turned with the picture",
    "Export the labels for pictures as they are shown, or save the pictures upright, without EXIF.",
)
TURNED_SAME_SIZE = Kind(
    "exif-turned",
    "picture that EXIF turns to the same size",
    "boxes taken as they are, for the picture as it is shown",
    "Look at some of them with their boxes: labels made on the unturned picture lie elsewhere.",
    is_fault=False,
)
SIZE_MISMATCH = Kind(
    "image-size",
    "image size differs from its file's",
    "image left out",
    "Export the labels for the files as they are, or correct width and height.",
)
DUPLICATE_IMAGE_ID = Kind(
    "image-id-twice",
    "image id used before",
    "image left out",
    "Give every image an id of its own, and its annotations the same.",
)
MALFORMED_IMAGE = Kind(
    "malformed-image",
    "image without id or file_name",
    "left out",
    "Give every entry of 'images' an 'id' and a 'file_name'.",
)
MALFORMED_ANNOTATION = Kind(
    "malformed-annotation",
    "annotation without image_id, category_id or bbox of 4 numbers",
    "left out",
    "Give every annotation 'image_id', 'category_id' and a 'bbox' [x, y, width, height].",
)
LOST_IMAGE = Kind(
    "annotation-of-lost-image",
    "annotation of an image that was left out",
    "left out too",
    "Mend the image.",
)
UNKNOWN_IMAGE = Kind(
    "unknown-image",
    "annotation of an unknown image",
    "left out",
    "Add the image to 'images', or take the annotation out.",
)
UNKNOWN_CATEGORY = Kind(
    "unknown-category",
    "annotation of an unknown category",
    "left out",
    "Add the category to 'categories', or correct category_id.",
)
DEGENERATE_BOX = Kind(
    "degenerate-box",
    "box without width or height, or of at most 1 x 1 pixel",
    "left out",
    "Draw the box anew, or take it out.",
)
OUTSIDE_BOX = Kind(
    "box-outside",
    "box wholly outside its image",
    "left out",
    "Check that boxes are in pixels of this very file, as [x, y, width, height].",
)
CLIPPED_BOX = Kind(
    "box-partly-outside",
    "box partly outside its image",
    "clipped",
    "Clip the box to its image; if there are many, check that they belong to files of this size.",
)
IGNORED_BOX = Kind(
    "ignored-box",
    'annotation marked "ignore"',
    "kept as a crowd, which is neither learnt nor counted",
    "Nothing, if it is meant so.",
    is_fault=False,
)
DUPLICATE_ANNOTATION = Kind(
    "annotation-twice",
    "annotation repeated unchanged",
    "left out",
    "Take the copies out.",
)
RENUMBERED_ANNOTATION = Kind(
    "annotation-id",
    "annotation id missing, 0 or used before",
    "given a new one",
    "Give every annotation an id of its own, from 1.",
)
INTERNAL_ID = Kind(
    "internal-id",
    "id that is text, negative or above 2**53",
    "numbered inside, written back as it is",
    "Nothing, if it is meant so.",
    is_fault=False,
)
NUMBER_AS_TEXT = Kind(
    "number-as-text",
    "number or flag written as text",
    "read as what it says",
    "Write numbers without quotes.",
    is_fault=False,
)
UNCLEAR_FLAG = Kind(
    "unclear-flag",
    "iscrowd or ignore that is neither 0 nor 1",
    "taken for 0",
    "Set iscrowd to 0 for one object, to 1 for a crowd.",
)
WRONG_AREA = Kind(
    "wrong-area",
    "area that is no number above 0, or larger than the box",
    "computed from the box, for areas decide APs, APm and APl",
    "Correct the area, or leave it out.",
)
BOX_FROM_SEGMENTATION = Kind(
    "box-from-segmentation",
    "annotation with a segmentation and without bbox",
    "its box taken from the segmentation",
    "Nothing, if it is meant so.",
    is_fault=False,
)
CORNER_BOXES = Kind(
    "corner-boxes",
    "box that seems to hold corners, [x0, y0, x1, y1]",
    "read as [x, y, width, height] all the same",
    "If they are corners, write [x0, y0, x1 - x0, y1 - y0].",
    changes_content=False,
)
FRACTION_BOXES = Kind(
    "fraction-boxes",
    "box that seems to hold fractions of its image, from 0 to 1",
    "read as pixels all the same",
    "If they are fractions, multiply them by the image's width and height.",
    changes_content=False,
)
MANY_CROWDS = Kind(
    "many-crowds",
    "object with iscrowd 1, where at least a tenth of the objects have it",
    "crowds are neither learnt in training nor counted in evaluation",
    "Set iscrowd to 0 for single objects: some tools set it for every mask drawn by brush.",
    changes_content=False,
)
SAME_BOX = Kind(
    "same-box",
    "box drawn twice for one class",
    "both kept",
    "Take the second one out: a detector can find only one of them.",
    changes_content=False,
)
SAME_BOX_OTHER_CLASS = Kind(
    "same-box-other-class",
    "box drawn twice, for two classes",
    "both kept",
    "Nothing, if the object belongs to both; else take the wrong one out.",
    is_fault=False,
    changes_content=False,
)
EMPTY_CATEGORY = Kind(
    "empty-category",
    "category without a box to learn or to find",
    "kept as a class",
    "Nothing, if it is meant so: a detector cannot learn it from this set.",
    is_fault=False,
    changes_content=False,
)
SIMILAR_CATEGORIES = Kind(
    "similar-categories",
    "category whose name differs from another's in case or spaces only",
    "kept as a class of its own",
    "Make them one category if they are the same class.",
    is_fault=False,
    changes_content=False,
)

NOTHING_USABLE = Kind(
    "nothing-usable",
    "set without usable images or objects",
    "refused in training and evaluation",
    "Mend what the other faults name, the image folder and the form of the boxes first.",
    changes_content=False,
)

# Labels of other formats than COCO's.

DAMAGED_LABEL = Kind(
    "damaged-label",
    "label that cannot be read",
    "left out",
    "Draw the object anew, or correct the line that is named.",
)
DAMAGED_LABEL_FILE = Kind(
    "damaged-label-file",
    "label file that cannot be read",
    "left out with its image",
    "Export the file anew.",
)
LABEL_WITHOUT_IMAGE = Kind(
    "label-without-image",
    "label file without its image",
    "left out",
    "Put the image into the image folder under the same name, or take the label file out.",
)
UNLABELLED_IMAGE = Kind(
    "unlabelled-image",
    "image that nobody labelled",
    "left out",
    "Label it; an image without objects needs an empty label.",
    is_fault=False,
)
BACKGROUND_IMAGE = Kind(
    "image-without-label-file",
    "image without a label file",
    "taken as one without objects, as YOLO does",
    "Nothing, if it shows no object.",
    is_fault=False,
)
ABSENT_PART = Kind(
    "absent-part",
    "part for testing that data.yaml names and that is not there",
    "left out",
    "Nothing, if there is none; else put it where data.yaml says.",
    is_fault=False,
)
OTHER_IMAGE_NAMED = Kind(
    "label-names-other-image",
    "label file that names another image than the one of its own name",
    "taken for the image of its own name",
    "Give the label file the name of its image, or correct what it says.",
)
NOT_A_BOX = Kind(
    "shape-without-box",
    "shape that is no box: a point, a line, a mask, ...",
    "left out",
    "Nothing, if it is meant so; else draw a box.",
    is_fault=False,
)
ROTATED_BOX = Kind(
    "rotated-box",
    "rotated box",
    "replaced by the upright box around it",
    "Nothing: the detectors know upright boxes only.",
    is_fault=False,
)
SEVERAL_LABELLERS = Kind(
    "several-labellers",
    "image that was labelled several times",
    "the ground truth among the labels counts, or else the last of them",
    "Mark the right one as ground truth in Label Studio.",
    is_fault=False,
)

# What only `dyhead check` looks for, for a config or another source decides.

OTHER_CLASSES = Kind(
    "other-classes",
    "classes that are not those of the first source, or in another order of ids",
    "refused in training and evaluation",
    "Give all sources the same categories with the same ids.",
    changes_content=False,
)
UNDECODABLE_PICTURE = Kind(
    "undecodable-picture",
    "picture whose header can be read and whose pixels cannot",
    "skipped in training; stops an evaluation",
    "Save the picture anew as JPEG or PNG, or take its entry out.",
)
NOTHING_TO_LEARN = Kind(
    "nothing-to-learn",
    "training set without an object to learn",
    "refused in training",
    "Label objects in it, or leave it out of the training sets.",
    changes_content=False,
)
NO_GROUND_TRUTH = Kind(
    "no-ground-truth",
    "set without an object to learn or score",
    "predicted on without a score; beside other training sets, its pictures are background",
    "Nothing, if it is meant so.",
    is_fault=False,
    changes_content=False,
)
SMALL_BOX = Kind(
    "box-below-stride",
    "box smaller than a cell of the finest level, in pictures as they are resized for training",
    "kept, and hardly learnt",
    "Raise INPUT.MIN_SIZE_TRAIN and MIN_SIZE_TEST, and MAX_SIZE_TRAIN and MAX_SIZE_TEST, which"
    " limit the longer side; cut large pictures into tiles; or take a finer level into the"
    " pyramid.",
    is_fault=False,
    changes_content=False,
)
CROWDED_IMAGE = Kind(
    "too-many-objects",
    "picture with more objects than TEST.DETECTIONS_PER_IMAGE",
    "kept; the objects beyond that number are never found",
    "Raise TEST.DETECTIONS_PER_IMAGE.",
    is_fault=False,
    changes_content=False,
)
