"""What is in a text, all of it: bytes that no text has, tags by which YAML makes Python objects, keys of a Keras configuration."""

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass

TAGGED = "it has tags by which a YAML loader would make Python objects"
MIXED = "it begins as text and does not go on as text"
_CONTROLS = [bytes([byte]) for byte in (*range(9), 11, *range(14, 32), 127)]  # sought one by one: that is what is fastest
_OVERLAP = 64
_TAG = re.compile(
    rb"!(?:<(?!/)|(?:p|%70)(?:y|%79)(?:t|%74)(?:h|%68)(?:o|%6[fF])(?:n|%6[eE]))"
)  # "!</" ends an HTML sentence, and is no tag
_KEY = b"class_name"
_ESCAPED = re.compile(rb"\\u00(?:5[fF]|[67])")  # only these spell a letter of that key


@dataclass
class Text:
    """What was found: whether it is text all through, whether it has tags, and whether it may have the key of a Keras layer."""

    plain: bool = True
    tagged: bool = False
    keyed: bool = False


def begins(head: bytes, size: int) -> bool:
    """Whether a file begins as text does; no reader of text goes on where it does not."""
    return read([head[:4096]], ended=size <= 4096).plain


def is_json(head: bytes) -> bool:
    """Whether it begins as JSON does."""
    return head[:4096].removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def read(blocks: Iterable[bytes], *, ended: bool = True) -> Text:
    """Return what is in a text, read to its end even where it is none."""
    found, before, decoder = Text(), b"", codecs.getincrementaldecoder("utf-8")()
    for block in blocks:
        found.plain = found.plain and _is_plain(decoder, block)
        found.tagged = found.tagged or _tagged(before, block)
        found.keyed = found.keyed or _keyed(before, block)
        before = block[-_OVERLAP:]
    found.plain = found.plain and (not ended or _decodes(decoder, b"", final=True))
    return found


def _is_plain(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    return _decodes(decoder, block) and not any(byte in block for byte in _CONTROLS)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    if block.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _tagged(before: bytes, block: bytes) -> bool:
    seam = before + block[:_OVERLAP]
    return any((b"%" in part and b"%TAG" in part) or (b"!" in part and _TAG.search(part) is not None) for part in (seam, block))


def _keyed(before: bytes, block: bytes) -> bool:
    seam = before + block[:_OVERLAP]
    return any((b"_" in part and _KEY in part) or (b"\\" in part and _ESCAPED.search(part) is not None) for part in (seam, block))
