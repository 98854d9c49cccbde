"""Conversion between Python values and the JSON in the database.

These values can be stored: None, bool, int, float, str, list, tuple, and dict with str keys;
dataclasses, attrs classes, msgspec Structs and pydantic models; enums (as their value), UUID,
date, time, timedelta and aware datetimes (as ISO 8601 text), and Decimal (as text, so that no
digit is lost). Bytes, sets and other objects cannot. A pydantic model is written by pydantic's
own rules. A value that is read is plain JSON, or of the declared type if there is one.
"""

from owsuper.core.codec.conversion import check_type, convert
from owsuper.core.codec.encoding import decode, encode
from owsuper.core.codec.jsonb import as_stored
from owsuper.core.codec.storing import encode_as

__all__ = ["as_stored", "check_type", "convert", "decode", "encode", "encode_as"]
