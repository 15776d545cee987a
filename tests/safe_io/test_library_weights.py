"""Names of models stand for the weights that timm and torchvision would download themselves."""

from pathlib import Path

import pytest
import timm
import torchvision
from timm.models._builder import _resolve_pretrained_source

from dyhead.safe_io.addresses import full_address, local_path
from dyhead.safe_io.library_weights import library_address, timm_address, torchvision_address


@pytest.mark.parametrize(
    "name",
    ["tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0", "resnet50", "convnext_tiny.fb_in22k"],
)
def test_timms_address_is_where_timm_itself_would_look(name: str) -> None:
    kind, place = _resolve_pretrained_source(timm.get_pretrained_cfg(name).to_dict())
    assert kind == "hf-hub"
    assert timm_address(f"timm://{name}") == f"hf://{place}/model.safetensors"


def test_torchvisions_address_is_that_of_its_weights() -> None:
    weights = torchvision.models.ResNet50_Weights
    assert torchvision_address("torchvision://resnet50") == weights.DEFAULT.url
    first = torchvision_address("torchvision://resnet50.IMAGENET1K_V1")
    assert first == weights.IMAGENET1K_V1.url != weights.DEFAULT.url


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("resnet50", "timm://resnet50"),
        ("tf_efficientnet_lite0.in1k", "timm://tf_efficientnet_lite0.in1k"),
        ("swin_t", "torchvision://swin_t"),
        ("timm/resnet50.a1_in1k", "timm://resnet50.a1_in1k"),
        ("timm/resnet50.pth", "timm/resnet50.pth"),
        ("timm/of/mine", "timm/of/mine"),
        ("resnet50.pth", "resnet50.pth"),
        ("output/resnet50", "output/resnet50"),
        ("no_such_model", "no_such_model"),
        ("https://example.org/resnet50", "https://example.org/resnet50"),
    ],
)
def test_bare_names_are_timms_or_else_torchvisions(name: str, address: str) -> None:
    assert library_address(name) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("timm://tf_efficientnet_lite0.in12k", "did you mean timm://tf_efficientnet_lite0.in1k"),
        ("timm://resnett50.a1_in1k", "did you mean timm://resnet50.a1_in1k"),
        ("torchvision://resnett50", "did you mean torchvision://resnet50"),
        ("torchvision://resnet50.IMAGENET1K_V3", "mean torchvision://resnet50.IMAGENET1K_V"),
    ],
)
def test_unknown_names_are_answered_by_near_ones(address: str, message: str) -> None:
    serve = timm_address if address.startswith("timm") else torchvision_address
    with pytest.raises(ValueError, match=message):
        serve(address)


def test_a_file_of_a_models_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").touch()
    assert local_path("resnet50") == "resnet50"


@pytest.mark.parametrize("name", ["resnet50", "timm/resnet50"])
def test_a_folder_of_a_models_name_hides_it_only_as_a_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    assert full_address(name) == "timm://resnet50"
    (tmp_path / name / "last_checkpoint").write_text("model_final.pth")
    assert full_address(name) == name


def test_the_name_of_what_a_package_carries_is_answered_by_its_address() -> None:
    with pytest.raises(
        ValueError, match=r"no file efficientnet-lite0, .* pip://efficientnet-lite0"
    ):
        local_path("efficientnet-lite0")
