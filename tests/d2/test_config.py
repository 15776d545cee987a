import pytest
import torch
import yaml

from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode, configurable, get_cfg

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.SIZE, cfg.NAME = 1, "n"
    return cfg


class Layer(torch.nn.Module):
    @configurable
    def __init__(self, size, name="default", *, scale: float = 1.0):
        """Doc of Layer."""
        super().__init__()
        self.values = (size, name, scale)

    @classmethod
    def from_config(cls, cfg):
        return {"size": cfg.SIZE, "name": cfg.NAME}


class ShapedLayer(Layer):
    @configurable
    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = shape

    @classmethod
    def from_config(cls, cfg, shape):
        return {"shape": shape, **super().from_config(cfg)}


class InheritingLayer(Layer):
    """Has no __init__ or from_config of its own."""


class CfgStyleLayer(ShapedLayer):
    def __init__(self, cfg, shape):
        super().__init__(cfg, shape)


@configurable(from_config=lambda cfg, extra: {"size": cfg.SIZE, "extra": extra})
def build(size, extra=2, more=3):
    return size, extra, more


def test_every_call_returns_a_fresh_configuration():
    first = get_cfg()
    first.MODEL.DEVICE = "cpu"
    first.MODEL.PIXEL_MEAN.append(0.0)
    assert get_cfg().MODEL.DEVICE == "cuda"
    assert len(get_cfg().MODEL.PIXEL_MEAN) == 3


def test_dump_reads_back_equal(tmp_path, cfg):
    cfg.SOLVER.STEPS = (10, 20)
    (tmp_path / "c.yaml").write_text(cfg.dump())
    other = get_cfg()
    other.SIZE, other.NAME = 0, ""
    other.merge_from_file(str(tmp_path / "c.yaml"))
    # Tuples within tuples come back as lists, which YAML cannot tell apart.
    assert yaml.safe_load(other.dump()) == yaml.safe_load(cfg.dump())
    assert other.SOLVER.STEPS == (10, 20)


def test_merge_follows_bases_and_converts_types(tmp_path):
    (tmp_path / "base.yaml").write_text("VERSION: 2\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n")
    (tmp_path / "c.yaml").write_text("_BASE_: base.yaml\nSOLVER: {STEPS: '(1, 2)', MAX_ITER: 9}\n")
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (0.5, 9, (1, 2))


def test_merge_from_list_reads_literals():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", "1e-2", "DATASETS.TRAIN", "('a', 'b')"])
    assert cfg.SOLVER.BASE_LR == 0.01
    assert cfg.DATASETS.TRAIN == ("a", "b")


def test_unknown_keys_and_wrong_types_are_refused():
    cfg = get_cfg()
    with pytest.raises(KeyError):
        cfg.merge_from_other_cfg(CfgNode({"NO_SUCH_KEY": 1}))
    with pytest.raises(ValueError, match="MAX_ITER"):
        cfg.merge_from_other_cfg(CfgNode({"SOLVER": {"MAX_ITER": "many"}}))


def test_frozen_configuration_cannot_be_changed():
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.MODEL.DEVICE = "cpu"
    assert cfg.clone().is_frozen()


def test_computed_keys_can_be_added_to_a_frozen_configuration_once():
    cfg = get_cfg()
    cfg.freeze()
    cfg.COMPUTED_SIZE = 3
    cfg.COMPUTED_SIZE = 3
    with pytest.raises(KeyError):
        cfg.COMPUTED_SIZE = 4


@embedded_only
@pytest.mark.parametrize("allow_unsafe", [True, False])
def test_merging_a_file_never_runs_code(tmp_path, allow_unsafe):
    target = tmp_path / "touched"
    (tmp_path / "c.yaml").write_text(
        f"OUTPUT_DIR: !!python/object/apply:os.system ['touch {target}']\n"
    )
    with pytest.raises(ValueError, match="OUTPUT_DIR"):
        get_cfg().merge_from_file(str(tmp_path / "c.yaml"), allow_unsafe=allow_unsafe)
    assert not target.exists()


@embedded_only
def test_arithmetic_tags_of_official_files_are_computed(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "MODEL:\n  ANCHOR_GENERATOR:\n"
        '    SIZES: !!python/object/apply:eval ["[[x*2,] for x in [32, 64]]"]\n'
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[64], [128]]


@embedded_only
def test_files_for_an_older_version_are_refused(tmp_path):
    (tmp_path / "old.yaml").write_text("VERSION: 1\n")
    with pytest.raises(ValueError, match=r"old\.yaml has VERSION 1"):
        get_cfg().merge_from_file(str(tmp_path / "old.yaml"))


def test_configurable_without_cfg_is_a_plain_call():
    assert Layer(5, scale=2.0).values == (5, "default", 2.0)
    assert ShapedLayer("s", size=5).values == (5, "default", 1.0)
    assert build(1) == (1, 2, 3)


def test_configurable_takes_arguments_from_cfg(cfg):
    assert Layer(cfg).values == (1, "n", 1.0)
    assert Layer(cfg=cfg).values == (1, "n", 1.0)
    assert InheritingLayer(cfg).values == (1, "n", 1.0)
    layer = ShapedLayer(cfg, "s")
    assert (layer.shape, layer.values) == ("s", (1, "n", 1.0))
    assert CfgStyleLayer(cfg, "s").shape == "s"
    assert build(cfg, extra=20) == (1, 20, 3)


def test_explicit_keywords_win_over_cfg(cfg):
    assert Layer(cfg, name="mine", scale=3.0).values == (1, "mine", 3.0)
    assert ShapedLayer(cfg, shape="s", size=9).values == (9, "n", 1.0)
    assert build(cfg, size=7, extra=8, more=9) == (7, 8, 9)


def test_configurable_refuses_wrong_calls(cfg):
    with pytest.raises(TypeError):
        Layer(cfg, "not a parameter of from_config")
    with pytest.raises(TypeError):
        Layer(cfg, no_such_parameter=1)
    with pytest.raises(TypeError):
        build(cfg)


def test_configurable_refuses_classes_without_a_proper_from_config(cfg):
    class Without:
        @configurable
        def __init__(self, size=1):
            pass

    class NoClassmethod(Without):
        def from_config(self, cfg):
            return {}

    class WrongName(Without):
        @classmethod
        def from_config(cls, config):
            return {}

    with pytest.raises(AttributeError):
        Without(size=1)
    with pytest.raises(TypeError):
        NoClassmethod(size=1)
    with pytest.raises(TypeError):
        WrongName(cfg)


def test_configurable_keeps_documentation_and_annotations():
    assert Layer.__init__.__doc__ == "Doc of Layer."
    assert Layer.__init__.__annotations__ == {"scale": float}
