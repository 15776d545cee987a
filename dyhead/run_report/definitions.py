"""Defines the words of a report, for its page; docs/report.md has the same sentences."""

DEFINITIONS = (
    (
        "found",
        "Each detection, the surest first, finds the object of its class that it overlaps most, at"
        " an IoU of 0.5 or more, of those that are still free. At most 100 detections of a class in"
        " a picture count, and none that lie in a crowd without finding an object.",
    ),
    (
        "best threshold",
        "The lowest score to keep that gives the highest F1 on these very pictures: F1, precision,"
        " recall, the confusion matrix and the worst pictures are therefore somewhat better here"
        " than on new ones.",
    ),
    (
        "repaired: classification, localisation",
        "The surest of all detections of these two kinds that points to an object which is not"
        " found gets its class or box corrected and finds it; the others of the kind are removed.",
    ),
    (
        "repaired: both, duplicate, background",
        "Every detection of the kind is removed.",
    ),
    (
        "repaired: missed",
        "The objects that are neither found nor pointed to by a detection of a wrong class or place"
        " are taken out, as if they were not annotated.",
    ),
    (
        "false positives",
        "The number of all false detections, and the AP50 that is gained if all of them are"
        " removed.",
    ),
    (
        "false negatives",
        "The number of all objects that are not found, and the AP50 that is gained if all of them"
        " are taken out.",
    ),
    (
        "calibration error",
        "The mean distance of precision from mean score over ten bins of scores, weighted by the"
        " detections in them.",
    ),
    (
        "seconds per picture",
        "The time of an evaluation without its first batch, reading and scaling included, divided"
        " by the number of pictures after that batch.",
    ),
    (
        "peak memory",
        "On a GPU the most that PyTorch allocated in testing; on a CPU the most that the whole"
        " process has had since it began, training included.",
    ),
)
