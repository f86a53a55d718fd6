"""Teaset: a silver pot, two plastic cups with saucers and a copper tray with a chequered inlay: opaque, many reflections."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .mesh import Mesh


def pot() -> tuple[Mesh, Mesh]:
    """Body with spout and lid, and the handle with its knob, which are of another material."""
    outline = [
        (0.2, 0.0),
        (0.23, 0.02),
        (0.2, 0.05),
        (0.3, 0.12),
        (0.38, 0.26),
        (0.37, 0.4),
        (0.28, 0.52),
        (0.22, 0.56),
        (0.23, 0.585),
        (0.2, 0.6),
    ]
    lid = [(0.2, 0.6), (0.17, 0.64), (0.09, 0.685), (0.04, 0.7), (0.025, 0.72)]
    profile = np.concatenate([[(0.0, 0.0)], mesh.smooth(outline, 70), mesh.smooth(lid, 24)[1:], [(0.0, 0.72)]])
    body = mesh.lathe(profile, 96)
    way = mesh.smooth([(-0.3, 0, 0.2), (-0.44, 0, 0.24), (-0.52, 0, 0.38), (-0.57, 0, 0.5), (-0.66, 0, 0.56)], 36)
    spout = mesh.tube(way, np.linspace(0.095, 0.034, 36), 24)
    loop = mesh.smooth([(0.3, 0, 0.48), (0.46, 0, 0.56), (0.58, 0, 0.47), (0.56, 0, 0.3), (0.46, 0, 0.2), (0.34, 0, 0.18)], 48)
    knob = mesh.lathe(
        [(0.0, 0.715), (0.02, 0.72), *[(0.045 * np.sin(a), 0.765 - 0.045 * np.cos(a)) for a in np.linspace(0.45, np.pi, 20)]], 40
    )
    return mesh.join([body, spout]), mesh.join([mesh.tube(loop, 0.03, 16, 0.7), knob])


def cup() -> Mesh:
    """A cup with its handle on a saucer."""
    outside = mesh.smooth([(0.075, 0.035), (0.08, 0.05), (0.12, 0.08), (0.155, 0.15), (0.165, 0.235)], 30)
    inside = mesh.smooth([(0.157, 0.235), (0.147, 0.15), (0.112, 0.09), (0.06, 0.065), (0.0, 0.06)], 30)
    bowl = mesh.lathe(np.concatenate([[(0.0, 0.035)], outside, [(0.161, 0.24)], inside]), 72)
    loop = mesh.smooth([(0.15, 0, 0.19), (0.21, 0, 0.205), (0.235, 0, 0.15), (0.2, 0, 0.1), (0.13, 0, 0.095)], 28)
    top = mesh.smooth([(0.26, 0.042), (0.2, 0.03), (0.13, 0.02), (0.1, 0.03), (0.0, 0.03)], 24)
    saucer = mesh.lathe(np.concatenate([[(0.0, 0.0), (0.12, 0.0), (0.13, 0.005), (0.2, 0.018), (0.26, 0.034), (0.263, 0.039)], top]), 72)
    return mesh.join([bowl, saucer, mesh.tube(loop, 0.013, 12)])


def tray() -> Mesh:
    """An oval tray with a rim."""
    profile = [(0.0, 0.0), (0.74, 0.0), (0.78, 0.01), (0.8, 0.05), (0.81, 0.058), (0.8, 0.064), (0.785, 0.055), (0.765, 0.02), (0.0, 0.02)]
    dense = [np.linspace(a, b, 5)[:-1] for a, b in zip(np.array(profile[:-1]), np.array(profile[1:]), strict=True)]
    return mesh.lathe(np.concatenate([*dense, profile[-1:]]), 128, lambda p: p * [1.0, 0.82, 1.0])


def make() -> Asset:
    """The set, 1.6 units wide."""
    metal, handle = (mesh.moved(part, mesh.rotation("z", -0.35), (-0.02, 0.14, 0.0215)) for part in pot())
    cups = [
        mesh.moved(cup(), mesh.rotation("z", 0.5), (0.34, -0.28, 0.0215)),
        mesh.moved(cup(), mesh.rotation("z", -2.6), (-0.32, -0.3, 0.0215)),
    ]
    squares = (
        '<texture type="checkerboard" name="diffuse_reflectance">'
        + xml.rgb("color0", (0.55, 0.05, 0.04))
        + xml.rgb("color1", (0.8, 0.74, 0.6))
        + '<transform name="to_uv"><scale x="10" y="10"/></transform></texture>'
    )
    cloth = (
        '    <shape type="rectangle" id="inlay"><transform name="to_world"><scale x="0.36" y="0.3"/>'
        '<translate x="-0.02" y="-0.02" z="0.0208"/>'
        '</transform><ref id="inlay_lacquer"/></shape>\n'
    )
    body = (
        xml.bsdf("roughconductor", "silver", '<string name="material" value="Ag"/>', alpha=0.06)
        + xml.bsdf(
            "twosided", "copper", '<bsdf type="roughconductor"><string name="material" value="Cu"/><float name="alpha" value="0.2"/></bsdf>'
        )
        + xml.bsdf("conductor", "gilt", '<string name="material" value="Au"/>')
        + xml.bsdf("plastic", "porcelain", xml.rgb("diffuse_reflectance", (0.82, 0.84, 0.86)), int_ior=1.5)
        + xml.bsdf("principled", "ebony", xml.rgb("base_color", (0.05, 0.03, 0.025)), roughness=0.35, clearcoat=0.6)
        + xml.bsdf("roughplastic", "inlay_lacquer", squares, alpha=0.1)
        + xml.shape("ply", "pot", "teaset_pot.ply", "silver")
        + xml.shape("ply", "handle", "teaset_handle.ply", "ebony")
        + xml.shape("ply", "cup_1", "teaset_cup_1.ply", "porcelain")
        + xml.shape("ply", "cup_2", "teaset_cup_2.ply", "gilt")
        + xml.shape("ply", "tray", "teaset_tray.ply", "copper")
        + cloth
    )
    parts = {"pot": metal, "handle": handle, "cup_1": cups[0], "cup_2": cups[1], "tray": tray()}
    return Asset(body, {f"teaset_{name}.ply": files.ply(part) for name, part in parts.items()})
