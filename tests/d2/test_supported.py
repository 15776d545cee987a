import pytest

from dyhead.d2._embedded.config import check_supported, get_cfg


def test_the_defaults_are_supported():
    check_supported(get_cfg())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.MASK_ON", True),
        ("MODEL.KEYPOINT_ON", True),
        ("MODEL.LOAD_PROPOSALS", True),
        ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
        ("TEST.AUG.ENABLED", True),
        ("TEST.PRECISE_BN.ENABLED", True),
        ("VIS_PERIOD", 20),
    ],
)
def test_what_is_not_served_is_refused_with_its_key_and_value(key, value):
    cfg = get_cfg()
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError) as error:
        check_supported(cfg)
    assert f"{key}={value!r}" in str(error.value)
