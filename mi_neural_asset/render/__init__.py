"""Rendering of neural assets inside path-traced scenes: a wavefront over bounces, with torch between them.

Rooms: `instances` (which hits belong to which asset, and its frame), `projection` (u_i back to the boundary), `choice` (who
evaluates the networks), `engine` (torch does, on any device), `fused_engine` (torch and Dr.Jit do, on the CPU), `recorded_engine` (as
CUDA graphs), `neural` (one scattering event on an asset), `exits` and `lobe` (how light that leaves it is found), `far_field_engine` and
`far_field` (their counterparts for the baseline), `direct` (the direct lobe),
`passage` (what passes unscattered), `volumes` (media without boundary), `lanes` (state of the paths), `path` (the loop over
bounces), `options` (what its properties say), `splitting` (how many exits a hit is worth), `randoms` (numbers that are even over a
pixel), `passes` (film, sampler, memory bound, AOVs); `render` (a scene file into a picture, by one process or several),
`record` (what a picture says of itself), `merge`.
"""
