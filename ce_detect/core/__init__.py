"""What every room stands on: errors, types, optional dependencies, the version."""
