// Feature grids: which rows of a table a point reads and with what weights, the twin of mi_neural_asset/model/encoding.py.
//
// A grid is a table [nodes, columns]; the encoding of a point is a weighted sum of a few of its rows.  `each` calls
// visit(node, weight) for all of them: 12 of a triplane, 4 of a cubemap, 2 of a line.  Numbers outside the grid count as those
// at its border; NaN reads the first node with the weight NaN.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#endif

namespace encoding {

// Between which nodes of `size` a number of [0, 1] lies: the left one, and how far from it to the right one.
template <typename Real> struct Between {
    int node;
    Real along;

    __device__ Between(Real x, int size) {
        const Real inside = x < 0 ? Real(0) : x > 1 ? Real(1) : x;
        const Real position = inside * (size - 1);
        node = position >= size - 2 ? size - 2 : position > 0 ? int(position) : 0;
        along = position - node;
    }
};

template <typename Real, typename Visit> __device__ void each_of_plane(Real x, Real y, int size, long long first, Visit visit) {
    const Between<Real> a(x, size), b(y, size);
    const long long corner = first + (long long)b.node * size + a.node;
    visit(corner, (1 - a.along) * (1 - b.along));
    visit(corner + 1, a.along * (1 - b.along));
    visit(corner + size, (1 - a.along) * b.along);
    visit(corner + size + 1, a.along * b.along);
}

// Positions of [-1, 1]^3 on the planes xy, yz, zx.
struct Triplane {
    static constexpr int INPUTS = 3;

    template <typename Real, typename Visit> static __device__ void each(const Real *x, int size, Visit visit) {
        const Real p = (x[0] + 1) / 2, q = (x[1] + 1) / 2, r = (x[2] + 1) / 2;
        const long long plane = (long long)size * size;
        each_of_plane(p, q, size, 0, visit);
        each_of_plane(q, r, size, plane, visit);
        each_of_plane(r, p, size, 2 * plane, visit);
    }
};

// Unit directions on the six faces of a cube: 2 axis, and one more where that component is negative.
struct Cubemap {
    static constexpr int INPUTS = 3;

    template <typename Real, typename Visit> static __device__ void each(const Real *w, int size, Visit visit) {
        const Real x = w[0], y = w[1], z = w[2], ax = fabs(x), ay = fabs(y), az = fabs(z);
        const int axis = ay > ax ? (az > ay ? 2 : 1) : (az > ax ? 2 : 0);
        const Real major = axis == 0 ? x : axis == 1 ? y : z;
        const Real across = axis == 0 ? y : axis == 1 ? z : x, along = axis == 0 ? z : axis == 1 ? x : y;
        const Real length = fabs(major), scale = Real(0.5) / (length > Real(1e-9) ? length : Real(1e-9));
        const long long face = (2 * axis + (major < 0)) * (long long)size * size;
        each_of_plane(across * scale + Real(0.5), along * scale + Real(0.5), size, face, visit);
    }
};

// Numbers of [0, 1].
struct Line {
    static constexpr int INPUTS = 1;

    template <typename Real, typename Visit> static __device__ void each(const Real *s, int size, Visit visit) {
        const Between<Real> a(s[0], size);
        visit(a.node, 1 - a.along);
        visit(a.node + 1, a.along);
    }
};

}  // namespace encoding
