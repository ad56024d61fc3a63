"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Neither how long an example takes nor how fast they are made says anything of the product: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
