"""Raw text cut into words that know where they were; TensorFlow operations, in training and serving alike."""

from typing import NamedTuple

import tensorflow as tf

from nlp_rnn.text import WHITE_SPACE

_SPACE = rf"[{WHITE_SPACE}]+"

# Scripts written without spaces: each character is a word. Hangul is written with spaces.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTERS = rf"[^\P{{L}}{_CJK}]"
# What a word is made of; joiners and the soft hyphen stand within words.
_ALPHANUMERICS = rf"(?:{_LETTERS}|[\p{{N}}\p{{M}}\x{{200C}}\x{{200D}}\x{{AD}}])+"

# Latin, Greek and Cyrillic.
_INITIAL = r"[A-Za-z\x{C0}-\x{52F}]"

_PICTURE = r"[\x{1F000}-\x{1FAFF}\x{2600}-\x{27BF}\x{2B00}-\x{2BFF}\x{2300}-\x{23FF}]"
_STYLED_PICTURE = rf"{_PICTURE}[\x{{FE0E}}\x{{FE0F}}\x{{20E3}}\x{{1F3FB}}-\x{{1F3FF}}\x{{E0020}}-\x{{E007F}}]*"

# A code point that is no character, and which no text then holds, stands where words end. It first marks where
# treebanks cut English words in two: do n't, can not, 5 pm, # 1.
_CUT = "\ufdd0"
_NOT_A_LETTER = r"([^\pL\pM\pN]|\z)"
_CLITIC = rf"(?i)(?:([\pL\pM])(n['’]t|['’](?:s|m|d|re|ve|ll))|(\p{{Nd}})([ap]m)){_NOT_A_LETTER}"
_TWO_WORDS = r"(?i)\b(?:(can)(not)|(gon|wan|got)(na|ta))\b|\B(#)([0-9]+)\b"

# English words with a point of their own, and prefixes that keep their hyphen; other compounds are cut at hyphens.
_ABBREVIATIONS = (
    "Mrs?|Ms|Dr|Prof|St|Jr|Sr|Rev|Hon|Gov|Sen|Rep|Gen|Lt|Col|Maj|Capt|Sgt|Inc|Corp|Co|Ltd|Bros|Dept|Univ|Ave|Blvd|Rd|Ft"
    "|Mt|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu(?:rs)?|Fri|[Vv]s|[Cc]f|[Aa]pprox|[Ee]xt"
)
_PREFIXES = (
    "anti|bi|bio|co|counter|cyber|de|e|eco|ex|extra|hyper|inter|intra|macro|mega|micro|mid|mini|mis|mono|multi|neo|non"
    "|pan|para|post|pre|pro|pseudo|quasi|re|semi|sub|super|tri|ultra|un|uni|vice"
)

# The first that matches is taken, so that what is special comes before what is general. There are few classes of
# Unicode in it: RE2 makes no fast automaton of a larger pattern, which takes some hundred times as long, first of all
# in large scripts.
_WORD = "|".join(
    [
        rf"{_CUT}(?i:n['’]t|['’]?[a-z]+)",
        rf"(?i:(?:https?|ftp)://|www\.)[^{WHITE_SPACE}{_CUT}<>\"]*[^{WHITE_SPACE}{_CUT}<>\"'’.,;:!?)\]]",
        # Few parts before the @, or else texts such as a-a-a-… would be read to their end once for each word.
        r"\w+(?:[.%+-]+\w+){0,4}[.%+-]*@\w+(?:[.-]+\w+)*",
        r"[0-9#*]\x{FE0F}?\x{20E3}",
        r"[@#][\pL\pM\pN_]+",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",
        rf"{_STYLED_PICTURE}(?:\x{{200D}}{_STYLED_PICTURE})*",
        r"[:;=][-'^]?(?:[()]+|[DPp]\b)|\^_+\^|<3\b",
        rf"[{_CJK}]\p{{M}}*",
        r"\p{Nd}+(?:(?:[.,:/]\p{Nd}+)+|-[0-9]+(?:-[0-9]+)+)",
        rf"(?:{_INITIAL}\.){{2,}}(?:[A-Z]\b)?|(?:{_ABBREVIATIONS}|[A-HJ-Z])\.\B",
        r"[A-Z]+(?:&[A-Z]+)+\b",
        rf"(?:(?i:{_PREFIXES})-)?{_ALPHANUMERICS}(?:(?:['’]|_+){_ALPHANUMERICS}|\.[a-z0-9]\w*)*",
        r"[.!?]{2,}|[-=_*~+<>|^]{2,}|'{2,}|[‘’]{2,}|`{2,}|\${2,}",
        r"(?s:.)\p{M}*",
    ]
)


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
    apostrophes, underscores and points before small letters (file.txt); a
    number with inner points, commas, colons, slashes or several hyphens
    (8/16/2000, 713-853-3989); an abbreviation (U.S., Mr., PG&E); an address
    of the web or of mail, an @mention, a #hashtag; an emoji with all that
    belongs to it, or an emoticon; a run of points, dashes, quotes and the
    like; a single Han, Hiragana or Katakana character; and any other
    character by itself. Other scripts without spaces, such as Thai, are not
    cut at all.

    English is cut as its treebanks do: clitics are words of their own (do
    n't, it 's, can not), compounds are cut at hyphens unless they begin with
    a prefix (15 - year, but co-worker). Of the words of Universal
    Dependencies' English Web Treebank, development part, it finds 99.1 %
    (F1) at their places.

    Args:
        text: string (b,). Any bytes; invalid UTF-8, U+0000 and U+FDD0, which are no
            text, are read as U+FFFD.

    Returns:
        Words that are exact parts of the text as it is read.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    text = tf.strings.regex_replace(text, rf"\x00|{_CUT}", "\ufffd")
    marked = tf.strings.regex_replace(text, _TWO_WORDS, rf"\1\3\5{_CUT}\2\4\6")
    for _ in range(2):  # the second one of two clitics begins where the first one ends: would n't 've
        marked = tf.strings.regex_replace(marked, _CLITIC, rf"\1\3{_CUT}\2\4\5")
    # A cut behind every word and every stretch of white space: the pieces make up the whole text and say where each is.
    pieces = tf.strings.split(tf.strings.regex_replace(marked, f"{_SPACE}|{_WORD}", rf"\0{_CUT}"), _CUT)
    rows, count = pieces.value_rowids(), tf.shape(text)[0]
    sizes = tf.strings.length(pieces.values, "UTF8_CHAR")
    before = tf.cumsum(sizes, exclusive=True)
    starts = before - tf.gather(tf.math.unsorted_segment_min(before, rows, count), rows)
    is_word = ~tf.strings.regex_full_match(pieces.values, f"(?:{_SPACE})?")
    # One search for the words, of which all three outputs are made.
    kept = tf.where(is_word)[:, 0]
    lengths = tf.math.unsorted_segment_sum(tf.cast(is_word, tf.int64), rows, count)
    tokens = tf.RaggedTensor.from_row_lengths(tf.gather(pieces.values, kept), lengths, validate=False)
    return Words(tokens, *(tokens.with_values(tf.gather(values, kept)) for values in (starts, starts + sizes)))
