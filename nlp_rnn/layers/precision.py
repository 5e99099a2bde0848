"""Number formats of weights that are stored in 16 bits, as exports can be, and what is computed with them."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="nlp_rnn")
class StoragePolicy(keras.DTypePolicy):
    """Computes in one number format with weights that are stored in another.

    Args:
        compute: What layers compute in; each weight is cast where it is used.
        storage: What weights are stored in.
    """

    def __init__(self, *, compute: str, storage: str):
        super().__init__(compute)
        self._storage = storage
        # What tells this policy from others, by Keras's comparison too.
        self._name = f"{compute}_from_{storage}"

    @property
    def variable_dtype(self) -> str:
        """What weights are stored in."""
        return self._storage

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"compute": self.compute_dtype, "storage": self._storage}


def policy_of(weights: str) -> keras.DTypePolicy:
    """Returns the policy of a network whose weights are in float32, bfloat16 or float16, and which learns no more.

    bfloat16 is also computed in: CPUs that have products of such numbers take
    less time for them. float16 is not: its products take longer on a CPU.
    """
    if weights == "float16":
        return StoragePolicy(compute="float32", storage=weights)
    return keras.DTypePolicy(weights)


def require_unrounded(network: keras.Model) -> None:
    """Refuses to serve a network that rounds what it computes to fewer digits than its weights have.

    Raises:
        ValueError: It computes neither in float32 nor in what its weights are stored in.
    """
    if network.compute_dtype not in ("float32", network.variable_dtype):
        raise ValueError(f"network must compute in float32, not {network.compute_dtype}: load it again in float32.")


def in_float32(policy: keras.DTypePolicy) -> keras.DTypePolicy:
    """Returns a policy that computes in float32, and stores as the given one does."""
    if policy.variable_dtype == "float32":
        return keras.DTypePolicy("float32")
    return StoragePolicy(compute="float32", storage=policy.variable_dtype)


def of_scores(policy: keras.DTypePolicy) -> keras.DTypePolicy:
    """Returns the policy of the projection to scores: a finished network in 16 bits leaves them all their digits."""
    return policy if policy.variable_dtype == "float32" else in_float32(policy)


def of_tables(policy: keras.DTypePolicy) -> keras.DTypePolicy:
    """Returns the policy of an embedding: rows alone are cast, by those who use them, and not the whole table."""
    return keras.DTypePolicy(policy.variable_dtype)
