"""Looks at a downloaded data set before training does (``tools/check_dataset.py``)."""

from vtonlab.datasets.doctor.diagnose import diagnose
from vtonlab.datasets.doctor.findings import CATALOGUE, Finding, Report
from vtonlab.datasets.doctor.kinds import KINDS
from vtonlab.datasets.doctor.show import show

__all__ = ["CATALOGUE", "KINDS", "Finding", "Report", "diagnose", "show"]
