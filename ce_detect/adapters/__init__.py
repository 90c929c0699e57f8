"""The detector under the interfaces of other libraries; each module imports its host, so import the one you need."""
