"""The languages that models say they hear, as ISO 639 codes; a session that asks for another is told at once.

Which of Google's a model hears in a location, Google itself says; a server behind `grpc` has its own.
"""

from typing import Final

WHISPER_CODES: Final = """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
    mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be
    tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba su yue"""
WHISPER: Final = tuple(WHISPER_CODES.split())
"`LANGUAGES` of openai/whisper's tokenizer.py; English-only models, named `*.en`, hear the first."
SCRIBE_CODES: Final = """
    en af am ar hy as ast az be bn bs bg my yue ca ceb ny hr cs da nl et fil fi fr ff gl lg ka de el gu ha he hi
    hu is ig id ga it ja jv kea kn kk km ko ku ky lo lv ln lt luo lb mk ms ml mt zh cmn mi mr mn ne nso no oc or
    ps fa pl pt pa ro ru sr sn sd sk sl so es sw sv ta tg te th tr uk umb ur uz vi cy wo xh zu"""
SCRIBE: Final = tuple(SCRIBE_CODES.split())
"elevenlabs.io/docs, models: Scribe."
GOOGLE_CODES: Final = """
    en-US af-ZA am-ET ar-EG az-AZ bg-BG bn-BD bs-BA ca-ES cmn-Hans-CN cs-CZ da-DK de-DE el-GR es-ES et-EE eu-ES fa-IR
    fi-FI fil-PH fr-FR gl-ES gu-IN hi-IN hr-HR hu-HU hy-AM id-ID is-IS it-IT iw-IL ja-JP jv-ID ka-GE kk-KZ km-KH kn-IN
    ko-KR lo-LA lt-LT lv-LV mk-MK ml-IN mn-MN mr-IN ms-MY my-MM ne-NP nl-NL no-NO pa-Guru-IN pl-PL pt-BR ro-RO ru-RU
    rw-RW si-LK sk-SK sl-SI sq-AL sr-RS ss-Latn-ZA st-ZA su-ID sv-SE sw-KE ta-IN te-IN th-TH tn-Latn-ZA tr-TR ts-ZA
    uk-UA ur-PK uz-UZ ve-ZA vi-VN xh-ZA yue-Hant-HK zu-ZA"""
GOOGLE: Final = {
    **{code.partition("-")[0]: code for code in GOOGLE_CODES.split()},
    # What everybody else calls them.
    **{"he": "iw-IL", "nb": "no-NO", "tl": "fil-PH", "zh": "cmn-Hans-CN"},
}
"cloud.google.com/speech-to-text/docs, languages: the region meant where a session names none."


def hears(spoken: tuple[str, ...], wanted: str) -> bool:
    """Tell whether a recognizer that lists these languages hears one; none listed: it does not say, and may."""
    return not spoken or wanted in ("", "auto") or wanted.split("-")[0] in {code.split("-")[0] for code in spoken}


def first(language: str, spoken: tuple[str, ...]) -> tuple[str, ...]:
    """Put the configured language, which is what a session falls back to, in front; the model finds out any of them."""
    spoken = (*spoken, "auto")
    if language in ("", "auto"):
        return spoken
    return (language, *(code for code in spoken if code != language))
