"""The figures that the 8DNA paper prints (arXiv 2604.25129v1, RTX 3090, 800 x 800), and which scene here stands for which asset."""

from __future__ import annotations

ASSETS = ("candle", "milk", "cat", "seal", "dragon", "bunny", "curl_hair", "hair", "fabric", "teaset")


def row(*values: float) -> dict[str, float]:
    """Values in the order of the paper's columns."""
    return dict(zip(ASSETS, values, strict=True))


# 100 x MSE of the scenes with surroundings, under an environment alone, under one sphere light
ERROR = {
    "scene": {  # Table 1
        "far_field": row(5.760, 0.430, 0.162, 0.065, 0.505, 0.103, 0.228, 1.381, 3.379, 0.707),
        "ours": row(2.855, 0.156, 0.009, 0.057, 0.182, 0.057, 0.126, 0.950, 2.541, 0.075),
    },
    "environment": {  # Table 5
        "far_field": row(0.013, 0.598, 1.657, 0.004, 0.058, 0.031, 0.008, 0.052, 0.035, 0.724),
        "ours": row(0.010, 0.079, 0.153, 0.003, 0.018, 0.011, 0.006, 0.033, 0.026, 0.092),
    },
    "area": {  # Table 6
        "far_field": row(0.092, 1.178, 1.013, 0.155, 1.180, 0.216, 0.201, 0.767, 1.080, 14.240),
        "ours": row(0.052, 0.152, 0.551, 0.120, 0.492, 0.100, 0.160, 0.566, 0.871, 2.389),
    },
}
VARIANCE = {  # Table 2: 100 x variance at 128 spp
    "far_field": row(12.20, 0.445, 0.093, 0.011, 0.134, 0.014, 0.134, 0.067, 0.090, 0.110),
    "traced": row(54.34, 33.41, 0.115, 2.561, 5.723, 3.673, 0.655, 2.219, 0.414, 0.102),
    "ours": row(27.44, 2.491, 0.094, 0.084, 1.975, 0.588, 0.572, 2.023, 0.573, 0.107),
}
MINUTES = {  # Table 2: at 128 spp
    "far_field": row(0.35, 0.39, 0.33, 0.30, 0.35, 0.35, 0.29, 0.30, 0.40, 0.40),
    "traced": row(4.13, 15.6, 1.28, 2.04, 4.27, 4.97, 0.80, 2.12, 4.49, 0.82),
    "ours": row(0.53, 0.69, 0.57, 0.55, 0.52, 0.57, 0.57, 0.58, 0.93, 0.65),
}
BAKE_HOURS = {  # Table 3: data, optimisation
    "volumes": {"far_field": (5.91, 0.84), "ours": (0.55, 1.68)},
    "surfaces": {"far_field": (1.26, 0.72), "ours": (0.33, 1.45)},
}
ABLATION = {  # Table 4: 100 x MSE, 100 x variance, seconds
    "ours": (0.200, 0.240, 12.21),
    "smaller": (0.416, 0.210, 7.16),
    "no_separation": (0.365, 0.227, 12.17),
}
MEMORY = {  # Table 7: GB on the GPU
    "far_field": row(3.6, 4.3, 3.7, 3.8, 3.8, 3.7, 8.2, 3.7, 5.8, 4.3),
    "traced": row(3.3, 4.2, 3.4, 3.7, 3.6, 3.5, 8.0, 3.5, 5.0, 4.0),
    "ours": row(3.7, 4.6, 3.8, 4.2, 3.7, 3.8, 8.8, 4.2, 6.6, 4.6),
}
