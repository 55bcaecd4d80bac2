"""People and garments drawn with their true correspondence."""

from vtonlab.datasets.synthetic.dataset import SyntheticTryOn

__all__ = ["SyntheticTryOn"]
