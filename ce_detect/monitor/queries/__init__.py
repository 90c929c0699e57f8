"""Query attacks: many near-copies of one input, sent to learn from the answers."""

from ce_detect.monitor.queries.detector import QueryDetector, QuerySettings
from ce_detect.monitor.queries.redis_index import connected

__all__ = ["QueryDetector", "QuerySettings", "connected"]
