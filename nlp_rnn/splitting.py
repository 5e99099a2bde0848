"""Raw text cut into words that know where they were; TensorFlow operations, in training and serving alike."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text

# All that Python's `str.isspace` takes for white space.
_SPACE = r"[\s\v\x1c-\x1f\x{85}\p{Z}]+"

# Scripts written without spaces: each character is a word. Hangul is written with spaces.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"(?:[^\P{{L}}{_CJK}]\p{{M}}*)"
_ALPHANUMERIC = rf"(?:{_LETTER}|\p{{N}}\p{{M}}*)"

_PICTURE = r"[\x{1F000}-\x{1FAFF}\x{2600}-\x{27BF}\x{2B00}-\x{2BFF}\x{2300}-\x{23FF}]"
_STYLED_PICTURE = rf"{_PICTURE}[\x{{FE0E}}\x{{FE0F}}\x{{20E3}}\x{{1F3FB}}-\x{{1F3FF}}\x{{E0020}}-\x{{E007F}}]*"

# Where an English clitic begins, as treebanks cut it: a code point that is no character, which no text then holds.
_CUT = "\ufdd0"
_CLITIC = r"(?i)(\pL)(n['’]t|['’](?:s|m|d|re|ve|ll))\b"

# The first that matches is taken, so that what is special comes before what is general.
_WORD = "|".join(
    [
        rf"{_CUT}[\pL'’]+",
        r"(?i:https?://|www\.)[^\s\x{FDD0}<>\"]*[^\s\x{FDD0}<>\"'’.,;:!?)\]]",
        r"[\pL\pN._%+-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)+",
        r"[@#][\pL\pM\pN_]+",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",
        rf"{_STYLED_PICTURE}(?:\x{{200D}}{_STYLED_PICTURE})*",
        r"[0-9#*]\x{FE0F}?\x{20E3}",
        rf"[{_CJK}]\p{{M}}*",
        r"\p{Nd}+(?:[.,:]\p{Nd}+)+",
        rf"(?:{_LETTER}\.){{2,}}",
        rf"{_ALPHANUMERIC}+(?:['’]{_LETTER}+)*",
        r"\.{2,}|-{2,}|[!?]{2,}",
        r"(?s:.)\p{M}*",
    ]
)
_ANYTHING = r"(?s:.)+"


class Words(NamedTuple):
    """The words of texts, and where they are.

    Attributes:
        tokens: string (b, None).
        starts: int32 (b, None). Code points before a word, in the text after
            invalid UTF-8 was replaced.
        ends: int32 (b, None). The same of its end, exclusive.
    """

    tokens: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split_words(text: tf.Tensor) -> Words:
    """Cuts texts into words; what lies between two words is white space or nothing.

    A word is a run of letters with their marks and of digits, with inner
    apostrophes; a number with inner points, commas or colons; an abbreviation
    of single letters (U.S.); an address of the web or of mail, an @mention, a
    #hashtag; an emoji with all that belongs to it; a run of points, dashes or
    marks of exclamation and question; a single Han, Hiragana or Katakana
    character; and any other character by itself. English clitics are words of
    their own: do n't, it 's.

    Args:
        text: string (b,). Any bytes; invalid UTF-8, U+0000 and U+FDD0, which are no
            text, are read as U+FFFD.

    Returns:
        Words that are exact parts of the text as it is read.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    text = tf.strings.regex_replace(text, rf"\x00|{_CUT}", "\ufffd")
    marked = tf.strings.regex_replace(text, _CLITIC, rf"\1{_CUT}\2")
    # White space is cut out as well: pieces that make up the whole text say where each one is.
    pieces = tensorflow_text.regex_split(marked, f"{_SPACE}|{_WORD}", _ANYTHING)
    tokens = tf.strings.regex_replace(pieces.values, f"^{_CUT}", "")
    sizes = tf.strings.length(tokens, "UTF8_CHAR")
    before = tf.cumsum(sizes, exclusive=True)
    first = tf.gather(tf.pad(before, [[0, 1]]), pieces.row_starts())
    starts = before - tf.repeat(first, pieces.row_lengths())
    words = pieces.with_values(~tf.strings.regex_full_match(tokens, _SPACE))
    return Words(*(tf.ragged.boolean_mask(pieces.with_values(v), words) for v in (tokens, starts, starts + sizes)))
