"""A BSDF that goes wrong for known shares of its samples."""

from __future__ import annotations

INVALID = 0.2  # share of samples without a usable direction or weight


def broken_bsdf(mi) -> dict:  # noqa: ANN001
    """Of its samples a tenth have no direction, a tenth no finite weight, and a tenth reflect nothing, nowhere: these alone are sound."""
    import drjit as dr

    class Broken(mi.BSDF):
        def __init__(self, props):  # noqa: ANN001, ANN204
            mi.BSDF.__init__(self, props)
            self.m_components = [mi.BSDFFlags.DiffuseReflection | mi.BSDFFlags.FrontSide | mi.BSDFFlags.BackSide]
            self.m_flags = self.m_components[0]

        def sample(self, ctx, si, sample1, sample2, active):  # noqa: ANN001, ANN202
            bs = mi.BSDFSample3f()
            bs.wo = mi.warp.square_to_cosine_hemisphere(sample2)
            bs.pdf, bs.eta = mi.Float(1), mi.Float(1)
            bs.sampled_type = mi.UInt32(+mi.BSDFFlags.DiffuseReflection)
            bs.sampled_component = mi.UInt32(0)
            bs.wo.x = dr.select(sample1 < 0.2, dr.nan, bs.wo.x)
            weight = dr.select(sample1 > 0.9, dr.nan, dr.select((sample1 > 0.1) & (sample1 < 0.2), 0, 0.5))
            return bs, mi.Spectrum(weight) & active

        def eval(self, ctx, si, wo, active):  # noqa: ANN001, ANN202
            return mi.Spectrum(0)

        def pdf(self, ctx, si, wo, active):  # noqa: ANN001, ANN202
            return mi.Float(0)

        def to_string(self):  # noqa: ANN202
            return "Broken"

    mi.register_bsdf("broken_for_tests", lambda props: Broken(props))
    return {"type": "broken_for_tests"}
