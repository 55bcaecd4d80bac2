"""Where on the body a garment belongs; the names that data sets, models and tools share."""

CATEGORIES = ("upper_body", "lower_body", "dresses")
