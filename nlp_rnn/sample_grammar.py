"""A fragment of English and German as a synchronous grammar, behind `sample:translation`.

A clause is first built without any word order (who does what, to whom, when);
`english` and `german` then put it into words. German is laid out by its
sentence bracket: the finite verb comes second, first or last, and what else
belongs to the verb (a prefix, a participle, an infinitive) closes the clause.
"""

from dataclasses import dataclass, replace
from typing import Literal

Case = Literal["nominative", "accusative", "dative"]
Government = tuple[Case, str]
Person = Literal["I", "he", "they"]  # first person singular, third person singular, any plural
Tense = Literal["present", "past", "can", "must", "want"]
Order = Literal["second", "first", "last"]

# The lexicon ---------------------------------------------------------------


@dataclass(frozen=True)
class Noun:
    """A noun; `kinds` says which verbs it can be the object of, and whether it can be owned.

    None is declined weakly (as "der Junge, den Jungen" is).
    """

    english: str
    english_plural: str
    german: str
    german_plural: str
    gender: Literal["masculine", "feminine", "neuter"]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """A verb; `objects` pairs each object's case with the kind of noun it takes.

    `third` and `participle` are German; `prefix` is the separable one, which
    `infinitive` and `third` are given without.
    """

    english: str
    english_third: str
    english_past: str
    infinitive: str
    third: str
    participle: str
    objects: tuple[Government, ...] = ()
    prefix: str = ""
    auxiliary: Literal["haben", "sein"] = "haben"


@dataclass(frozen=True)
class Adverb:
    """An adverb of time or place, with the tenses it goes with."""

    english: str
    german: str
    tenses: tuple[Tense, ...]


PEOPLE = (
    Noun("man", "men", "Mann", "Männer", "masculine", ("person",)),
    Noun("woman", "women", "Frau", "Frauen", "feminine", ("person",)),
    Noun("child", "children", "Kind", "Kinder", "neuter", ("person",)),
    Noun("girl", "girls", "Mädchen", "Mädchen", "neuter", ("person",)),
    Noun("teacher", "teachers", "Lehrer", "Lehrer", "masculine", ("person", "own")),
    Noun("doctor", "doctors", "Arzt", "Ärzte", "masculine", ("person", "own")),
    Noun("friend", "friends", "Freund", "Freunde", "masculine", ("person", "own")),
    Noun("brother", "brothers", "Bruder", "Brüder", "masculine", ("person", "own")),
    Noun("sister", "sisters", "Schwester", "Schwestern", "feminine", ("person", "own")),
    Noun("daughter", "daughters", "Tochter", "Töchter", "feminine", ("person", "own")),
)
OTHERS = (
    Noun("dog", "dogs", "Hund", "Hunde", "masculine", ("thing", "own")),
    Noun("cat", "cats", "Katze", "Katzen", "feminine", ("thing", "own")),
    Noun("book", "books", "Buch", "Bücher", "neuter", ("thing", "gift", "own")),
    Noun("letter", "letters", "Brief", "Briefe", "masculine", ("thing", "gift", "own")),
    Noun("newspaper", "newspapers", "Zeitung", "Zeitungen", "feminine", ("thing", "gift", "own")),
    Noun("apple", "apples", "Apfel", "Äpfel", "masculine", ("thing", "gift", "own")),
    Noun("cup", "cups", "Tasse", "Tassen", "feminine", ("thing", "gift", "own")),
    Noun("picture", "pictures", "Bild", "Bilder", "neuter", ("thing", "gift", "own")),
    Noun("key", "keys", "Schlüssel", "Schlüssel", "masculine", ("thing", "gift", "own")),
    Noun("car", "cars", "Auto", "Autos", "neuter", ("thing", "openable", "own")),
    Noun("house", "houses", "Haus", "Häuser", "neuter", ("thing", "openable", "own")),
    Noun("door", "doors", "Tür", "Türen", "feminine", ("thing", "openable", "own")),
)
ADJECTIVES = {
    "old": "alt",
    "young": "jung",
    "small": "klein",
    "big": "groß",
    "beautiful": "schön",
    "new": "neu",
}
ABOUT_PEOPLE = ("old", "young", "small", "big")
ABOUT_OTHERS = ("old", "small", "big", "beautiful", "new")

PERSON: Government = ("accusative", "person")
THING: Government = ("accusative", "thing")
OPENABLE: Government = ("accusative", "openable")
RECIPIENT: Government = ("dative", "person")
GIFT: Government = ("accusative", "gift")
VERBS = (
    Verb("sleep", "sleeps", "slept", "schlafen", "schläft", "geschlafen"),
    Verb("work", "works", "worked", "arbeiten", "arbeitet", "gearbeitet"),
    Verb("laugh", "laughs", "laughed", "lachen", "lacht", "gelacht"),
    Verb("arrive", "arrives", "arrived", "kommen", "kommt", "angekommen", (), "an", "sein"),
    Verb("get up", "gets up", "got up", "stehen", "steht", "aufgestanden", (), "auf", "sein"),
    Verb("buy", "buys", "bought", "kaufen", "kauft", "gekauft", (THING,)),
    Verb("see", "sees", "saw", "sehen", "sieht", "gesehen", (THING,)),
    Verb("find", "finds", "found", "finden", "findet", "gefunden", (THING,)),
    Verb("look for", "looks for", "looked for", "suchen", "sucht", "gesucht", (PERSON,)),
    Verb("sell", "sells", "sold", "verkaufen", "verkauft", "verkauft", (THING,)),
    Verb("bring along", "brings along", "brought along", "bringen", "bringt", "mitgebracht", (GIFT,), "mit"),
    Verb("open", "opens", "opened", "machen", "macht", "aufgemacht", (OPENABLE,), "auf"),
    Verb("lock", "locks", "locked", "schließen", "schließt", "abgeschlossen", (OPENABLE,), "ab"),
    Verb("pick up", "picks up", "picked up", "holen", "holt", "abgeholt", (PERSON,), "ab"),
    Verb("invite", "invites", "invited", "laden", "lädt", "eingeladen", (PERSON,), "ein"),
    Verb("call", "calls", "called", "rufen", "ruft", "angerufen", (PERSON,), "an"),
    Verb("help", "helps", "helped", "helfen", "hilft", "geholfen", (RECIPIENT,)),
    Verb("thank", "thanks", "thanked", "danken", "dankt", "gedankt", (RECIPIENT,)),
    Verb("follow", "follows", "followed", "folgen", "folgt", "gefolgt", (RECIPIENT,), "", "sein"),
    Verb("give", "gives", "gave", "geben", "gibt", "gegeben", (RECIPIENT, GIFT)),
    Verb("show", "shows", "showed", "zeigen", "zeigt", "gezeigt", (RECIPIENT, GIFT)),
)
TENSES: tuple[Tense, ...] = ("present", "past", "can", "must", "want")
NOW: tuple[Tense, ...] = ("present", "can", "must", "want")
ADVERBS = (
    Adverb("today", "heute", TENSES),
    Adverb("yesterday", "gestern", ("past",)),
    Adverb("now", "jetzt", NOW),
    Adverb("in the evening", "am Abend", TENSES),
    Adverb("on Sunday", "am Sonntag", TENSES),
)
PRONOUNS: dict[str, tuple[str, Person]] = {
    "I": ("ich", "I"),
    "he": ("er", "he"),
    "she": ("sie", "he"),
    "we": ("wir", "they"),
    "they": ("sie", "they"),
}
# What may stand before "that" and "dass".
THOUGHTS = {
    "I know": "ich weiß",
    "he says": "er sagt",
    "she thinks": "sie denkt",
    "we believe": "wir glauben",
    "they hope": "sie hoffen",
}
MODALS: dict[Tense, tuple[str, str]] = {
    "can": ("kann", "können"),
    "must": ("muss", "müssen"),
    "want": ("will", "wollen"),
}
AUXILIARIES: dict[str, dict[Person, str]] = {
    "haben": {"I": "habe", "he": "hat", "they": "haben"},
    "sein": {"I": "bin", "he": "ist", "they": "sind"},
}
POSSESSIVES = {"my": "mein", "his": "sein", "our": "unser"}


# Noun phrases --------------------------------------------------------------

DEFINITE: dict[Case, dict[str, str]] = {
    "nominative": {"masculine": "der", "feminine": "die", "neuter": "das", "plural": "die"},
    "accusative": {"masculine": "den", "feminine": "die", "neuter": "das", "plural": "die"},
    "dative": {"masculine": "dem", "feminine": "der", "neuter": "dem", "plural": "den"},
}
# What "ein", "mein", "sein" and "unser" end in; "ein" has no plural.
EIN_ENDINGS: dict[Case, dict[str, str]] = {
    "nominative": {"masculine": "", "feminine": "e", "neuter": "", "plural": "e"},
    "accusative": {"masculine": "en", "feminine": "e", "neuter": "", "plural": "e"},
    "dative": {"masculine": "em", "feminine": "er", "neuter": "em", "plural": "en"},
}


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; `determiner` is the English one: the, a (nothing in the plural), my, his, our."""

    noun: Noun
    determiner: str
    plural: bool = False
    adjective: str = ""

    @property
    def person(self) -> Person:
        """The verb form that goes with it."""
        return "they" if self.plural else "he"

    def english(self) -> str:
        """Returns the phrase, with `an` before a vowel."""
        words = [self.adjective, self.noun.english_plural if self.plural else self.noun.english]
        rest = " ".join(word for word in words if word)
        if self.determiner != "a":
            return f"{self.determiner} {rest}"
        if self.plural:
            return rest
        return f"an {rest}" if rest[0] in "aeiou" else f"a {rest}"

    def german(self, case: Case) -> str:
        """Returns the phrase in a case."""
        noun = _declined(self.noun, self.plural, case)
        adjective = ADJECTIVES[self.adjective] + self._adjective_ending(case) if self.adjective else ""
        return " ".join(word for word in (self._article(case), adjective, noun) if word)

    def _article(self, case: Case) -> str:
        form = "plural" if self.plural else self.noun.gender
        if self.determiner == "the":
            return DEFINITE[case][form]
        if self.determiner == "a":
            return "" if self.plural else "ein" + EIN_ENDINGS[case][form]
        return POSSESSIVES[self.determiner] + EIN_ENDINGS[case][form]

    def _adjective_ending(self, case: Case) -> str:
        if self.plural and self.determiner == "a":  # no article: the adjective shows the case
            return "en" if case == "dative" else "e"
        if self.plural or case == "dative":
            return "en"
        if self.noun.gender == "masculine" and case == "accusative":
            return "en"
        if self.determiner == "the" or self.noun.gender == "feminine":
            return "e"
        return "er" if self.noun.gender == "masculine" else "es"  # "ein" without an ending does not show the gender


def _declined(noun: Noun, plural: bool, case: Case) -> str:
    if not plural:
        return noun.german
    ending = "n" if case == "dative" and not noun.german_plural.endswith(("n", "s")) else ""
    return noun.german_plural + ending


# Clauses -------------------------------------------------------------------


@dataclass(frozen=True)
class Clause:
    """Who does what, in no order yet. `subject` is a phrase or an English pronoun."""

    subject: Phrase | str
    verb: Verb
    objects: tuple[Phrase, ...] = ()
    tense: Tense = "present"
    negated: bool = False
    adverb: Adverb | None = None

    @property
    def person(self) -> Person:
        """The verb form that goes with the subject."""
        return PRONOUNS[self.subject][1] if isinstance(self.subject, str) else self.subject.person


def english(clause: Clause, *, question: bool = False) -> list[str]:
    """Puts a clause into English words: subject, verb, objects, adverb."""
    subject = clause.subject if isinstance(clause.subject, str) else clause.subject.english()
    helper, verb = _english_verb(clause, needs_helper=question or clause.negated)
    start = [helper, subject] if question else [subject, helper]
    objects = [phrase.english() for phrase in clause.objects]
    adverb = clause.adverb.english if clause.adverb else ""
    return [part for part in (*start, verb, *objects, adverb) if part]


def _english_verb(clause: Clause, *, needs_helper: bool) -> tuple[str, str]:
    """Returns what a question puts first (can, must, do) and the rest of the verb."""
    third = clause.person == "he"
    if clause.tense == "can":
        return ("cannot" if clause.negated else "can"), clause.verb.english
    if clause.tense == "must":
        return "must", clause.verb.english
    wanting = clause.tense == "want"
    if needs_helper:
        do = "did" if clause.tense == "past" else "does" if third else "do"
        base = f"want to {clause.verb.english}" if wanting else clause.verb.english
        return (f"{do} not" if clause.negated else do), base
    if wanting:
        return "", f"{'wants' if third else 'want'} to {clause.verb.english}"
    if clause.tense == "past":
        return "", clause.verb.english_past
    return "", clause.verb.english_third if third else clause.verb.english


def german(clause: Clause, order: Order) -> list[str]:
    """Puts a clause into German words, the finite verb second, first or last."""
    subject = PRONOUNS[clause.subject][0] if isinstance(clause.subject, str) else clause.subject.german("nominative")
    finite, closing = _german_verb(clause)
    middle = [clause.adverb.german] if clause.adverb else []
    middle += [phrase.german(case) for phrase, (case, _) in zip(clause.objects, clause.verb.objects, strict=True)]
    middle += ["nicht"] if clause.negated else []
    close = [closing] if closing else []
    if order == "second":
        return [subject, finite, *middle, *close]
    if order == "first":
        return [finite, subject, *middle, *close]
    if clause.tense == "present":  # a prefix meets its verb again
        return [subject, *middle, closing + finite]
    return [subject, *middle, *close, finite]


def _german_verb(clause: Clause) -> tuple[str, str]:
    """Returns the finite verb and what closes the clause: a prefix, a participle or an infinitive."""
    verb = clause.verb
    if clause.tense == "past":
        return AUXILIARIES[verb.auxiliary][clause.person], verb.participle
    if clause.tense in MODALS:
        singular, plural = MODALS[clause.tense]
        return (plural if clause.person == "they" else singular), verb.prefix + verb.infinitive
    forms: dict[Person, str] = {"I": verb.infinitive[:-1], "he": verb.third, "they": verb.infinitive}
    return forms[clause.person], verb.prefix


# Sentences -----------------------------------------------------------------


def statement(clause: Clause) -> tuple[str, str]:
    """The man buys the book today. / Der Mann kauft heute das Buch."""
    return _sentence(english(clause)), _sentence(german(clause, "second"))


def fronted(clause: Clause) -> tuple[str, str]:
    """Today the man buys the book. / Heute kauft der Mann das Buch."""
    assert clause.adverb is not None
    rest = replace(clause, adverb=None)
    return (
        _sentence([clause.adverb.english, *english(rest)]),
        _sentence([clause.adverb.german, *german(rest, "first")]),
    )


def question(clause: Clause) -> tuple[str, str]:
    """Does the man buy the book? / Kauft der Mann das Buch?"""
    return _sentence(english(clause, question=True), "?"), _sentence(german(clause, "first"), "?")


def thought(clause: Clause, thinker: str) -> tuple[str, str]:
    """I know that the man buys the book. / Ich weiß, dass der Mann das Buch kauft."""
    return (
        _sentence([thinker, "that", *english(clause)]),
        _sentence([f"{THOUGHTS[thinker]},", "dass", *german(clause, "last")]),
    )


def reason(main: Clause, cause: Clause) -> tuple[str, str]:
    """The man laughs because we sleep. / Der Mann lacht, weil wir schlafen."""
    return (
        _sentence([*english(main), "because", *english(cause)]),
        _sentence([f"{' '.join(german(main, 'second'))},", "weil", *german(cause, "last")]),
    )


def condition(main: Clause, premise: Clause) -> tuple[str, str]:
    """If we sleep, the man laughs. / Wenn wir schlafen, lacht der Mann."""
    return (
        _sentence(["if", f"{' '.join(english(premise))},", *english(main)]),
        _sentence(["wenn", f"{' '.join(german(premise, 'last'))},", *german(main, "first")]),
    )


def _sentence(words: list[str], mark: str = ".") -> str:
    text = " ".join(words)
    return text[0].upper() + text[1:] + mark
