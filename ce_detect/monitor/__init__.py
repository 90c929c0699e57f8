"""What is seen over many verdicts: campaigns, drift and query attacks. Importing this imports no torch."""

from ce_detect.monitor.alarms import Alarm
from ce_detect.monitor.monitor import Monitor, MonitorSettings
from ce_detect.monitor.reference import Reference

__all__ = ["Alarm", "Monitor", "MonitorSettings", "Reference"]
