"""The arithmetic of a transport model on the CPU: torch multiplies matrices, Dr.Jit's kernels do all else.

Rooms: `layout` (which numbers a lane has, which models can be done), `tiles` (where the numbers of a batch lie, and who works on them),
`network` (matrix products), `geometry` and `tables` (formulas inside kernels), `kernels` (what happens between the networks),
`training` (what a bake needs of them).  A render's order of these is `mi_neural_asset.render.fused_engine`, a bake's
`mi_neural_asset.baking.fused`.
"""
