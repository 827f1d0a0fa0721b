"""The apply side: from groups of changes to redb files, and reading those files.

``Cache`` is what applications use; the rest is the node that keeps the file up to date.
"""

from consumers.cache import Cache
from schemas.position import Position

__all__ = ["Cache", "Position"]
