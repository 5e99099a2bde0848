"""The one place where the machine decides how a training computes; how a model infers never depends on it."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from nlp_rnn.layers.recurrent import Path as TrainingPath

_CPU = Path("/proc/cpuinfo")
# CPUs with these multiply bfloat16 at twice the speed of float32; others have to imitate it.
_FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
# Parameters of glibc's mallopt, see <malloc.h>, and what they are set to.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_MEMORY_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 1 << 26}


def training_path() -> TrainingPath:
    """Returns how recurrent layers train: by cuDNN where there is a GPU."""
    return "cudnn" if tf.config.list_physical_devices("GPU") else "portable"


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep the memory it frees, and returns whether that could be had.

    A training step on a CPU frees a gigabyte of tensors and asks for it again
    in the next step. glibc gives large blocks back to the system, all the more
    since TensorFlow lowers its thresholds when it first reads from a Python
    generator; the system fills every page with zeros before it hands it out
    again. That is a quarter to a third of the time of a translator's step.

    Another C library than glibc is left as it is.
    """
    try:
        set_parameter = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # TensorFlow sets its threshold once, and should have done so by now.
    list(tf.data.Dataset.from_generator(lambda: iter([0]), output_signature=tf.TensorSpec([], tf.int32)))
    return all([set_parameter(parameter, value) == 1 for parameter, value in _MEMORY_SETTINGS.items()])


def fastest_precision() -> tuple[str, str]:
    """Returns the fastest precision of this machine, and why, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [found["compute_capability"] for found in details if "compute_capability" in found]
    if gpus:
        return precision_of_gpus(capabilities if len(capabilities) == len(gpus) else [])
    return precision_of_cpu(_CPU.read_text(encoding="utf-8", errors="replace") if _CPU.exists() else "")


def precision_of_gpus(capabilities: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Returns the precision for GPUs of these compute capabilities, of which the least decides, and why.

    Args:
        capabilities: major and minor; none if they are not known.
    """
    if not capabilities:
        return "float32", "the GPU does not tell its compute capability"
    least = min(tuple(capability) for capability in capabilities)
    what = f"the GPU has compute capability {least[0]}.{least[1]}"
    if least >= (8, 0):
        return "mixed_bfloat16", f"{what}; from 8.0 on bfloat16 is fast"
    if least >= (7, 0):
        return "mixed_float16", f"{what}; from 7.0 to 8.0 float16 is fast and bfloat16 is not"
    return "float32", f"{what}; below 7.0 nothing is faster"


def precision_of_cpu(description: str) -> tuple[str, str]:
    """Returns the precision for a CPU, and why.

    Args:
        description: What `/proc/cpuinfo` says.
    """
    lines = [line.partition(":") for line in description.splitlines()]
    flags = {flag for name, _, value in lines if name.strip() == "flags" for flag in value.split()}
    fast = [flag for flag in _FAST_BFLOAT16 if flag in flags]
    if fast:
        return "mixed_bfloat16", f"the CPU has fast bfloat16 products ({', '.join(fast)})"
    return "float32", f"there is no GPU, and the CPU has no fast bfloat16 products ({' or '.join(_FAST_BFLOAT16)})"
