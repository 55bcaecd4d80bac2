"""Recording queries and keys of attention layers, and the facts about their token layouts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "layers": [
            "AttentionLayer",
            "BlockTokens",
            "attention_kind",
            "list_attention_layers",
            "select_by_kind",
            "select_by_ratio",
            "select_layers",
        ],
        "layouts": ["image_span", "image_start", "text_span", "token_order"],
        "recorder": ["AttentionRecorder"],
    },
)
