"""The languages that models say they hear, as ISO 639 codes; a session that asks for another is told at once.

Google's depend on model and location, and a server behind `grpc` has its own: they say what they do not hear.
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


def first(language: str, spoken: tuple[str, ...]) -> tuple[str, ...]:
    """Put the configured language, which is what a session falls back to, in front."""
    return (language, *(code for code in spoken if code != language)) if language else spoken
