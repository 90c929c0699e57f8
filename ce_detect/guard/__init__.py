"""The front door, and what it shows on its own model and images."""
