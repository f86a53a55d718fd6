"""Composition: two candles, a glass of milk and the dragon on one table; written twice, with neural assets and path traced.

Assets are turned and moved, not scaled, and homogeneous: Mitsuba does not transform media with an instance.
"""

from __future__ import annotations

from .asset import Asset
from .writing import PATH_TRACED, camera, document

PARTS = ("candle", "milk", "dragon")
PLACES = (  # asset, id, turn about z in degrees, x, y
    ("candle", "candle_left", 20, -1.58, 0.12),
    ("dragon", "dragon_in_front", -20, -0.34, -0.5),
    ("milk", "milk_beside", 0, 0.94, -0.18),
    ("candle", "candle_right", 200, 1.53, 1.72),
)
_STAGE = (
    camera(36, "1.4, -5.6, 2.6", "0, 0, 0.62")
    + """    <shape type="rectangle" id="table">
        <transform name="to_world">
            <scale value="14"/>
            <translate z="-0.001"/>
        </transform>
        <bsdf type="diffuse">
            <rgb name="reflectance" value="0.42, 0.34, 0.27"/>
        </bsdf>
    </shape>
    <shape type="rectangle" id="backdrop">
        <transform name="to_world">
            <scale value="16"/>
            <lookat origin="-2.6, 5.4, 0" target="0, 0, 0" up="0, 0, 1"/>
        </transform>
        <bsdf type="diffuse">
            <rgb name="reflectance" value="0.30, 0.32, 0.36"/>
        </bsdf>
    </shape>
    <emitter type="constant">
        <rgb name="radiance" value="0.14, 0.16, 0.2"/>
    </emitter>
    <shape type="rectangle" id="lamp">
        <transform name="to_world">
            <scale value="0.6"/>
            <lookat origin="-2.2, -1.4, 2.8" target="0, 0, 0.5" up="0, 0, 1"/>
        </transform>
        <bsdf type="diffuse">
            <rgb name="reflectance" value="0"/>
        </bsdf>
        <emitter type="area">
            <rgb name="radiance" value="21, 19, 16"/>
        </emitter>
    </shape>
"""
)


def _placed(turn: float, x: float, y: float) -> str:
    return f'<transform name="to_world"><rotate z="1" angle="{turn:g}"/><translate x="{x:g}" y="{y:g}"/></transform>'


def scene_files(assets: dict[str, Asset]) -> dict[str, str]:
    """The composition's own two files; those of its parts (by name) stand beside them."""
    size = {"spp": 64, "width": 480, "height": 320}
    weights = {f"{part}_weights": f"{part}.pt" for part in PARTS}
    options = "".join(f" -D {name}={value}" for name, value in weights.items())
    lit = "".join(
        f'    <shape type="neural_asset" id="{ident}"><string name="weights" value="${asset}_weights"/>{_placed(*place)}</shape>\n'
        for asset, ident, *place in PLACES
    )
    groups = ""  # a group takes shapes alone: BSDFs and media stand before it
    for part in PARTS:
        lines = assets[part].xml.splitlines(keepends=True)
        shapes = "".join(f"    {line}" for line in lines if line.startswith("    <shape"))
        groups += "".join(line for line in lines if not line.startswith("    <shape"))
        groups += f'    <shape type="shapegroup" id="{part}_group">\n{shapes}    </shape>\n'
    traced = "".join(
        f'    <shape type="instance" id="{ident}"><ref id="{asset}_group"/>{_placed(*place)}</shape>\n' for asset, ident, *place in PLACES
    )
    note = f"Three assets, one of them twice:\n         mitsuba -D integrator=nap_path{options} composition_lit.xml"
    return {
        "composition_lit.xml": document(
            note, f'    <integrator type="$integrator"/>\n{lit}{_STAGE}', integrator="nap_path", **weights, **size
        ),
        "composition_lit_reference.xml": document(
            "The same, path traced, from instances of the original shapes.",
            PATH_TRACED + groups + traced + _STAGE,
            integrator="volpath",
            **size,
        ),
    }
