"""Pictures of everything below: samples, correspondences, flows and attention."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": [
            "attention_warp",
            "draw_attention",
            "draw_attention_flow",
            "draw_points_attention",
            "mark",
            "overlay_heat",
        ],
        "colors": [
            "distinct_colors",
            "flow_colors",
            "flow_wheel",
            "heat_colors",
            "label_colors",
            "position_chart",
            "position_colors",
        ],
        "correspondences": [
            "draw_correspondences",
            "draw_flow",
            "draw_flow_offsets",
            "draw_places",
            "warp_garment",
        ],
        "pages": [
            "fit",
            "grid",
            "heading",
            "save_png",
            "stack",
            "tile",
            "tint",
            "titled_grid",
            "to_picture",
        ],
        "samples": ["contact_sheet", "draw_sample", "sample_tiles"],
    },
)
