"""Statistics for pictures: equality of means over independent renders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.01


def mean_and_error(render: Callable[[int], np.ndarray], runs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over `runs` independent renders and its standard error, elementwise; `render(seed)`."""
    values = np.stack([np.asarray(render(seed + k), dtype=np.float64) for k in range(runs)])
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(runs)


def assert_same_mean(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], runs: int) -> None:
    """Two-sided Welch tests of all elements at once, significance corrected for their number (Sidak).

    Elements without any noise must be equal to rounding.
    """
    (mean_a, error_a), (mean_b, error_b) = a, b
    spread = np.hypot(error_a, error_b)
    quiet = spread < 1e-6 * (np.abs(mean_a) + np.abs(mean_b) + 1e-6)
    np.testing.assert_allclose(mean_a[quiet], mean_b[quiet], rtol=2e-5, atol=1e-6)
    t = np.abs(mean_a - mean_b)[~quiet] / spread[~quiet]
    level = 1 - (1 - SIGNIFICANCE) ** (1 / max(t.size, 1))
    limit = stats.t.isf(level / 2, runs - 1)
    assert t.size == 0 or t.max() < limit, f"largest t {t.max():.2f} of {t.size}, limit {limit:.2f}: {mean_a} against {mean_b}"


def blocks(image: np.ndarray, size: int) -> np.ndarray:
    """Means over size x size blocks, [H, W, 3] -> [H / size, W / size, 3]."""
    h, w, c = image.shape
    return image.reshape(h // size, size, w // size, size, c).mean((1, 3))
