"""Networks of the transport model, in torch alone: no Mitsuba, no files.

Rooms: `config` (sizes), `proxy` and `coordinates` (incident rays as points of the unit cube), `encoding` (feature
grids), `network` (perceptrons), `summed` (a network's part of a loss with its gradient, slice by slice), `flow` (the
distribution p), `probes` (tables of where light leaves), `transport` (albedo and p together), `far_field` (the baseline
without x_i), `kinds` (both by name).  Everything here lives in normalised space: the asset's bounding sphere is the unit sphere.
See `mi_neural_asset.notation` for the symbols.
"""
