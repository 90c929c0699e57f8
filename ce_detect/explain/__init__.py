"""Why an input was judged as it was: where effects sit, and which interventions carried the score."""
