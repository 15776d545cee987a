"""Reports which weights of a file a model took, and whether the file was meant for it at all."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dyhead.checkpoint.importers import is_counter, is_weight

_SHOWN = 6  # names per kind in the log
_SANE_SHARE = 0.5


@dataclass
class ImportReport:
    """The names of a file's and a model's weights, by what became of them.

    Attributes:
        matched: in the file and in the model.
        reshaped: those of `matched` that were brought into another form.
        missing: in the model only; they keep the values they had.
        unexpected: in the file only.
        left_out: in the file only, and needed by no detector, such as a classifier's; not counted.
        other_shape: in both, but too differently shaped to be taken, such as the class predictor
            for another number of classes; with the file's shape and the model's.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write one line per kind, with a few names."""
        kinds = ("matched", "reshaped", "left_out", "missing", "unexpected", "other_shape")
        lines = [f"Weights from {self.source}:"]
        for kind in kinds:
            names = getattr(self, kind)
            shown = "" if kind == "matched" else _some(names)
            lines.append(f"  {kind.replace('_', ' ')}: {len(names)}{shown}")
        return "\n".join(lines)

    @property
    def is_sane(self) -> bool:
        """Tell whether at least half of the file's weights found their place."""
        return len(self.matched) >= max(_SANE_SHARE * self.num_in_file, 1)

    @property
    def num_in_file(self) -> int:
        """The number of weights in the file."""
        return len(self.matched) + len(self.other_shape) + len(self.unexpected)

    @property
    def num_in_model(self) -> int:
        """The number of weights of the model."""
        return len(self.matched) + len(self.other_shape) + len(self.missing)


def compare(
    source: str,
    weights: Mapping[str, Tensor],
    model: Mapping[str, Tensor],
    reshaped: Collection[str] = (),
    left_out: Collection[str] = (),
) -> ImportReport:
    """Compare a file's weights with a model's, both by the model's names.

    Args:
        source: where the file comes from, in words.
        weights: of the file.
        model: its weights.
        reshaped: names of the file's weights that were brought into another form.
        left_out: the file's names of what was not taken from it.
    """
    report = ImportReport(source, left_out=list(left_out))
    for name, weight in weights.items():
        if name not in model:
            if not is_counter(name):
                report.unexpected.append(name)
        elif weight.shape != model[name].shape:
            report.other_shape[name] = (tuple(weight.shape), tuple(model[name].shape))
        else:
            report.matched.append(name)
            if name in reshaped:
                report.reshaped.append(name)
    report.missing = [n for n in model if n not in weights and is_needed(n)]
    return report


def is_needed(name: str) -> bool:
    """Return True for names of which a model needs the file's value."""
    return is_weight(name) and not is_counter(name)


def _some(names: Collection[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" ({', '.join(sorted(names)[:_SHOWN])}{more})"
