"""The end of a bake: its asset is written, read back, compared with the trained model, and given a quick certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mitsuba as mi
import torch

from .. import __version__
from ..asset.asset import NeuralAsset
from .errors import BakeError

if TYPE_CHECKING:
    from .bake import Bake

COMPARED = 1024  # held-out rows on which the written asset must equal the model


def deliver(run: Bake, figures: dict[str, Any]) -> NeuralAsset:
    """The asset of a bake that has ended, as it lies on the disk where it has an output.

    Args:
        run: the bake.
        figures: of the last validation.

    Raises:
        BakeError: it cannot be written (the checkpoint keeps the state), or is not what was trained.
    """
    asset, counts, progress = run.asset(_provenance(run, figures)), run.buffer.counts, run.progress
    lost = f", {counts.truncated} truncated, {counts.invalid} invalid" if counts.truncated or counts.invalid else ""
    progress.say(f"{counts.paths} paths of {counts.mean_events:.1f} events{lost}; held-out NLL {figures['nll']:.4f}")
    if run.out is None:
        return _certified(run, asset)
    try:
        asset.save(run.out)
    except OSError as error:
        raise BakeError(f"{error.strerror or error}; the state of step {run.trainer.step} is kept{run.save_checkpoint()}") from error
    loaded = NeuralAsset.load(run.out)
    _compare(run, loaded)
    progress.say(f"wrote {run.out} ({run.out.stat().st_size / 2**20:.1f} MiB)")
    certified = _certified(run, loaded)
    if certified is not loaded:
        try:
            certified.save(run.out)
        except OSError as error:
            progress.say(f"the certificate is not in the asset: {error}")
    return certified


def _provenance(run: Bake, figures: dict[str, Any]) -> dict[str, Any]:
    counts = run.buffer.counts
    return {
        "seed": run.seed, "steps": run.trainer.step, "seconds": round(run.elapsed, 1), "minutes": run.minutes,
        "processes": run.processes.size, "bake": {k: v for k, v in run.config.to_dict().items() if k != "model"},
        "versions": {"mi_neural_asset": __version__, "mitsuba": mi.__version__, "torch": torch.__version__, "variant": mi.variant()},
        "paths": {**vars(counts), "mean_events": counts.mean_events}, "validation": figures, "notices": run.notices,
    }  # fmt: skip


def _certified(run: Bake, asset: NeuralAsset) -> NeuralAsset:
    """The asset with a quick certificate, if one is wanted; a bake does not fail by it."""
    if not run.options.certify:
        return asset
    from ..verify.certificate import attach, certify

    try:
        certificate = certify(asset, "quick", run.seed, done=lambda fraction, text: run.progress.update(1.0, f"checking: {text}"))
    except (RuntimeError, ValueError) as error:
        run.progress.say(f"no certificate: {error}")
        return asset
    failed = [name for name, row in certificate["checks"].items() if not row["holds"]]
    run.progress.say(f"certificate: {'does not hold: ' + ', '.join(failed) if failed else 'all checks hold'}")
    return attach(asset, certificate)


def _compare(run: Bake, asset: NeuralAsset) -> None:
    """Check that a written asset gives what the trained model gives on a few held-out rows."""
    rows = run.held_out
    few = rows.rows(torch.arange(min(COMPARED, rows.x_o.shape[0]), device=rows.x_o.device)).to(torch.device("cpu"))
    with torch.no_grad():
        wanted, got = (run.kind.probe(model, few) for model in (run.trainer.average.cpu(), asset.model()))
    if not torch.equal(wanted, got):
        raise BakeError(f"the written asset differs from the trained model by {(wanted - got).abs().max():.2e}; please report this")
