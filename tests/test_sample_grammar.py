import pytest

from nlp_rnn import sample_grammar as grammar
from nlp_rnn.sample_grammar import Adverb, Clause, Noun, Phrase, Verb

NOUNS: dict[str, Noun] = {noun.english: noun for noun in grammar.PEOPLE + grammar.OTHERS}
VERBS: dict[str, Verb] = {verb.english: verb for verb in grammar.VERBS}
ADVERBS: dict[str, Adverb] = {adverb.english: adverb for adverb in grammar.ADVERBS}


def phrase(determiner, noun, *, plural=False, adjective=""):
    return Phrase(NOUNS[noun], determiner, plural, adjective)


def clause(subject, verb, *objects, tense="present", negated=False, adverb=None):
    return Clause(subject, VERBS[verb], objects, tense, negated, ADVERBS[adverb] if adverb else None)


@pytest.mark.parametrize(
    ("determiner", "noun", "plural", "forms"),
    [
        ("the", "doctor", False, ("der alte Arzt", "den alten Arzt", "dem alten Arzt")),
        ("the", "woman", False, ("die alte Frau", "die alte Frau", "der alten Frau")),
        ("the", "child", False, ("das alte Kind", "das alte Kind", "dem alten Kind")),
        ("the", "doctor", True, ("die alten Ärzte", "die alten Ärzte", "den alten Ärzten")),
        ("a", "doctor", False, ("ein alter Arzt", "einen alten Arzt", "einem alten Arzt")),
        ("a", "woman", False, ("eine alte Frau", "eine alte Frau", "einer alten Frau")),
        ("a", "child", False, ("ein altes Kind", "ein altes Kind", "einem alten Kind")),
        ("a", "child", True, ("alte Kinder", "alte Kinder", "alten Kindern")),
        ("our", "brother", False, ("unser alter Bruder", "unseren alten Bruder", "unserem alten Bruder")),
        ("my", "sister", False, ("meine alte Schwester", "meine alte Schwester", "meiner alten Schwester")),
        ("his", "house", False, ("sein altes Haus", "sein altes Haus", "seinem alten Haus")),
        ("his", "car", True, ("seine alten Autos", "seine alten Autos", "seinen alten Autos")),
        ("our", "girl", True, ("unsere alten Mädchen", "unsere alten Mädchen", "unseren alten Mädchen")),
    ],
)
def test_german_phrases_agree_in_gender_number_and_case(determiner, noun, plural, forms):
    drawn = phrase(determiner, noun, plural=plural, adjective="old")
    assert tuple(drawn.german(case) for case in ("nominative", "accusative", "dative")) == forms


def test_phrases_without_an_adjective():
    assert phrase("a", "key").german("accusative") == "einen Schlüssel"
    assert phrase("a", "teacher", plural=True).german("dative") == "Lehrern"
    assert phrase("the", "door").german("dative") == "der Tür"


def test_english_phrases():
    assert phrase("a", "apple").english() == "an apple"
    assert phrase("a", "apple", adjective="big").english() == "a big apple"
    assert phrase("a", "cup", adjective="old").english() == "an old cup"
    assert phrase("a", "child", plural=True, adjective="small").english() == "small children"
    assert phrase("my", "friend", plural=True).english() == "my friends"


THE_MAN, THE_BOOK = phrase("the", "man"), phrase("the", "book")
THE_CHILD, THE_DOGS = phrase("the", "child"), phrase("the", "dog", plural=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (clause(THE_MAN, "buy", THE_BOOK), ("The man buys the book.", "Der Mann kauft das Buch.")),
        (
            clause(THE_MAN, "buy", THE_BOOK, adverb="today"),
            ("The man buys the book today.", "Der Mann kauft heute das Buch."),
        ),
        (clause("we", "pick up", THE_CHILD), ("We pick up the child.", "Wir holen das Kind ab.")),
        (clause("I", "invite", THE_MAN), ("I invite the man.", "Ich lade den Mann ein.")),
        (
            clause("she", "pick up", THE_MAN, tense="past", adverb="yesterday"),
            ("She picked up the man yesterday.", "Sie hat gestern den Mann abgeholt."),
        ),
        (clause("they", "arrive", tense="past"), ("They arrived.", "Sie sind angekommen.")),
        (clause("I", "follow", THE_MAN, tense="past"), ("I followed the man.", "Ich bin dem Mann gefolgt.")),
        (
            clause("he", "open", phrase("a", "car"), tense="want"),
            ("He wants to open a car.", "Er will ein Auto aufmachen."),
        ),
        (
            clause(THE_MAN, "give", THE_CHILD, THE_BOOK, tense="can"),
            ("The man can give the child the book.", "Der Mann kann dem Kind das Buch geben."),
        ),
        (
            clause(THE_MAN, "help", THE_CHILD, negated=True),
            ("The man does not help the child.", "Der Mann hilft dem Kind nicht."),
        ),
        (clause("I", "sleep", tense="can", negated=True), ("I cannot sleep.", "Ich kann nicht schlafen.")),
        (
            clause("we", "see", THE_DOGS, tense="past", negated=True),
            ("We did not see the dogs.", "Wir haben die Hunde nicht gesehen."),
        ),
        (
            clause("she", "get up", tense="want", negated=True),
            ("She does not want to get up.", "Sie will nicht aufstehen."),
        ),
    ],
)
def test_statements_put_the_german_verb_second_and_close_the_bracket(given, expected):
    assert grammar.statement(given) == expected


def test_a_fronted_adverb_moves_the_subject_behind_the_verb():
    given = clause(THE_MAN, "lock", phrase("the", "door"), adverb="in the evening")
    assert grammar.fronted(given) == (
        "In the evening the man locks the door.",
        "Am Abend schließt der Mann die Tür ab.",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (clause(THE_MAN, "sleep"), ("Does the man sleep?", "Schläft der Mann?")),
        (clause("they", "work", tense="past"), ("Did they work?", "Haben sie gearbeitet?")),
        (clause("he", "call", THE_MAN, tense="must"), ("Must he call the man?", "Muss er den Mann anrufen?")),
        (clause("I", "laugh", tense="want"), ("Do I want to laugh?", "Will ich lachen?")),
    ],
)
def test_questions_put_the_finite_verb_first(given, expected):
    assert grammar.question(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            clause("he", "pick up", THE_CHILD),
            ("I know that he picks up the child.", "Ich weiß, dass er das Kind abholt."),
        ),
        (
            clause("we", "sell", THE_BOOK, tense="past"),
            ("I know that we sold the book.", "Ich weiß, dass wir das Buch verkauft haben."),
        ),
        (
            clause("I", "bring along", THE_BOOK, tense="must"),
            ("I know that I must bring along the book.", "Ich weiß, dass ich das Buch mitbringen muss."),
        ),
        (
            clause(THE_MAN, "work", negated=True),
            ("I know that the man does not work.", "Ich weiß, dass der Mann nicht arbeitet."),
        ),
    ],
)
def test_subordinate_clauses_put_the_finite_verb_last(given, expected):
    assert grammar.thought(given, "I know") == expected


def test_a_reason_follows_and_a_condition_precedes_with_inversion():
    main, other = clause(THE_MAN, "get up"), clause("we", "call", THE_CHILD, tense="can")
    assert grammar.reason(main, other) == (
        "The man gets up because we can call the child.",
        "Der Mann steht auf, weil wir das Kind anrufen können.",
    )
    assert grammar.condition(main, other) == (
        "If we can call the child, the man gets up.",
        "Wenn wir das Kind anrufen können, steht der Mann auf.",
    )
