"""Statistics over pairs of images."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the sample standard deviation; None where there are too few values.

    Args:
        values: numbers; the mean needs at least one, the standard deviation at least two.

    Returns:
        {"mean": mean, "std": standard deviation}, in the unit of the values.

    Example:
        >>> mean_and_std([1.0, 3.0])
        {'mean': 2.0, 'std': 1.4142135623730951}
    """
    return {
        "mean": fmean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
    }
