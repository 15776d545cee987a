"""The picture of docs/augmentation.md shows what the parts of INPUT.AUG do."""

import draw_augmentations
import numpy as np
import pytest


@pytest.mark.usefixtures("own_catalogs")
def test_every_part_changes_the_picture(monkeypatch, tmp_path):
    panels = []
    draw_part = draw_augmentations.draw_part

    def remember(*arguments):
        panels.append(draw_part(*arguments))
        return panels[-1]

    monkeypatch.setattr(draw_augmentations, "draw_part", remember)
    whole = draw_augmentations.draw_all(seed=3)
    assert len(panels) == len(draw_augmentations.PARTS)
    below_titles = [np.asarray(panel)[22:] for panel in panels]
    for panel in below_titles[1:]:
        assert (panel != below_titles[0]).mean() > 0.02
    whole.save(tmp_path / "a.jpg", quality=80)
    assert (tmp_path / "a.jpg").stat().st_size < 150_000
