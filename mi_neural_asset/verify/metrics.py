"""Measures of agreement between two Monte Carlo estimates of a picture, and of their efficiency.

Every function takes *runs*: independent renders of one picture, [N, H, W, C] with N >= 2, linear values of any unit.  Noise
is estimated from the scatter between the runs, so that it can be told from error.  A mask [H, W] (bool) picks the pixels that
count.  a_k are our runs, b_k those of the reference; a bar is the mean over runs, s^2 the variance between runs (N - 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RELMSE_FLOOR = 0.01  # of the reference's mean square, added to the denominator of relMSE


@dataclass(frozen=True)
class Rms:
    """Noise-corrected error, relative to the mean of the reference.

    Attributes:
        value: sqrt(max(square, 0)).
        square: the corrected mean square; unbiased, so noise can bring it below zero.
        square_error: standard error of `square` from its spread over pixels (channels of a pixel taken together).
        noise: what was subtracted, as an RMS: sqrt of the noise's share of the squared difference.
    """

    value: float
    square: float
    square_error: float
    noise: float


def _pixels(runs: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The masked pixels of all runs, [N, P, C], float64.

    Raises:
        ValueError: fewer than two runs, shapes that do not fit, an empty mask, or a value that is not finite.
    """
    runs, mask = np.asarray(runs, dtype=np.float64), np.asarray(mask, dtype=bool)
    if runs.ndim != 4 or runs.shape[0] < 2:
        raise ValueError(f"metrics: need at least two runs of shape [H, W, C], got an array of shape {list(runs.shape)}")
    if mask.shape != runs.shape[1:3]:
        raise ValueError(f"metrics: the mask is {list(mask.shape)}, the pictures are {list(runs.shape[1:3])}")
    if not mask.any():
        raise ValueError("metrics: the mask is empty: the asset is not in the picture; turn the camera to it")
    pixels = runs[:, mask]
    if not np.isfinite(pixels).all():
        raise ValueError(f"metrics: {int((~np.isfinite(pixels)).sum())} values are not finite; the renders are unsound")
    return pixels


def _difference(ours: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared difference of the means, its expected noise s_a^2 / N_a + s_b^2 / N_b, and the reference's mean; each [P, C]."""
    a, b = _pixels(ours, mask), _pixels(reference, mask)
    noise = a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b)
    return (a.mean(0) - b.mean(0)) ** 2, noise, b.mean(0)


def energy_ratio(ours: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy of ours over that of the reference, per channel, with its standard error.

    E_k is the mean of run k over the mask; r = E(a) / E(b), and to first order
    SE(r)^2 = r^2 (s^2(E(a)) / (N_a E(a)^2) + s^2(E(b)) / (N_b E(b)^2)).

    Returns:
        (ratio [C], standard error [C]); NaN where the reference has no energy.
    """
    a, b = _pixels(ours, mask).mean(1), _pixels(reference, mask).mean(1)
    mean_a, mean_b = a.mean(0), b.mean(0)
    lit = mean_b != 0
    divisor = np.where(lit, mean_b, np.nan)
    ratio = mean_a / divisor
    variance = a.var(0, ddof=1) / len(a) + ratio**2 * b.var(0, ddof=1) / len(b)
    return ratio, np.sqrt(variance) / np.abs(divisor)


def noise_corrected_rms(ours: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> Rms:
    """Root mean square error over the mean of the reference, without the noise of either.

    square = mean[(a_bar - b_bar)^2 - s_a^2 / N_a - s_b^2 / N_b] / mean[b_bar]^2, unbiased in the numerator since
    E(a_bar - b_bar)^2 = (E a - E b)^2 + Var(a_bar) + Var(b_bar) for independent runs.

    Raises:
        ValueError: the reference is black, or see the module.
    """
    squared, noise, mean = _difference(ours, reference, mask)
    scale = mean.mean() ** 2
    if scale == 0:
        raise ValueError("metrics: the reference is black; relative errors need light on the asset")
    each = (squared - noise).mean(-1) / scale
    square = float(each.mean())
    error = float(each.std(ddof=1) / np.sqrt(each.size)) if each.size > 1 else float("nan")
    return Rms(float(np.sqrt(max(square, 0.0))), square, error, float(np.sqrt(noise.mean() / scale)))


def relative_mse(ours: np.ndarray, reference: np.ndarray, mask: np.ndarray, correct: bool = True) -> float:
    """relMSE = mean[((a_bar - b_bar)^2 - noise) / (b_bar^2 + 0.01 mean[b_bar]^2)] (Rousselle et al. 2011).

    The floor of the denominator follows the exposure; with `correct` the noise's expectation is subtracted as in
    `noise_corrected_rms` (and the result may come out slightly negative), otherwise it is left in.
    """
    squared, noise, mean = _difference(ours, reference, mask)
    floor = RELMSE_FLOOR * mean.mean() ** 2
    if floor == 0:
        raise ValueError("metrics: the reference is black; relative errors need light on the asset")
    return float(((squared - noise * correct) / (mean**2 + floor)).mean())


def hdr_flip(ours: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """Mean HDR-FLIP (Andersson et al. 2021) over the mask, of the means over runs; in [0, 1], noise included.

    The package `flip_evaluator` computes it, with its default viewing distance and exposures.  Pixels outside the mask get
    one grey in both pictures (the reference's median luminance), so that a black background does not set the exposures.
    """
    import flip_evaluator

    a, b = (np.asarray(runs, dtype=np.float64).mean(0) for runs in (ours, reference))
    _pixels(ours, mask), _pixels(reference, mask)  # the checks
    grey = np.median(b[mask] @ [0.2126, 0.7152, 0.0722])
    pictures = [np.ascontiguousarray(np.where(mask[..., None], np.maximum(p, 0), grey), dtype=np.float32) for p in (b, a)]
    errors, _, _ = flip_evaluator.evaluate(*pictures, "HDR", applyMagma=False)
    return float(np.asarray(errors, dtype=np.float64).reshape(*mask.shape, -1)[..., 0][mask].mean())


def variance_per_sample(runs: np.ndarray, mask: np.ndarray, spp: int) -> float:
    """Variance of one sample of a pixel: spp s^2, averaged over mask and channels; `spp` is that of one run."""
    return float(spp * _pixels(runs, mask).var(0, ddof=1).mean())


def ratio(a: float, b: float) -> float:
    """a / b, or NaN where b is zero."""
    return a / b if b != 0 else float("nan")


def variance_ratio(ours: np.ndarray, ours_spp: int, reference: np.ndarray, reference_spp: int, mask: np.ndarray) -> float:
    """Variance of the reference over ours, each per sample (so at equal spp); above 1 where ours is less noisy.

    Fireflies make it uncertain: with few runs it is an order of magnitude under hard lights.  NaN if ours has no noise.
    """
    return ratio(variance_per_sample(reference, mask, reference_spp), variance_per_sample(ours, mask, ours_spp))


def time_ratio(ours: list[float], ours_spp: int, reference: list[float], reference_spp: int) -> float:
    """Seconds per sample of the reference over ours, from the median run (a run disturbed by others does not count).

    NaN where one of them was not timed.
    """
    if not ours or not reference:
        return math.nan
    return ratio(float(np.median(reference)) / reference_spp, float(np.median(ours)) / ours_spp)
