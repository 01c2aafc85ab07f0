"""Health: is the process alive, is it ready, who is away. Runs beside the flow, never in it.

`probes` ask Kafka, storage and catalog with clients of their own, each in its own thread; `judgement` is the pure function from what the
process knows of itself (`vitals`) and what the probes heard to a verdict; `watch` keeps the two together; `report` is the verdict as JSON.
"""

from neptune_flow.health.judgement import Limits, Seen, Service, State, Verdict, judge
from neptune_flow.health.report import report
from neptune_flow.health.watch import HealthWatch

__all__ = ["HealthWatch", "Limits", "Seen", "Service", "State", "Verdict", "judge", "report"]
