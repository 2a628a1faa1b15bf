"""What the kernels are compiled from, for those who link them into a library and for those who test them elsewhere."""

_HERE = "//python/retort/kernels/c:"

# Compiled once.
SOURCES = [_HERE + name for name in [
    "processor.c",
    "threads.c",
]]

# Compiled for each instruction set.
FOR_EACH = [_HERE + name for name in [
    "attention.c",
    "elementwise.c",
    "norms.c",
    "products.c",
    "quantized.c",
    "rows.c",
]]

HEADERS = [_HERE + name for name in [
    "functions.h",
    "kernels.h",
    "shards.h",
    "threads.h",
    "vectors.h",
]]

# The oldest that PyTorch's own wheels run with, as the compiler names it behind an architecture.
C_LIBRARY = "-linux-gnu.2.28"

# Of each architecture the instruction sets, and the compiler's name of a processor that has one.
SETS = {
    "aarch64": {"neon": "generic"},
    "x86_64": {
        "avx2": "x86_64_v3",
        "avx512": "x86_64_v4",
        "avx512_bf16": "x86_64_v4+avx512vnni+avx512bf16",
        "avx512_vnni": "x86_64_v4+avx512vnni",
    },
}
