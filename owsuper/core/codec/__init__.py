"""Between Python values and the JSON that the database keeps.

What goes in: None, bool, int, float, str, list, tuple and dict with str keys; dataclasses,
attrs classes, msgspec Structs and pydantic models; enums (their value), UUID, date, time,
timedelta and aware datetimes (ISO 8601 text) and Decimal (text, so that no digit is lost).
What comes out is plain JSON, converted to the declared type where there is one. Nothing else
goes in: no bytes, no sets, nothing that JSON would have to guess at. A pydantic model is
written as pydantic writes it, by its own rules.
"""

from owsuper.core.codec.conversion import check_type, convert
from owsuper.core.codec.encoding import decode, encode
from owsuper.core.codec.jsonb import as_stored

__all__ = ["as_stored", "check_type", "convert", "decode", "encode"]
