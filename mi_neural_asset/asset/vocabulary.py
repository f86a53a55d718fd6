"""Which Mitsuba plugins a description may name, and in which role.

The one allow-list: what can be baked, and what a file may ask Mitsuba to create.
"""

from __future__ import annotations

import re

ANALYTIC = ("sphere", "rectangle", "disk", "cylinder")
CURVES = {"bsplinecurve": 4, "linearcurve": 2}  # control points of a segment
MESH_PLUGINS = ("ply", "obj", "serialized", "cube")  # become geometry of type 'mesh'

BSDFS = (
    "diffuse", "dielectric", "thindielectric", "roughdielectric", "conductor", "roughconductor", "plastic",
    "roughplastic", "principled", "principledthin", "twosided", "mask", "blendbsdf", "bumpmap", "normalmap", "hair",
    "null",
)  # fmt: skip
MEDIA = ("homogeneous", "heterogeneous")
PHASES = ("isotropic", "hg", "rayleigh", "blendphase", "tabphase")
VOLUMES = ("gridvolume", "constvolume")
TEXTURES = ("bitmap", "checkerboard", "mesh_attribute")
COLOURS = ("rgb", "spectrum")

ROLE = {
    **dict.fromkeys(BSDFS, "BSDF"), **dict.fromkeys(MEDIA, "medium"), **dict.fromkeys(PHASES, "phase function"),
    **dict.fromkeys(VOLUMES, "volume"), **dict.fromkeys(TEXTURES, "texture"), **dict.fromkeys(COLOURS, "colour"),
    "transform": "transform",
}  # fmt: skip

# What may stand inside what.
CHILDREN = {
    "BSDF": ("BSDF", "texture", "colour", "transform"),
    "medium": ("phase function", "volume", "colour", "transform"),
    "phase function": ("phase function", "volume", "colour", "transform"),
    "volume": ("colour", "transform"),
    "texture": ("texture", "colour", "transform"),
    "colour": (),
    "transform": (),
}

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")  # of a property
TEXT = re.compile(r"[A-Za-z0-9_ ,.+:-]{0,65536}\Z")  # a string property: never a path


class DescriptionError(ValueError):
    """A scene holds something that cannot be described; the message names it and says what to do."""
