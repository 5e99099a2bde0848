"""The choice of the precision, from descriptions of machines: one has only one machine at hand."""

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
