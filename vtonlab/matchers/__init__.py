"""External person-to-garment correspondence, computed before training."""

from vtonlab.matchers.base import Matcher
from vtonlab.matchers.dino import DINOv3Matcher
from vtonlab.matchers.report import MatchReport
from vtonlab.matchers.sift import SIFTMatcher
from vtonlab.matchers.smpl_flow import SMPLFlowMatcher

__all__ = ["DINOv3Matcher", "MatchReport", "Matcher", "SIFTMatcher", "SMPLFlowMatcher"]
