"""Verdicts on whole folders and files of images: streamed, resumable, without torch."""
