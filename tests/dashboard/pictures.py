"""Pictures in PNG that are small enough for a repository: 256 colors are enough for pages."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from playwright.sync_api import Page

_PIXELS = """
async (png) => {
  const bytes = Uint8Array.from(atob(png), (each) => each.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const data = canvas.getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let at = 0; at < data.length; at += 32768) {
    text += String.fromCharCode(...data.subarray(at, at + 32768));
  }
  return [image.width, image.height, btoa(text)];
}
"""
_COLORS = 256
_FREQUENT = 192


def with_few_colors(png: bytes, page: Page) -> bytes:
    """Return the picture with 256 colors; any ``page`` decodes it."""
    width, height, text = page.evaluate(_PIXELS, base64.b64encode(png).decode())
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 4)[:, :3]
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colors, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    values = np.stack([colors >> 16 & 255, colors >> 8 & 255, colors & 255], 1).astype(np.int32)
    kept = _palette(values, counts)
    distances = ((values[:, None, :] - values[kept][None, :, :]) ** 2).sum(2)
    indexed = distances.argmin(1).astype(np.uint8)[places.ravel()].reshape(height, width)
    return _encoded(indexed, values[kept].astype(np.uint8))


def _palette(values: Any, counts: Any) -> Any:
    """The places of the most frequent colors, and of those that are farthest from all of them."""
    kept = list(np.argsort(counts)[::-1][:_FREQUENT])
    nearest = ((values[:, None, :] - values[kept][None, :, :]) ** 2).sum(2).min(1)
    while len(kept) < min(_COLORS, len(values)):
        kept.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((values - values[kept[-1]]) ** 2).sum(1))
    return np.array(kept)


def _encoded(indexed: Any, palette: Any) -> bytes:
    height, width = indexed.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), indexed]).tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
