"""The choice of the precision, from descriptions of machines: one has only one machine at hand."""

import subprocess
import sys

import pytest

from nlp_rnn import hardware

GENOA = "processor : 0\nflags\t\t: fpu sse avx2 avx512f avx512_bf16\nbugs : none\n"
SAPPHIRE_RAPIDS = "flags : fpu avx512_bf16 amx_bf16 amx_tile\n"
HASWELL = "model name : avx512_bf16 is only in the name\nflags : fpu sse avx2\n"


@pytest.mark.parametrize(
    ("capabilities", "precision", "reason"),
    [
        ([(9, 0)], "mixed_bfloat16", "compute capability 9.0"),
        ([(8, 0)], "mixed_bfloat16", "compute capability 8.0"),
        ([(7, 5)], "mixed_float16", "compute capability 7.5"),
        ([(7, 0)], "mixed_float16", "compute capability 7.0"),
        ([(6, 1)], "float32", "compute capability 6.1"),
        ([(9, 0), (7, 5)], "mixed_float16", "compute capability 7.5"),  # all must be able to
        ([], "float32", "does not tell"),
    ],
)
def test_gpus_choose_by_their_compute_capability(
    capabilities: list[tuple[int, int]], precision: str, reason: str
) -> None:
    chosen, why = hardware.precision_of_gpus(capabilities)
    assert chosen == precision
    assert reason in why


@pytest.mark.parametrize(
    ("description", "precision", "reason"),
    [
        (GENOA, "mixed_bfloat16", "fast bfloat16 products (avx512_bf16)"),
        (SAPPHIRE_RAPIDS, "mixed_bfloat16", "(amx_bf16, avx512_bf16)"),
        (HASWELL, "float32", "no fast bfloat16 products"),
        ("", "float32", "no fast bfloat16 products"),
    ],
)
def test_cpus_choose_by_their_flags(description: str, precision: str, reason: str) -> None:
    chosen, why = hardware.precision_of_cpu(description)
    assert chosen == precision
    assert reason in why


def test_this_machine_has_a_fastest_precision() -> None:
    precision, reason = hardware.fastest_precision()
    assert precision in ("float32", "mixed_bfloat16", "mixed_float16")
    assert reason


PAGES = """
import resource, sys
import numpy as np
from nlp_rnn import hardware

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (3_000_000, 40_000_000, 90_000_000):
        np.empty(size, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
assert hardware.keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of glibc")
def test_memory_that_was_freed_is_not_fetched_from_the_system_again() -> None:
    ran = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    before, after = map(int, ran.stdout.split())
    # Blocks of 133 million bytes: 32,000 pages of 4 KiB, or 60 of 2 MiB where the system gives huge ones.
    assert before >= 60
    assert after <= 5
