"""The flow of a body posed twice, made while samples are read."""

from vtonlab.registry import MATCHERS, TRANSFORMS


@TRANSFORMS.register_module()
class BodyFlow:
    """Adds ``flow`` from the sample's ``body``, which is then dropped (3D-GCL's pseudo truth).

    The same flow can lie in a match store: ``matches=dict(matcher=...)`` of the data set and
    ``truth="correspondences"`` of the losses. Made here, it is dense and costs a moment per sample.

    Args:
        matcher: ``SMPLFlowMatcher`` with its mesh; any matcher with ``flow(body, person_size,
            garment_size)``.
    """

    def __init__(self, *, matcher: dict) -> None:
        self.matcher = MATCHERS.build(matcher)

    def __call__(self, sample: dict) -> dict:
        if "body" not in sample:
            raise ValueError(
                f"BodyFlow needs the 'body' of sample {sample['id']!r}: add it to the data set's "
                "maps (with_body=True for SyntheticTryOn)"
            )
        sizes = (sample[owner].shape[:2] for owner in ("person", "garment"))
        field, _ = self.matcher.flow(sample["body"], *sizes)
        return {key: value for key, value in sample.items() if key != "body"} | {"flow": field}
