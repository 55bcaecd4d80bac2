"""noise_schedules"""
