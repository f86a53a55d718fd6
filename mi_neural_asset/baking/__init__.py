"""From a scene to an asset.

Rooms: `sampler` and `walk` (paths through the asset), `buffer` (paths as training data), `losses`, `trainer`,
`checkpoint`, `presets` (sizes and schedules), `bake` (the whole, with budgets and interruption), `preview`, `inplace`
(what `nap_train` does), `command`.
"""
