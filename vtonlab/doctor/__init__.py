"""Looks at a downloaded data set before training does (``tools/check_dataset.py``)."""

from vtonlab.doctor.diagnose import diagnose
from vtonlab.doctor.findings import CATALOGUE, Finding, Report
from vtonlab.doctor.kinds import KINDS
from vtonlab.doctor.show import show

__all__ = ["CATALOGUE", "KINDS", "Finding", "Report", "diagnose", "show"]
