"""How paths are traced: what the properties of `nap_path` say."""

from __future__ import annotations

from dataclasses import dataclass

import mitsuba as mi

from .choice import ENGINES, PRECISIONS
from .exits import Techniques

MAX_EXITS = 64  # tiles of hits get too narrow


@dataclass(frozen=True)
class PathOptions:
    """How paths are traced; the names are those of `nap_path`'s properties."""

    max_depth: int = -1
    rr_depth: int = 5
    hide_emitters: bool = False
    mis: bool = True
    hero: bool = False
    techniques: Techniques = Techniques()
    split: bool = True
    exits: float | None = None  # below 1: one at a share of the hits; None: what is best for the picture
    strict: bool = False
    engine: str = "auto"
    precision: str = "single"

    @classmethod
    def from_properties(cls, props: mi.Properties, max_depth: int, rr_depth: int) -> PathOptions:
        """Reads the remaining properties of `nap_path`.

        Raises:
            ValueError: `channels`, `engine`, `precision` or `techniques` is none of the names that it may be, `exits` is out of
                range, or the variant has no RGB colours.
        """
        if not mi.is_rgb or mi.is_polarized:
            raise ValueError(f"nap_path: variant {mi.variant()!r} has no plain RGB colours; use llvm_ad_rgb or cuda_ad_rgb")
        channels = props.get("channels", "balance")
        if channels not in ("balance", "hero"):
            raise ValueError(f'nap_path: "channels" must be "balance" or "hero", got {channels!r}')
        engine = props.get("engine", "auto")
        if engine not in ENGINES:
            raise ValueError(f'nap_path: "engine" must be one of {", ".join(ENGINES)}, got {engine!r}')
        precision = props.get("precision", "single")
        if precision not in PRECISIONS:
            raise ValueError(f'nap_path: "precision" must be one of {", ".join(PRECISIONS)}, got {precision!r}')
        number = props.get("exits") if "exits" in props else None
        if number is not None and not (0 < number < 1 or number in range(1, MAX_EXITS + 1)):
            raise ValueError(f'nap_path: "exits" must be one of the numbers 1 to {MAX_EXITS}, or a share of the hits, got {number}')
        mis, exit_mis = props.get("mis", True), props.get("exit_mis", True)
        default = "path" if not mis else "path,light,lobe" if exit_mis else "path,light"
        techniques = Techniques.parse(props.get("techniques", "") or default)
        return cls(
            max_depth, rr_depth, props.get("hide_emitters", False), mis, channels == "hero", techniques, props.get("split", True), number,
            props.get("strict", False), engine, precision,
        )  # fmt: skip
