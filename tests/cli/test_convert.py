"""`dyhead convert` on small files of several codes."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors import safe_open

from dyhead.checkpoint.importers import import_weights, official
from dyhead.cli.main import main
from dyhead.layers import DyHeadStack
from dyhead.safe_io.load import load_checkpoint_file


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Own weights of two blocks and a lateral convolution."""
    blocks = DyHeadStack(16, 16, num_blocks=2).state_dict()
    own = {f"backbone.blocks.{name}": value for name, value in blocks.items()}
    return own | {"backbone.fpn.fpn_lateral3.weight": torch.randn(4, 4, 1, 1)}


def test_official_to_own_and_back(
    tmp_path: Path, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    first, own, back = (str(tmp_path / n) for n in ("a.pth", "own.safetensors", "back.pth"))
    theirs = official.to_official(weights)
    torch.save({"model": theirs, "iteration": 5}, first)
    main(["convert", first, own])
    printed = capsys.readouterr().out
    assert "official DyHead" in printed and "MODEL.DYHEAD.COARSER_OFFSETS flat_read" in printed
    loaded = load_checkpoint_file(own)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    with safe_open(own, "pt") as file:
        assert file.metadata()["source"] == "official DyHead"
    imported = import_weights(loaded)
    assert imported is not None and not imported.requirements

    main(["convert", own, back, "--layout", "official"])
    again = load_checkpoint_file(back)["model"]
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)


def test_a_backbone_goes_below_the_pyramid(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet.pth")
    main(["convert", str(tmp_path / "resnet.pth"), str(tmp_path / "out.safetensors")])
    loaded = load_checkpoint_file(tmp_path / "out.safetensors")
    assert all(name.startswith("backbone.fpn.bottom_up.") for name in loaded)
    assert "backbone.fpn.bottom_up.res5.1.conv2.norm.running_var" in loaded


@pytest.mark.parametrize("options", [[], ["--strip"]])
def test_the_input_is_never_written_over(
    tmp_path: Path, weights: dict[str, torch.Tensor], options: list[str]
) -> None:
    path, link = tmp_path / "model_final.pth", tmp_path / "link.pth"
    torch.save({"model": weights, "optimizer": {"state": 1}, "iteration": 5}, path)
    link.symlink_to(path)
    before = path.read_bytes()
    for words in ([path, path], [path, link], [link, path]):
        with pytest.raises(SystemExit, match="is an input, which stays as it is"):
            main(["convert", *options, *map(str, words)])
    assert path.read_bytes() == before and link.is_symlink()


def test_stripping_keeps_names_that_nobody_knows_and_drops_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"a.b": torch.rand(300, 300), "a.count": torch.tensor(3)}
    state = {"optimizer": {"momentum": torch.rand(300, 300)}, "iteration": 5}
    torch.save({"model": weights, **state}, tmp_path / "a.pth")
    for name in ("b.pth", "b.safetensors"):
        main(["convert", "--strip", str(tmp_path / "a.pth"), str(tmp_path / name)])
        loaded = load_checkpoint_file(tmp_path / name)
        stripped = loaded.get("model", loaded)
        assert stripped.keys() == weights.keys() and not loaded.keys() & state.keys()
        assert all(torch.equal(stripped[key], weights[key]) for key in weights)
        assert (tmp_path / name).stat().st_size < 0.6 * (tmp_path / "a.pth").stat().st_size
    assert "2 weights, 0.4 MB in the place of 0.7 MB" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="leave --layout out"):
        main(["convert", "--strip", "--layout", "official", "a.pth", "b.pth"])


@pytest.mark.parametrize(
    ("target", "message"),
    [("out.onnx", "choose .safetensors or .pth"), ("absent/out.pth", r"absent/out\.pth'$")],
)
def test_bad_outputs_end_with_one_sentence(
    tmp_path: Path, weights: dict[str, torch.Tensor], target: str, message: str
) -> None:
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(SystemExit, match=message):
        main(["convert", str(tmp_path / "a.pth"), str(tmp_path / target)])


def test_a_run_is_named_by_its_folder(
    tmp_path: Path, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": weights, "iteration": 5}, tmp_path / "model_final.pth")
    main(["convert", str(tmp_path), str(tmp_path / "a.pth")])
    main(["convert", "--strip", str(tmp_path), str(tmp_path / "b.pth")])
    for name in ("a.pth", "b.pth"):
        assert load_checkpoint_file(tmp_path / name)["model"].keys() == weights.keys()
    with pytest.raises(SystemExit, match="absent does not exist: name a run's folder"):
        main(["convert", "absent", str(tmp_path / "c.pth")])


def test_unknown_names_end_with_one_sentence(tmp_path: Path) -> None:
    torch.save({"model": {"a.b": torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(SystemExit, match="no code that is known here"):
        main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "b.pth")])
