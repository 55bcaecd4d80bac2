"""Files that exported folders carry as ``pipeline.py``: they run where vtonlab is not installed."""
