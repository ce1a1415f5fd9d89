"""Whether a name or description tells that a contrast agent was given.

Words count whole: a label such as ``mprageGd`` is taken apart where its letters turn to capitals.
A denial counts for the agent that it stands right before, not for what else a text says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# one description of two series, as "w/ & w/o contrast"
BOTH = (
    r'(?<![a-z])(?:w|with|mit|avec)[\s_]*(?:(?:[&/+]|and|und|et|or)[\s_]*)+'
    r'(?:w[/_ .]?o|without|ohne|sans)(?![a-z])'
)
# shorthand and the words that it stands for, in the order in which they are looked for
SHORTHAND = tuple(
    (re.compile(pattern, re.IGNORECASE), f' {meaning} ')
    for pattern, meaning in (
        (BOTH, 'with'),
        (r'(?<![a-z])w[/_ .]o(?![a-z])|(?<![a-z])o\.\s?(?=km)', 'without'),
        (r'(?<![a-z])-\s?c(?:ontrast)?(?![a-z])', 'without contrast'),
        (r'(?<![a-z0-9])(?:c|km|gd)-(?![a-z0-9])', ''),
        (r'\+\s?[ck](?![a-z])|(?<![a-z0-9])(?:c\+(?![a-z0-9])|t1cm?(?![a-z]))', 'with contrast'),
        (r'(?<![a-z])w/\s?c(?![a-z])', 'with contrast'),
        (r'(?<![a-z0-9])(?:w/\s?|(?:w|iv)[ _])con(?![a-z])', 'with contrast'),
        (r'(?<![a-z0-9])w(?:/|[ _](?=contrast|gd|gad))', 'with'),
        (r'(?<![a-z0-9])[ck]\.\s?m(?![a-z])|(?<![a-z])m\.d\.c(?![a-z])', 'km'),
    )
)
RUN = re.compile(r'\+|[^\W\d_]+|[0-9]+')
PIECE = re.compile(r'\+|[A-Z]+(?![a-zäöüéè])|[A-Z]?[a-zäöüéè]+|[0-9]+')

CONTRAST = re.compile(r'contraste?|kontrast(?:em)?')  # of an agent, or of an image
SUBSTANCE = re.compile(
    r'gd|gad|gad[oa][a-z]*|gbca|ce|km|cm|mdc|inj|inje[ck]t[a-zé]*|kontrastm[a-z]*|enhanced'
    r'|dotarem|magnevist|prohance|multihance|omniscan|optimark|clariscan|primovist|eovist|vueway'
    r'|elucirem|artirem|pixxoscan|vasovist|ablavar|feraheme'
)
SHORT = r'(?:gd|gado?|km|post(?:c|con|contraste?|gad|gd|km)?)'
SEQUENCES = (
    r'(?:t|d|w|fs|ax|axial|sag|cor|tra|rage|mprage|mpr|tse|fse|se|gre|f?spgr|bravo|vibe|space'
    r'|cube|vista|tfe|ffe|flair|iso)+'
)
JOINED = re.compile(
    rf'post(?:con|contraste?|gad|gd|km)|{SEQUENCES}{SHORT}|{SHORT}{SEQUENCES}'
    r'|(?:with|mit|w|iv)(?:contraste?|gd|gad|km)'
)
# right before an agent: there is none, or it has not been given yet
DENIAL = re.compile(
    r'no|non|not|un|without|wo|ohne|kein[a-z]*|sans|sin|senza|zonder|sem|utan|uden|bez|pre|prior'
    r'|before|vor|avant|nativ[a-z]*'
)
FILLING = {'iv', 'i', 'v', 'to', 'the', 'any', 'of', 'agent', 'medium', 'media', 'material'}
# how fields and labels for the agent begin that name none
NO_AGENT = re.compile(
    r'[nx]|na|nil|none|null|nein|false|off|unknown|unspecified|plain|placebo|saline'
    r'|(?:no|non|pre)(?:gd|gad[a-z]*|contrast)'
)
NONE = {'none', 'nil', 'nein', 'keine', 'keines', 'nativ', 'native'}
AT_THE_END = {'no', 'non', 'off', 'false'}
# beside "contrast" some words make it that of an agent, and others that of an image
WITH = {
    'z', 'com', 'met', 'with', 'mit', 'avec', 'con', 'post', 'after', 'following', 'nach', 'après',
    '+', 'iv',
}  # fmt: skip
GIVEN = {'enhanced', 'enhancement', 'given', 'agent', 'medium', 'media', 'material'}
OF_IMAGES = {
    'multi', 'tissue', 'image', 'high', 'low', 'phase', 'magnetization', 'best', 'good', 'better',
    'grey', 'gray', 'white', 'matter', 'soft', 'dual', 'max', 'edge', 'resolution', 'snr',
    'signal', 'optimized', 'optimised', 'improved', 'mt', 'dl', 'ai', 'cognition', 'deep',
}  # fmt: skip
# what may follow an agent, and tells nothing of it
FOLLOWING = re.compile(
    r'[0-9]+|[a-z]|mm|ax|axial|sag|sagittal|cor|coronal|tra|trans|fs|fatsat|run|iso'
)
# beside these "post" is the time after something else
OTHER_POST = re.compile(
    r'op|proc|process|surg|treat|rt|rx|tx|chemo|ictal|mortem|natal|trauma|stroke|interv|resect'
    r'|biops|partum|radi|emboli|implant|exerc|covid|vacc|tms|ect|tbi|inj'
)
TIME = re.compile(r'stealth|brainlab|op|days?|weeks?|wks?|months?|mo|years?|yrs?|hours?')


def names_agent(text: str) -> bool:
    """Whether a name or description tells that a contrast agent was given.

    Parameters
    ----------
    text
        Description of a series, label of an entity, or name of a file.
    """
    words = _words_in(text)
    return any(
        _is_agent(words[:number], word, words[number + 1 :])
        and not _is_denied(words[:number], word, words[number + 1 :])
        for number, word in enumerate(words)
    )


def denies_agent(text: str) -> bool:
    """Whether what stands in a field for the agent says that there was none, or nothing at all.

    Parameters
    ----------
    text
        Value of a field or label such as ``Not given``, ``-`` or ``nogd``.
    """
    first = next(iter(_words_in(text)), '')
    is_nothing = not first or not text.strip('0. ')
    return is_nothing or bool(DENIAL.fullmatch(first) or NO_AGENT.fullmatch(first.lower()))


def _words_in(text: str) -> list[str]:
    """List the words of a text in small letters, with shorthand written out."""
    for shorthand, meaning in SHORTHAND:
        text = shorthand.sub(meaning, text)
    pieces = ([run] if _is_word(run.lower()) else PIECE.findall(run) for run in RUN.findall(text))
    return [piece.lower() for words in pieces for piece in words]


def _is_word(word: str) -> bool:
    """Whether a word may mean an agent; capitals do not divide it then."""
    return any(kind.fullmatch(word) for kind in (SUBSTANCE, JOINED, CONTRAST))


def _is_agent(before: Sequence[str], word: str, after: Sequence[str]) -> bool:
    """Whether a word means an agent, with what stands before and after it."""
    last, following = (before or [''])[-1], (after or [''])[0]
    if word == 'post':
        return not (TIME.fullmatch(last) or _is_of_time(*(*after, '', '')[:2]))
    if word == 'cm':
        return not last.isdigit() or [*before[-2:-1]] == ['t']  # 5 cm, but T1 cm
    if word == 'enhanced':
        return last not in OF_IMAGES and following != 'mr'
    if CONTRAST.fullmatch(word):
        is_told = last in WITH or following in GIVEN or all(map(FOLLOWING.fullmatch, after))
        return is_told and last not in OF_IMAGES
    return _is_word(word)


def _is_of_time(following: str, second: str) -> bool:
    """Whether two words after "post" tell that it is the time after something else."""
    is_span = following.isdigit() and TIME.fullmatch(second)  # post 6 months
    has_no_agent = DENIAL.fullmatch(following) and _is_filling(second)  # post without contrast
    return bool(is_span or has_no_agent or OTHER_POST.match(following))


def _is_denied(before: Sequence[str], word: str, after: Sequence[str]) -> bool:
    """Whether what stands right before an agent, or right after it, says that there is none."""
    *earlier, preceding = ['', *(x for x in before if not _is_filling(x))]
    following = [x for x in after if not _is_filling(x)]
    if preceding == 'post' and word != 'post':  # "no post contrast"
        preceding = earlier[-1]
    if following[:1] and following[0] in NONE:
        return True
    if len(following) == 1 and following[0] in AT_THE_END:
        return True
    # "pre post" are both
    is_both = word.startswith('post') and preceding in ('pre', 'nativ')
    return bool(DENIAL.fullmatch(preceding)) and not is_both


def _is_filling(word: str) -> bool:
    """Whether a word may stand between an agent and its denial."""
    return word in FILLING or bool(SUBSTANCE.fullmatch(word) or CONTRAST.fullmatch(word))
