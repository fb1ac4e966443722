"""Image sets as uint8 arrays: scikit-learn's digits, folders, archives, `.npz`, Parquet, TFDS sets."""

from snjax.data.image_set import ImageSet, ImageSource, class_histogram
from snjax.data.lazy_images import LazyImages
from snjax.data.sets import find, load

__all__ = ['ImageSet', 'ImageSource', 'LazyImages', 'class_histogram', 'find', 'load']
