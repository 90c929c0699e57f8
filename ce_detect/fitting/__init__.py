"""Learning: heads, interventions, layer consistency, the robust copy."""
