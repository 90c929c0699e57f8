"""Which interventions are worth their cost."""
