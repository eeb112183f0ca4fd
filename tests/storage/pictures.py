"""Pictures made up for the tests, as the bytes that somebody would upload."""

from io import BytesIO
from typing import Any

from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(width: int = 1000, height: int = 500, format: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """A picture of one colour, red where the mode has colours."""
    colours: dict[str, Any] = {"RGB": RED, "RGBA": (*RED, 255), "CMYK": (0, 255, 255, 0), "I;16": 40_000}
    return saved(Image.new(mode, (width, height), colours.get(mode, 1)), format, **options)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, format, **options)
    return written.getvalue()


def opened(data: bytes) -> Image.Image:
    """Decode it, all of it."""
    image = Image.open(BytesIO(data))
    image.load()
    return image
