"""Files that are whole or not there at all, one content-addressed cache, and objects by name."""
