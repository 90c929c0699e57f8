"""From a classifier and interventions to a signature, and how each of its features is computed."""
