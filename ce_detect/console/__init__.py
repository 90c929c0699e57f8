"""Pages where people decide about inputs: a queue, an item, alarms, counters, an export, and a page to try a gate."""
