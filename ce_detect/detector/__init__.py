"""From a signature to a verdict: head (score), conformal (p-value and threshold), gate (result and policies)."""
