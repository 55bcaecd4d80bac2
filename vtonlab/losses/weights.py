"""What the factor of a loss may be."""

# Far above any published weight (R1's is 10): larger ones are typing mistakes, and with them every
# other loss of the model is rounding.
LARGEST = 1e4


def check_weight(name: str, value: float) -> None:
    """``ValueError`` unless ``value`` is within [0, 10 000]; ``name`` is the argument's."""
    if not 0 <= value <= LARGEST:
        raise ValueError(f"{name}={value}: a number within [0, {LARGEST:g}] is needed")
