// Monotone rational-quadratic splines on [0, 1], straight from raw network outputs: the fused twin of
// mi_neural_asset/splines/plain.py, one thread a spline.
//
// A spline is a cumulative distribution z = F(s) with density p = F' (Gregory and Delbourgo 1982, as parameterised by
// Durkan et al. 2019, Neural Spline Flows, Sec. 3).  `raw` points at the raw numbers of one spline, in memory that this
// thread may overwrite (its row of a shared-memory tile): K widths, K heights, then slopes at K + 1 knots, or at K when
// the variable is periodic and its two ends share one.  Nothing is kept in a per-thread array: indexed by the bin, which
// is known only at run time, that would be local memory.
//
// Work per spline: 2 K exp, 2 exp and 2 log1p for the slopes, one log, one sqrt when sampling, and about 10 K other
// operations (max, exp and sum, search); the gradient adds about 5 K.  Traffic is counted in spline.cu.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#endif

namespace spline {

constexpr double WIDTH_FLOOR = 1e-2;                  // smallest bin width, in parts of the mean width 1 / K
constexpr double HEIGHT_FLOOR = 1e-3;                 // smallest bin probability, in parts of 1 / K
constexpr double SLOPE_FLOOR = 1e-3;                  // smallest density at a knot
constexpr double SLOPE_OFFSET = 0.54132485461291810;  // log(e - 1): raw zeros give the uniform density

template <int K, bool PERIODIC> constexpr int raw_size = 3 * K + (PERIODIC ? 0 : 1);

// K positive parts of the unit interval: floor / K + (1 - floor) softmax(raw).
template <int K, typename Real> struct Parts {
    Real *e;  // exp(raw - max), in place of raw
    Real floor, inverse_sum;

    __device__ Parts(Real *raw, Real floor) : e(raw), floor(floor) {
        Real top = raw[0], sum = 0;
#pragma unroll 4
        for (int k = 1; k < K; ++k)
            top = raw[k] > top ? raw[k] : top;
#pragma unroll 4
        for (int k = 0; k < K; ++k)
            sum += e[k] = exp(raw[k] - top);
        inverse_sum = 1 / sum;
    }

    __device__ Real operator[](int k) const { return floor / K + (1 - floor) * inverse_sum * e[k]; }

    // Where part `bin` begins.
    __device__ Real begin(int bin) const {
        Real edge = 0;
        for (int k = 0; k < bin; ++k)
            edge += (*this)[k];
        return edge;
    }

    // The part that holds `value`, and where it begins (as `begin` has it, to the last bit).  The last part has no right
    // edge: it ends at 1, wherever rounding has put the sum.
    __device__ int find(Real value, Real &edge) const {
        edge = 0;
        for (int k = 0; k < K - 1; ++k) {
            const Real next = edge + (*this)[k];
            if (!(value >= next))
                return k;
            edge = next;
        }
        return K - 1;
    }

    // Gradient with respect to raw, in its place, from that with respect to the parts: `before` for each part left of
    // `bin`, `here` for that part, none right of it.
    __device__ void backward(int bin, Real before, Real here) {
        Real mean = here * e[bin];
        for (int k = 0; k < bin; ++k)
            mean += before * e[k];
        mean *= inverse_sum;
        const Real scale = (1 - floor) * inverse_sum;
#pragma unroll 4
        for (int k = 0; k < K; ++k)
            e[k] *= scale * ((k < bin ? before : k == bin ? here : Real(0)) - mean);
    }
};

// Comparisons, not fmin and fmax: those would turn NaN into a number.
template <typename Real> __device__ Real clamp01(Real x) { return x < 0 ? Real(0) : x > 1 ? Real(1) : x; }

template <typename Real> __device__ Real slope(Real raw) {
    const Real x = raw + Real(SLOPE_OFFSET);
    const Real softplus = (x > 0 ? x : Real(0)) + log1p(exp(-fabs(x)));
    return Real(SLOPE_FLOOR) + Real(1 - SLOPE_FLOOR) * softplus;
}

template <typename Real> __device__ Real slope_derivative(Real raw) {
    return Real(1 - SLOPE_FLOOR) / (1 + exp(-raw - Real(SLOPE_OFFSET)));
}

// Index of the slope at the right end of a bin.
template <int K, bool PERIODIC> __device__ int right_of(int bin) { return PERIODIC && bin == K - 1 ? 0 : bin + 1; }

// One bin of a spline.  Below xi is the relative position in it, from 0 to 1.
template <typename Real> struct Bin {
    Real s, z;           // its left knot
    Real width, height;  // its own parts, not differences of knots, which would lose digits in small bins
    Real left, right;    // slopes at its knots

    __device__ Real secant() const { return height / width; }

    // F' = secant^2 numerator / denominator^2
    __device__ Real numerator(Real xi) const {
        return right * xi * xi + 2 * secant() * xi * (1 - xi) + left * (1 - xi) * (1 - xi);
    }

    __device__ Real denominator(Real xi) const { return secant() + (left + right - 2 * secant()) * xi * (1 - xi); }

    __device__ Real log_density(Real xi) const {
        const Real ratio = secant() / denominator(xi);  // the square of secant alone would lose more digits
        return log(ratio * ratio * numerator(xi));
    }
};

template <typename Real> struct Point {
    Real value, log_density;
};

// z -> s = F^-1(z) and log p(s).
template <int K, bool PERIODIC, typename Real> __device__ Point<Real> sample(Real z, Real *raw) {
    const Parts<K, Real> widths(raw, Real(WIDTH_FLOOR)), heights(raw + K, Real(HEIGHT_FLOOR));
    Bin<Real> b;
    const int bin = heights.find(z, b.z);
    b.s = widths.begin(bin), b.width = widths[bin], b.height = heights[bin];
    b.left = slope(raw[2 * K + bin]), b.right = slope(raw[2 * K + right_of<K, PERIODIC>(bin)]);

    // F(xi) = z is a xi^2 + b xi + c = 0 (Durkan et al., Eqs. 6-8)
    const Real y = z < b.z ? Real(0) : z - b.z, bend = y * (b.left + b.right - 2 * b.secant());
    const Real qa = b.height * (b.secant() - b.left) + bend, qb = b.height * b.left - bend, qc = -b.secant() * y;
    const Real disc = qb * qb - 4 * qa * qc, root = sqrt(disc < 0 ? Real(0) : disc);
    // Both are the same root.  The first stays stable as a -> 0; where b < 0 it would cancel, but there a > -b.
    const Real xi = clamp01(qb >= 0 ? 2 * qc / (-qb - root) : (root - qb) / (2 * qa));
    return {clamp01(b.s + xi * b.width), b.log_density(xi)};
}

// s -> z = F(s) and log p(s).
template <int K, bool PERIODIC, typename Real> __device__ Point<Real> cdf(Real s, Real *raw) {
    const Parts<K, Real> widths(raw, Real(WIDTH_FLOOR)), heights(raw + K, Real(HEIGHT_FLOOR));
    Bin<Real> b;
    const int bin = widths.find(s, b.s);
    b.z = heights.begin(bin), b.width = widths[bin], b.height = heights[bin];
    b.left = slope(raw[2 * K + bin]), b.right = slope(raw[2 * K + right_of<K, PERIODIC>(bin)]);

    const Real xi = clamp01((s - b.s) / b.width);
    const Real rise = b.secant() * xi * xi + b.left * xi * (1 - xi);  // Durkan et al., Eq. 4
    return {clamp01(b.z + b.height * rise / b.denominator(xi)), b.log_density(xi)};
}

// Replaces the raw numbers by `incoming` times the gradient of log p(s) with respect to them.
template <int K, bool PERIODIC, typename Real> __device__ void log_density_backward(Real s, Real incoming, Real *raw) {
    Parts<K, Real> widths(raw, Real(WIDTH_FLOOR)), heights(raw + K, Real(HEIGHT_FLOOR));
    Real *slopes = raw + 2 * K;
    Bin<Real> b;
    const int bin = widths.find(s, b.s), end = right_of<K, PERIODIC>(bin);
    b.width = widths[bin], b.height = heights[bin];
    b.left = slope(slopes[bin]), b.right = slope(slopes[end]);

    // log p = 2 log secant + log numerator - 2 log denominator
    const Real xi = clamp01((s - b.s) / b.width), mixed = xi * (1 - xi), secant = b.secant();
    const Real n = incoming / b.numerator(xi), d = 2 * incoming / b.denominator(xi);
    const Real d_left = n * (1 - xi) * (1 - xi) - d * mixed, d_right = n * xi * xi - d * mixed;
    const Real d_log_secant = 2 * incoming + secant * (2 * n * mixed - d * (1 - 2 * mixed));
    const Real d_xi = 2 * n * (b.right * xi + secant * (1 - 2 * xi) - b.left * (1 - xi)) -
                      d * (b.left + b.right - 2 * secant) * (1 - 2 * xi);

    // secant = height / width, xi = (s - sum of the widths before) / width.  The clamp above only removes rounding, so
    // xi counts as free at the ends too; the pinned end s = 1 follows: there all widths have the same gradient.
    widths.backward(bin, -d_xi / b.width, -(d_log_secant + xi * d_xi) / b.width);
    heights.backward(bin, 0, d_log_secant / b.height);
    const Real at_left = d_left * slope_derivative(slopes[bin]), at_right = d_right * slope_derivative(slopes[end]);
#pragma unroll 4
    for (int k = 0; k < raw_size<K, PERIODIC> - 2 * K; ++k)
        slopes[k] = (k == bin ? at_left : Real(0)) + (k == end ? at_right : Real(0));
}

}  // namespace spline
