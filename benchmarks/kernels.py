"""Speed of the splines: each twin, beside what memory and arithmetic allow.

    python benchmarks/kernels.py [--rows N] [--knots K] [--repetitions N] [--device D] [--quick] [--json FILE]

Per operation: the median time of the plain torch twin and of the fused kernel, their ratio, and two lower limits: the bytes
that must be read and written over the measured copy bandwidth, and the operations over the measured rate of multiply-adds (a
generous limit: exp and log count as 10 operations each, and no spline consists of multiply-adds alone).
"""

from __future__ import annotations

import argparse
import json

from common import add_device, copy_bandwidth, machine, product_rate, row, seconds, write_json


def operations(rows: int, knots: int, device: str) -> dict:
    """Name -> (what it does, bytes, operations)."""
    import torch

    from mi_neural_asset import splines

    size = splines.raw_size(knots, False)
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(rows, 3, size, generator=generator).to(device)
    one = raw[:, 0].clone().requires_grad_()
    s = torch.rand(rows, generator=generator).to(device)
    every = s[:, None].expand(-1, 3)
    channel = torch.randint(0, 3, (rows,), generator=generator).to(device)

    def no_grad(function):  # noqa: ANN001, ANN202
        def call() -> None:
            with torch.no_grad():
                function()

        return call

    def train() -> None:
        one.grad = None
        splines.log_density(s, one, knots, False).sum().backward()

    each = 2 * knots * 10 + 10 * knots + 60  # operations of one spline: exponentials, softmax and search, the rest
    return {
        "log density, 3 channels": (
            no_grad(lambda: splines.log_density(every, raw, knots, False)), 3 * rows * 4 * (size + 2), 3 * rows * each
        ),
        "sample, 1 of 3 channels": (no_grad(lambda: splines.sample(s, raw, knots, False, channel)), rows * 4 * (size + 3), rows * each),
        "log density and gradient": (train, rows * 4 * (4 * size + 3), rows * (each + 12 * knots)),
    }  # fmt: skip


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="default: 16384, on a GPU 1048576")
    parser.add_argument("--knots", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=50)
    add_device(parser)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset import splines
    from mi_neural_asset.allocator import keep_memory_mapped
    from mi_neural_asset.threads import torch_at_work

    keep_memory_mapped()
    device = options.device
    size = options.rows or (16384 if device == "cpu" else 1 << 20)
    on, rows, repetitions = machine(device), [], 5 if options.quick else options.repetitions
    print(json.dumps(on))
    with torch_at_work():  # as in a bake and in a render: all of torch's threads, one of Dr.Jit's (on up to 15 cores)
        bandwidth, rate = copy_bandwidth(device), product_rate(device)
        print(f"copy: {bandwidth / 1e9:.1f} GB/s; matrix product: {rate / 1e9:.1f} G multiply-adds/s")
        print(f"{'operation':26}{'plain ms':>10}{'fused ms':>10}{'ratio':>7}{'bandwidth limit ms':>20}{'arithmetic limit ms':>21}")
        for name, (work, traffic, count) in operations(size, options.knots, device).items():
            fused = seconds(work, repetitions)
            with splines.only_plain():
                plain = seconds(work, repetitions)
            by_bytes, by_arithmetic = traffic / bandwidth, count / (2 * rate)
            rows += [row(f"kernels.{name}", fused, "s", max(by_bytes, by_arithmetic)), row(f"kernels.{name}, plain", plain, "s")]
            print(f"{name:26}{1e3 * plain:10.2f}{1e3 * fused:10.2f}{plain / fused:7.1f}{1e3 * by_bytes:20.3f}{1e3 * by_arithmetic:21.3f}")
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
