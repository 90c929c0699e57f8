"""What is written down of verdicts: the audit log and the quarantine."""
