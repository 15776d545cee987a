"""Data sets that tests of measures make up: random ones, and small ones by hand."""

import pytest
from coco_detections import make_annotations, make_results

from dyhead.evaluation.measures.pictures import evaluated_set


@pytest.fixture(params=[0, 1, 2])
def coco(request):
    """Ground truth in COCO's form and results, with crowds and empty pictures."""
    truth = make_annotations(request.param)
    return truth, make_results(truth, request.param)


@pytest.fixture
def evaluated(coco):
    """The same as arrays."""
    return evaluated_set(*coco)
