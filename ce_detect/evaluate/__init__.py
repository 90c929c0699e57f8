"""What a detector is worth: metrics, and their report over clean and attacked inputs."""
