"""Compiles attention kernels for Hopper, which needs no GPU, and tells the instructions they get.

Run by `test_attention_kernels` in a process of its own: Triton's interpreter leaves its language
changed. The argument is JSON: the kernels' file, and (kernel, head size, blocks, flags) of each.
Prints the number of `wgmma` and of `mma.sync` instructions of each, as JSON.
"""

import importlib.util
import json
import sys

HOPPER = 90
POINTERS = {"average": "*fp16", "query": "*bf16", "key": "*bf16", "bias": "*bf16",
            "grad_query": "*bf16", "grad_key": "*bf16"}  # fmt: skip
FLOATS = ("value", "mean", "logsumexp", "entropy", "row", "slope", "gradient", "centre")
FLAGS = {"COLUMNS": 0, "FEW": 2, "HAS_BIAS": False, "ENTROPY": True, "EVEN": False, "ADD": False,
         "AVERAGE": False, "WRITE": True, "PRECISION": "tf32"}  # fmt: skip


def build(function, size: int, blocks, flags: dict) -> tuple[int, int]:
    """Counts of one kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = function.arg_names
    queries, keys, warps, stages = blocks
    cut = dict(SIZE=size, WIDE=size, BLOCK_Q=queries, BLOCK_K=keys)
    fixed = {name: value for name, value in (FLAGS | cut | flags).items() if name in names}
    kinds = POINTERS | dict.fromkeys(FLOATS, "*fp32") | dict(scale="fp32", natural="fp32")
    kinds |= dict.fromkeys(fixed, "constexpr")
    if flags.get("COLUMNS"):
        kinds["value"] = "*bf16"
    source = ASTSource(
        function,
        {name: kinds.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in fixed.items()},
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in ("query", "key", "keys")},
    )
    options = {"num_warps": warps, "num_stages": stages}
    ptx = triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options).asm["ptx"]
    return ptx.count("wgmma.mma_async"), ptx.count("mma.sync")


if __name__ == "__main__":
    path, wanted = json.loads(sys.argv[1])
    spec = importlib.util.spec_from_file_location("attention_kernels", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    print(json.dumps([build(getattr(module, name), *rest) for name, *rest in wanted]))
