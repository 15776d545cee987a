"""Comments beside the keys are their descriptions."""

import pytest

from dyhead.config.comments import key_descriptions, parse_descriptions
from dyhead.config.reference import all_keys
from dyhead.d2 import HOST

SOURCE = '''
"""Keys."""
# of no key
DEFAULTS = CN()
DEFAULTS.SEED = -1  # a seed

# --- The model --------
MODEL = DEFAULTS.MODEL = CN()
# Above it,
# on two lines.
MODEL.DEVICE = "cuda"
MODEL.NAME = "#no comment"
PART = MODEL.PART = CN()
# Above,
PART.SIZES = (
    (1, 2),  # inside
    (3, 4),
)  # and behind

# A group.
DEFAULTS.MODEL.OWN = CN()
DEFAULTS.MODEL.OWN.COUNT = 2  # how many, ...
other.MODEL.OWN.WRONG = 3  # of something else
'''


def test_comments_above_and_behind_are_joined_to_sentences() -> None:
    assert parse_descriptions(SOURCE) == {
        "SEED": "A seed.",
        "MODEL.DEVICE": "Above it, on two lines.",
        "MODEL.PART.SIZES": "Above, and behind.",
        "MODEL.OWN": "A group.",
        "MODEL.OWN.COUNT": "How many, ...",
    }


def test_every_description_belongs_to_a_key() -> None:
    names = [key.name for key in all_keys()]
    groups = {name.rpartition(".")[0] for name in names}
    assert set(key_descriptions()) <= {*names, *groups}


@pytest.mark.skipif(HOST == "detectron2", reason="it may have keys of its own")
def test_every_key_is_described() -> None:
    assert not [key.name for key in all_keys() if not key.description]


def test_descriptions_are_whole_sentences() -> None:
    for name, text in key_descriptions().items():
        assert text.endswith("."), name
        assert not text[0].islower(), name
        assert len(text.split()) > 1, name
