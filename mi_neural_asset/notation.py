"""Symbols, frames, measures, shapes and units, fixed once.

Points and directions
    x_o     where a viewer's ray meets the asset's boundary
    w_o     unit direction from x_o to the viewer (against the viewer's ray)
    n       unit shading normal at x_o, on the side on which the geometric normal faces w_o
    x_i     where a light path last leaves the asset, seen along the viewer's ray backwards: where light enters
    w_i     unit direction from x_i away from the asset, to the light
    u_i     where the ray (x_i, w_i) leaves the proxy, a convex surface around the asset
    d       unit direction from x_o to u_i

Transport
    F       L_o(x_o, w_o) = integral F(x_o, w_o, x_i, w_i) L_i(x_i, w_i) dx_i dw_i, per colour channel
    alpha   directional albedo, the integral of F over (x_i, w_i); dimensionless
    p       F / alpha, a density over incident rays
    s       (u_i, w_i) as a point of the unit cube [0, 1]^4; s2 and s4 are angles over 2 pi
    beta    throughput of a sampled path, [N, 3]
    event   one scattering at a surface or in a medium; null collisions and null crossings are none
    direct  a path that leaves after one event: rendered with the BSDF itself, left out of the network; so is what begins with a reflection
            by a smooth surface, whatever the ray meets then

Frames and units
    world               that of the scene which is rendered
    asset space         the world of the scene that was baked, in its units
    normalised space    x_hat = (x - center) / scale, so that the asset's bounding sphere is the unit sphere; all of `model`

Measures: densities over directions are per solid angle [1 / sr], densities over u_i per area of the normalised proxy.
Tensors are [N, 3] on the side of torch, structures of arrays on the side of Dr.Jit.
"""
