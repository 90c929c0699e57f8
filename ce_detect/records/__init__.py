"""What is written down of verdicts: the audit log, the quarantine, and the store of reviews."""
