"""Korean writes particles to a noun without a space: 낙타 (camel) is said in 낙타는, 낙타를 and 낙타입니다."""

from functools import lru_cache

import regex

NUMERALS = "십백천만억조경"
"""Signs that make the number before them a larger one; any other word after a number says what is counted."""

# First particles, by what the noun ends in. The copula and its endings are among them.
_CONSONANT = (
    "은 이 을 과 아 으로 으로서 으로써 이랑 이나 이라도 이든지 이여 이야 이며 이고 이다 이라 이라고 이라는 이란 이지만 "
    "이었다 이었습니다 이었어요 이었던 이었고 이에요 이네요 이죠 이지요 이라서"
)  # fmt: skip
_VOWEL = "는 가 를 와 여 로 로서 로써 랑 라도 든지 라고 라는 란 지만 였다 였습니다 였어요 였던 였고 예요 네요 죠 라서"
_RIEUL = "로 로서 로써"  # ㄹ takes these as a vowel does
_LONG_NOUN = "다 나 야 며 고"  # after a noun of one syllable they are more often another word (바다, the sea)
_EITHER = (
    "의 에 에서 에게 에게서 께 께서 한테 한테서 도 만 까지 부터 마다 조차 마저 밖에 처럼 같은 같이 보다 만큼 뿐 대로 "
    "하고 인 입니다 입니까 이다 이었다 이었습니다 이에요 이라는 이라고"
)
_SECOND = "은 는 이 가 을 를 의 도 만 까지 부터 조차 마저 나 이나 라도 이라도 로 으로 이다 이었다 입니다 이에요 였다"
_PLURAL = "들"
_SYLLABLES = 0xAC00, 0xD7A3
_FINALS = 28  # a syllable's code counts its final consonants, of which the first is none
_RIEUL_FINAL = 8


@lru_cache(maxsize=1024)
def particles(noun: str) -> str:
    """Return a pattern of what may stand after a noun, nothing included."""
    final = _final(noun[-1:])
    if final is None:
        first = f"{_CONSONANT} {_VOWEL}"  # Latin letters: how they are pronounced is not written
    elif final:
        first = f"{_CONSONANT} {_RIEUL}" if final == _RIEUL_FINAL else _CONSONANT
    else:
        first = f"{_VOWEL} {_LONG_NOUN}" if len(noun) > 1 else _VOWEL
    return f"(?:{_chain(first)}|{_PLURAL}(?:{_chain(f'{_CONSONANT} {_RIEUL}')})?)?"


def _chain(first: str) -> str:
    return f"(?:{_any(f'{first} {_EITHER}')})(?:{_any(_SECOND)})?"


def _any(words: str) -> str:
    return "|".join(map(regex.escape, words.split()))


def _final(sign: str) -> int | None:
    """Return the number of a syllable's final consonant, 0 for none; None for what is no Hangul syllable."""
    begin, end = _SYLLABLES
    return (ord(sign) - begin) % _FINALS if sign and begin <= ord(sign) <= end else None
