"""Images and labels from files, from factories and from memory, in one form."""

from ce_detect.data.images import Images
from ce_detect.data.lazy import Concatenated, Lazy, Mapped, Pixels, chunks, rows
from ce_detect.data.loading import as_images, load_data

__all__ = ["Concatenated", "Images", "Lazy", "Mapped", "Pixels", "as_images", "chunks", "load_data", "rows"]
