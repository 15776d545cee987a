"""The same small detector on the embedded host and on genuine Detectron2."""

import importlib

import torch

HOSTS = ("embedded_host", "detectron2")


def part(host, module):
    return importlib.import_module(f"{host}.{module}")


def build(host, options):
    """A detector with seeded weights; `options` are keys below MODEL."""
    cfg = part(host, "config").get_cfg()
    for key, value in options.items():
        cfg.merge_from_list([f"MODEL.{key}", value])
    torch.manual_seed(5)
    return part(host, "modeling").build_model(cfg)


def excite(parameters, std):
    """Make predictions differ enough that rounding does not change their order."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(std=std)


def inputs(host, num_objects=(3, 0), num_classes=1):
    """Two images of different sizes with so many objects each."""
    structures = part(host, "structures")
    generator = torch.Generator().manual_seed(7)
    batch = []
    for height, width, count in ((64, 96, num_objects[0]), (80, 60, num_objects[1])):
        corner = torch.rand(count, 2, generator=generator) * 30
        size = torch.rand(count, 2, generator=generator) * 25 + 4
        instances = structures.Instances((height, width))
        instances.gt_boxes = structures.Boxes(torch.cat([corner, corner + size], dim=1))
        instances.gt_classes = torch.arange(count) % num_classes
        image = torch.rand(3, height, width, generator=generator) * 255
        batch.append({"image": image, "instances": instances, "height": 128, "width": 100})
    return batch


def assert_same_weights(ours, theirs):
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, expected[key]), f"{key} differs"


def assert_same_detections(models):
    """Both hosts' models find the same on the same images."""
    with torch.no_grad():
        outputs = [model.eval()(inputs(host)) for host, model in zip(HOSTS, models, strict=True)]
    for actual, expected in zip(*outputs, strict=True):
        assert actual.keys() == expected.keys()
        (actual,), (expected,) = actual.values(), expected.values()
        assert len(actual) == len(expected) > 5
        assert actual.image_size == expected.image_size == (128, 100)
        more = actual.get_fields().keys() - expected.get_fields().keys()
        assert more <= {"pred_levels", "pred_anchors"}  # the embedded host's alone
        for name, other in expected.get_fields().items():
            value, other = (getattr(v, "tensor", v) for v in (actual.get(name), other))
            torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4)
