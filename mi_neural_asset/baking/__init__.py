"""From a scene to an asset.

Rooms: `sampler` and `walk` (paths through the asset), `buffer` (paths as training data), `losses`, `gradient` and `fused` (their
gradient, by torch and by kernels), `trainer`, `checkpoint`, `presets` (sizes and schedules), `bake` (the whole, with budgets and
interruption), `preview`, `inplace` (what `nap_train` does), `command`.
"""
