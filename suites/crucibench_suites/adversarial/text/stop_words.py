"""English words that hold a sentence together, and that an attack leaves alone."""

from __future__ import annotations

_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him
his himself she her hers herself it its itself they them their theirs themselves who
whom whose which what this that these those
"""

_VERBS = """
am is are was were be been being have has had having do does did doing can could may
might must shall should will would ought
"""

_DENIAL = """
no not nor never none nothing neither cannot can't couldn't don't doesn't didn't isn't
aren't wasn't weren't hasn't haven't hadn't won't wouldn't shouldn't mustn't shan't
needn't ain't
"""

_CONTRACTED = """
i'm i've i'll i'd you're you've you'll you'd he's he'll he'd she's she'll she'd it's
it'll we're we've we'll we'd they're they've they'll they'd that's there's here's what's
who's let's
"""

_JOINING = """
a an the and but or if because as until while of at by for with about against between
into through during before after above below to from up down in out on off over under
again further then once here there when where why how all any both each few more most
other some such only own same so than too very just also now
"""

ENGLISH = frozenset(
    word for words in (_PRONOUNS, _VERBS, _DENIAL, _CONTRACTED, _JOINING) for word in words.split()
)
"""Pronouns, articles, conjunctions, auxiliary verbs and negations, in lower case."""


def plain_word(word: str) -> str:
    """Returns a word as lists hold it: in lower case, with straight apostrophes."""
    return word.casefold().replace("\u2019", "'")
