"""Which texts name a language: `auto`, or a BCP 47 tag that begins with a code of ISO 639-1 (RFC 5646, section 2.1)."""

import re
from typing import Final

CODES: Final = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el
    en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja
    jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd
    ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss
    st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"""
ISO_639_1: Final = frozenset(CODES.split())
BEYOND: Final = frozenset(("ast", "ceb", "ckb", "cmn", "fil", "haw", "jav", "kea", "luo", "nso", "rup", "umb", "yue"))
"Codes of three letters that recognizers in use have."
TAG: Final = re.compile(r"([A-Za-z]{2,3})([-_][A-Za-z0-9]{2,8}){0,3}")


def known_language(text: str) -> bool:
    """Tell whether a text names a language."""
    if text.lower() == "auto":
        return True
    tag = TAG.fullmatch(text)
    return tag is not None and tag[1].lower() in ISO_639_1 | BEYOND


def usual_spelling(tag: str) -> str:
    """Write the tag of a language as everybody does (RFC 5646, section 2.1.1): `EN_us` is `en-US`."""
    language, *others = tag.replace("_", "-").split("-")
    cased = {2: str.upper, 4: str.title}
    return "-".join([language.lower(), *(cased.get(len(each), str.lower)(each) for each in others)])
