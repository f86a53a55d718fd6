"""Generators of the scenes: one module a scene, `make() -> Asset`; deterministic, seconds each, nothing downloaded.

`mi_neural_asset.catalogue` finds them; `mi-neural-asset scenes NAME --write DIR` writes what they make.
"""

SCENES = {
    "candle": "wax with drips: homogeneous, smooth dielectric boundary",
    "milk": "milk in a glass: dense, bright liquid that touches the glass (nested dielectrics)",
    "cat": "sitting cat of coloured slabs: albedo from a volume grid, rough boundary",
    "dragon": "coiled dragon of jade: homogeneous, smooth boundary, much self-occlusion",
    "bunny": "bunny of veined stone: albedo and density from volume grids, rough boundary",
    "curl_hair": "tuft of curls: 1,400 curves with the hair BSDF",
    "hair": "lock of hair: 3,600 curves with the hair BSDF, held by a ring",
    "fabric": "folded cloth of twisted yarns in twill: 3,072 fibres with the hair BSDF",
    "teaset": "pot, cups and tray: conductors, rough and smooth, plastic, a texture",
    "flowers": "bunch of flowers: hundreds of thin translucent leaves and petals",
    "bricks": "house of toy bricks: hundreds of studs, plastic",
    "cloud": "cloud: a medium without boundary, density from a volume grid",
}
