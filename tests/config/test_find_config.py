"""A config is found by its path, or by its name from any folder."""

from pathlib import Path

import pytest

from dyhead.config import find_config, load_config
from dyhead.config.find import packaged_configs, packaged_folder
from dyhead.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder without configs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("quickstart", "quickstart.yaml"),
        ("quickstart.yaml", "quickstart.yaml"),
        ("configs/quickstart.yaml", "quickstart.yaml"),
        (Path("configs", "quickstart.yaml"), "quickstart.yaml"),
        ("Base-ATSS.yaml", "Base-ATSS.yaml"),
    ],
)
def test_a_packaged_config_is_found_by_name(name: str, file: str) -> None:
    assert find_config(name) == packaged_folder() / file
    assert find_config(name).read_text() == (CONFIGS / file).read_text()


def test_every_config_of_the_clone_has_a_name() -> None:
    files = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert set(packaged_configs()) == files


def test_a_file_wins_over_a_packaged_config(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for name in ("quickstart.yaml", "configs/quickstart.yaml"):
        (tmp_path / name).write_text("SEED: 5\n")
        assert find_config(name) == Path(name)
    assert find_config("quickstart") == packaged_folder() / "quickstart.yaml"


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    assert find_config("quickstart") == packaged_folder() / "quickstart.yaml"


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("SEED: 5\n")
    assert find_config("~/mine.yaml") == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("quikstart", "quickstart"),
        ("atss_r50", "atss_r50_fpn_1x"),
        ("somewhere/else/quickstart.yaml", "quickstart"),
        ("/configs/quickstart.yaml", "quickstart"),
        ("../quickstart.yaml", "quickstart"),
        ("dyhead_r50_atss.yaml", "dyhead_r50_atss_fpn_1x"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(unknown: str, nearest: str) -> None:
    with pytest.raises(UserError) as error:
        find_config(unknown)
    assert f"There is no config {unknown}," in str(error.value)
    suggested = str(error.value).partition("did you mean ")[2].partition("?")[0]
    assert nearest in suggested.split(" or ")


def test_names_that_resemble_nothing_get_an_answer_too() -> None:
    with pytest.raises(UserError, match="did you mean [a-z]"):
        find_config("???")


def test_load_config_takes_names_and_resolves_their_bases() -> None:
    by_name, keys = load_config("quickstart")
    by_path, same_keys = load_config(CONFIGS / "quickstart.yaml")
    assert by_name == by_path and keys == same_keys
    assert by_name.MODEL.DYHEAD.NUM_CONVS == 2  # of a base
