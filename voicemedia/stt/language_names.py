"""Other names of languages, as some services write them, and the codes (ISO 639-1) that everybody reads."""

from typing import Final

from voicemedia.stt.spoken import WHISPER

NAMES: Final = """
    english chinese german spanish russian korean french japanese portuguese turkish polish catalan dutch arabic
    swedish italian indonesian hindi finnish vietnamese hebrew ukrainian greek malay czech romanian danish hungarian
    tamil norwegian thai urdu croatian bulgarian lithuanian latin maori malayalam welsh slovak telugu persian latvian
    bengali serbian azerbaijani slovenian kannada estonian macedonian breton basque icelandic armenian nepali mongolian
    bosnian kazakh albanian swahili galician marathi punjabi sinhala khmer shona yoruba somali afrikaans occitan
    georgian belarusian tajik sindhi gujarati amharic yiddish lao uzbek faroese haitian_creole pashto turkmen nynorsk
    maltese sanskrit luxembourgish myanmar tibetan tagalog malagasy assamese tatar hawaiian lingala hausa bashkir
    sundanese cantonese"""
"As openai/whisper answers, in the order of `WHISPER`."
THREE_LETTERS: Final = """
    eng zho deu spa rus kor fra jpn por tur pol cat nld ara swe ita ind hin fin vie heb ukr ell msa ces ron dan hun
    tam nor tha urd hrv bul lit lat mri mal cym slk tel fas lav ben srp aze slv kan est mkd bre eus isl hye nep mon
    bos kaz sqi swa glg mar pan sin khm sna yor som afr oci kat bel tgk snd guj amh yid lao uzb fao hat pus tuk nno
    mlt san ltz mya bod tgl mlg asm tat haw lin hau bak sun yue"""
"ISO 639-3, as ElevenLabs answers, in the same order."
CODES: Final = {
    **dict(zip(NAMES.split(), WHISPER, strict=True)),
    **dict(zip(THREE_LETTERS.split(), WHISPER, strict=True)),
    **{"ful": "ff", "lug": "lg", "ibo": "ig", "gle": "ga", "jav": "jv", "kur": "ku", "kir": "ky", "nya": "ny"},
    **{"ori": "or", "ory": "or", "cmn": "zh", "xho": "xh", "zul": "zu", "wol": "wo"},
}


def code_of(language: str | None) -> str:
    """Write a language as its code; what has none stays as it is."""
    name = (language or "").strip()
    return CODES.get(name.lower().replace(" ", "_"), name)
