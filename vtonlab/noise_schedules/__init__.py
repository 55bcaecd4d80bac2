"""Training-side noising and targets."""

from vtonlab.noise_schedules.ddpm import DDPMSchedule
from vtonlab.noise_schedules.flow_matching import FlowMatchingSchedule

__all__ = ["DDPMSchedule", "FlowMatchingSchedule"]
