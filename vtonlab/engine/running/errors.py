"""Errors that a command line tells in one sentence; importing them costs nothing."""


class LoaderError(RuntimeError):
    """A worker of the training loader died or hung."""
