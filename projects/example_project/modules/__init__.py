from projects.example_project.modules.clean_garment import CleanGarmentConditioner
from projects.example_project.modules.colour_position import ColourPositionMatcher, MatchOnTheFly
from projects.example_project.modules.two_way_distance import TwoWayDistanceLoss

__all__ = [
    "CleanGarmentConditioner",
    "ColourPositionMatcher",
    "MatchOnTheFly",
    "TwoWayDistanceLoss",
]
