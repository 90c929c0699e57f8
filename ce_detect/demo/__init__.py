"""The classifier and the images that come with ce-detect."""
