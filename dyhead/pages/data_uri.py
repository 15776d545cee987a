"""Puts pictures into pages."""

import base64
import io

from PIL import Image

_QUALITY = 85  # of JPEGs


def as_data_uri(picture: Image.Image) -> str:
    """Return a picture as a JPEG that stands in a page itself."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
