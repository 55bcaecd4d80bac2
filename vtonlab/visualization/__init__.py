"""Pictures of everything below: samples, correspondences, flows and attention."""

from vtonlab.visualization.attention import (
    attention_warp,
    draw_attention,
    draw_attention_flow,
    draw_points_attention,
    mark,
    overlay_heat,
)
from vtonlab.visualization.colors import (
    distinct_colors,
    flow_colors,
    flow_wheel,
    heat_colors,
    label_colors,
    position_chart,
    position_colors,
)
from vtonlab.visualization.correspondences import (
    draw_correspondences,
    draw_flow,
    draw_flow_offsets,
    draw_places,
    warp_garment,
)
from vtonlab.visualization.pages import (
    fit,
    grid,
    heading,
    save_png,
    stack,
    tile,
    tint,
    titled_grid,
    to_picture,
)
from vtonlab.visualization.samples import (
    contact_sheet,
    draw_sample,
    sample_tiles,
)

__all__ = [
    "attention_warp",
    "contact_sheet",
    "distinct_colors",
    "draw_attention",
    "draw_attention_flow",
    "draw_correspondences",
    "draw_flow",
    "draw_flow_offsets",
    "draw_places",
    "draw_points_attention",
    "draw_sample",
    "fit",
    "flow_colors",
    "flow_wheel",
    "grid",
    "heading",
    "heat_colors",
    "label_colors",
    "mark",
    "overlay_heat",
    "position_chart",
    "position_colors",
    "sample_tiles",
    "save_png",
    "stack",
    "tile",
    "tint",
    "titled_grid",
    "to_picture",
    "warp_garment",
]
