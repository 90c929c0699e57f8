"""Are query attacks seen by what they send, how soon, and who else is taken for an attacker?

    CE_DETECT_DATA=... python -m benchmarks.queries.queries

`attacks` records real attacks as a server sees them, `oars` is an attacker who knows of the detector, `natural` is
everybody else.
"""
