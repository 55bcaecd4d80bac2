"""HTML reports."""

from vtonlab.evaluation.report.page import Chart, Story, write_page
from vtonlab.evaluation.report.side_files import read_study
from vtonlab.evaluation.report.systems import Group, System, collect

__all__ = ["Chart", "Group", "Story", "System", "collect", "read_study", "write_page"]
