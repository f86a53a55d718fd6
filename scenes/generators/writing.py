"""The scene files around a generated asset: alone, to be baked, and lit, as neural asset and path traced."""

from __future__ import annotations

from .asset import Asset

_LAMP = """    <emitter type="constant">
        <rgb name="radiance" value="0.3"/>
    </emitter>
    <shape type="rectangle">
        <transform name="to_world">
            <scale value="0.45"/>
            <lookat origin="-1.6, -0.2, 2.2" target="0, 0, 0.7" up="0, 0, 1"/>
        </transform>
        <emitter type="area">
            <rgb name="radiance" value="16"/>
        </emitter>
    </shape>
"""
_ROOM = """    <include filename="lit/room.xml"/>
    <include filename="lit/$light.xml"/>
"""
_NOTES = {
    "asset": "{title}. Shapes alone, to be included: z up, on the plane z = 0.",
    "alone": "{title}. To be baked (sensor and lights serve the preview image only):\n"
    "         mi-neural-asset bake {name}.xml -o {name}.pt",
    "lit": "The baked asset on a table under a near lamp:\n"
    "         mitsuba -D integrator=nap_path -D weights={name}.pt {name}_lit.xml\n"
    "         {name}_lit_reference.xml is the same picture, path traced.",
    "reference": "The original on a table under a near lamp, path traced:\n"
    "         mitsuba -m llvm_ad_rgb {name}_lit_reference.xml\n"
    "         Roulette sets in late: at its default depth its cap makes long paths explode.",
}


PATH_TRACED = '''    <integrator type="$integrator">
        <integer name="rr_depth" value="1000"/>
    </integrator>
'''


def camera(fov: float, origin: str, target: str) -> str:
    """A perspective camera with z up; the scene's parameters give size and samples."""
    return f"""    <sensor type="perspective">
        <float name="fov" value="{fov:g}"/>
        <transform name="to_world">
            <lookat origin="{origin}" target="{target}" up="0, 0, 1"/>
        </transform>
        <film type="hdrfilm">
            <integer name="width" value="$width"/>
            <integer name="height" value="$height"/>
            <rfilter type="box"/>
        </film>
        <sampler type="independent">
            <integer name="sample_count" value="$spp"/>
        </sampler>
    </sensor>
"""


def document(note: str, body: str, **defaults: object) -> str:
    """A scene file."""
    values = "".join(f'    <default name="{name}" value="{value}"/>\n' for name, value in defaults.items())
    return f'<scene version="3.0.0">\n    <!-- {note} -->\n{values}{body}</scene>\n'


def scene_files(name: str, title: str, asset: Asset) -> dict[str, str | bytes]:
    """All files of an asset by name, but for the folder lit/, which all share."""
    size = {"spp": 64, "width": 400, "height": 400}
    include = f'    <include filename="{name}_asset.xml"/>\n'
    shape = f'    <shape type="neural_asset" id="{name}">\n        <string name="weights" value="$weights"/>\n    </shape>\n'
    note = {key: text.format(name=name, title=title[0].upper() + title[1:]) for key, text in _NOTES.items()}
    kind, lamp = {"integrator": asset.integrator}, {"light": "lamp"}
    return {
        **asset.files,
        f"{name}_asset.xml": document(note["asset"], asset.xml),
        f"{name}.xml": document(note["alone"], PATH_TRACED + include + camera(33, "1.9, -2.9, 1.9", "0, 0, 0.72") + _LAMP, **kind, **size),
        f"{name}_lit.xml": document(
            note["lit"],
            f'    <integrator type="$integrator"/>\n{shape}{_ROOM}',
            integrator="nap_path",
            weights=f"{name}.pt",
            **lamp,
            **size,
        ),
        f"{name}_lit_reference.xml": document(note["reference"], PATH_TRACED + include + _ROOM, **kind, **lamp, **size),
    }
