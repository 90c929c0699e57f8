"""Files that are whole or not there at all, the cache, and objects by name."""
