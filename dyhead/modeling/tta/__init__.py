"""Multi-scale testing (test-time augmentation) for every detector that returns boxes."""

from dyhead.modeling.tta.build import build_multi_scale_testing, check_multi_scale_testing
from dyhead.modeling.tta.multi_scale_testing import MultiScaleTesting
from dyhead.modeling.tta.views import View, plan_views

__all__ = [
    "MultiScaleTesting",
    "View",
    "build_multi_scale_testing",
    "check_multi_scale_testing",
    "plan_views",
]
