import pytest
from embedded_host.config import check_part, check_supported, check_switched_off, get_cfg


def test_the_defaults_are_supported():
    check_supported(get_cfg())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.MASK_ON", True),
        ("MODEL.KEYPOINT_ON", True),
        ("MODEL.LOAD_PROPOSALS", True),
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


def test_switches_of_parts_are_looked_at_by_who_builds_the_part():
    cfg = get_cfg()
    check_switched_off(cfg, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS")
    cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = True
    check_supported(cfg)  # the architecture may have no box head
    with pytest.raises(ValueError, match=r"MODEL\.ROI_BOX_HEAD\.USE_FED_LOSS=True.*Detectron2"):
        check_switched_off(cfg, "MODEL.MASK_ON", "MODEL.ROI_BOX_HEAD.USE_FED_LOSS")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "RRPN"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"),
    ],
)
def test_parts_of_detectron2_are_refused_unless_someone_registers_them(key, name):
    cfg = get_cfg()
    cfg.merge_from_list([key, name])
    check_part(cfg, key, registered={name})
    with pytest.raises(ValueError, match=rf"{key}='{name}'.*genuine Detectron2"):
        check_part(cfg, key, registered=set())


def test_unknown_parts_are_left_to_the_registry():
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NAME = "MyROIHeads"
    check_part(cfg, "MODEL.ROI_HEADS.NAME", registered=set())
