"""What a generator returns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asset:
    """An asset: the shapes, BSDFs and media of its scene file, and the files that they name.

    All stand on the plane z = 0, z up, about the z axis, and fit the frame of lit/room.xml: less than 1.8 units wide and high.

    Attributes:
        xml: what stands between the scene tags of NAME_asset.xml.
        files: name -> content.
    """

    xml: str
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def integrator(self) -> str:
        """The path tracer that renders it: `volpath` where there are media."""
        return "volpath" if "<medium" in self.xml else "path"
