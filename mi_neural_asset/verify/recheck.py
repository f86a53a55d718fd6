"""Does a certificate still hold, here and now?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..asset.asset import NeuralAsset
from . import certificate as made
from .certificate import CERTIFICATE, SIGMAS, VERSION, certify, hashes

ROUNDING = 1e-3  # what other machines may round a figure to


class CertificateError(ValueError):
    """An asset without a certificate that can be repeated."""


def recheck(asset: NeuralAsset, lights: bool = True, done: Callable[[float, str], None] = lambda fraction, text: None) -> list[str]:
    """Repeat an asset's certificate; returns what does not hold any more, in words: nothing where all holds.

    Hashes must be those of the asset; figures are made again with the stored seed and settings, must keep the stored limits, and
    must agree with the stored figures within `SIGMAS` standard errors of both and rounding.

    Args:
        asset: the asset.
        lights: repeat the renders against the source as well, if the certificate has them.
        done: is told the fraction done and what is going on.

    Raises:
        CertificateError: there is none, or one of another version.
    """
    old = asset.provenance.get(CERTIFICATE)
    if not isinstance(old, dict):
        raise CertificateError("the asset has no certificate: mi-neural-asset verify writes one")
    if old.get("version") != VERSION:
        raise CertificateError(f"the certificate has version {old.get('version')!r}, expected {VERSION}: verify the asset again")
    failed = [f"{name}: the certificate is of other ones" for name, value in hashes(asset).items() if old["hashes"].get(name) != value]
    changed = {name for name, value in made.LIMITS.items() if old["limits"].get(name) != value}
    failed += [f"limit of {name}: the certificate has {old['limits'].get(name)}, expected {made.LIMITS[name]}" for name in sorted(changed)]
    result = _lights_again(asset, old) if lights and old["lights"] else None
    new = certify(asset, old["level"], old["seed"], result, done)
    for name in sorted(new["checks"].keys() | old["checks"].keys()):
        failed += _differences(name, old["checks"].get(name), new["checks"].get(name))
    for name, row in new["lights"].get("rows", {}).items():
        before = old["lights"]["rows"].get(name)
        pairs = zip(("red", "green", "blue"), range(3), strict=True)
        for channel, k in pairs:
            failed += _differences(f"energy under {name}, {channel}", _energy(before, k), _energy(row, k))
        if not row["holds"]:
            failed.append(f"light {name}: does not keep its limits (energy {row['energy_ratio']}, RMS {row['rms']})")
    return failed


def _energy(row: dict[str, Any] | None, k: int) -> dict[str, Any] | None:
    if row is None or row["energy_ratio"][k] is None:
        return None
    return {"value": row["energy_ratio"][k], "error": row["energy_ratio_error"][k] or 0.0, "holds": True}


def _differences(name: str, before: dict[str, Any] | None, now: dict[str, Any] | None) -> list[str]:
    if before is None or now is None:
        what = "the certificate lacks it" if before is None else "the certificate has it, this version does not check it"
        return [] if before is now else [f"{name}: {what}"]
    if not now["holds"]:
        return [f"{name}: {now['value']:.4g} does not keep its limit"]
    if "error" in now:
        room = SIGMAS * (now["error"] ** 2 + before["error"] ** 2) ** 0.5 + ROUNDING
        if not abs(now["value"] - before["value"]) <= room:
            return [f"{name}: {now['value']:.4g} here, {before['value']:.4g} in the certificate"]
    return []


def _lights_again(asset: NeuralAsset, old: dict[str, Any]) -> dict[str, Any]:
    from .verify import verify

    settings = old["lights"]["settings"]
    return verify(
        asset, lights=list(old["lights"]["rows"]), size=settings["size"], spp=settings["spp"], reference_spp=settings["reference_spp"],
        seed=settings["seed"], progress=False,
    )  # fmt: skip
