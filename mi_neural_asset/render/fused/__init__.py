"""The engine of the CPU.

Rooms: `tiles` (where the numbers of a batch lie, and who works on them), `network` (matrix products), `geometry` and `tables` (formulas
inside kernels), `kernels` (what happens between the networks), `engine` (their order).
"""
