"""What is on disk: the artifact, its manifest, packed weights, the format of exported graphs."""
