"""A Whisper model of our own making, in the format of CTranslate2: it says a sentence, whatever it hears.

Nobody's weights are needed to try the real library: every layer is zero but for the decoder's positions, so the token
said at a position depends on the position alone. It is an English-only model, which is asked for no language.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

WIDTH: Final = 32
"Of all vectors."
MELS: Final = 80
CONTEXT: Final = 448
FRAMES: Final = 1500
WORD_FRAMES: Final = 25
LANGUAGES: Final = ("en", "fr")


def merges_of(sentence: str) -> list[tuple[str, str]]:
    """Let each word be one token, built letter by letter; a bare space is none that faster-whisper lets a model say."""
    words = ["\u0120" + word for word in sentence.split()]
    return list(dict.fromkeys((word[:at], word[at]) for word in words for at in range(1, len(word))))


def vocabulary(merges: list[tuple[str, str]]) -> list[str]:
    """List the tokens: bytes, parts of words, the marks, then the times in steps of 20 ms."""
    marks = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe", "startoflm", "startofprev"]
    marks += ["nospeech", "notimestamps"]
    times = [f"{step * 0.02:.2f}" for step in range(1501)]
    letters = sorted(import_module("tokenizers.pre_tokenizers").ByteLevel.alphabet())
    return letters + [first + second for first, second in merges] + [f"<|{name}|>" for name in (*marks, *times)]


def write_tokenizer(tokens: list[str], merges: list[tuple[str, str]], folder: Path) -> Any:
    """Write `tokenizer.json`."""
    library = import_module("tokenizers")
    model = library.models.BPE({token: number for number, token in enumerate(tokens)}, merges)
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    marks = (token for token in tokens if token.startswith("<|"))
    tokenizer.add_special_tokens([library.AddedToken(mark, special=True) for mark in marks])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_model(folder: Path, sentence: str, *, end_s: float) -> None:
    """Write a model that says a sentence from 0 to `end_s`."""
    merges = merges_of(sentence)
    tokens = vocabulary(merges)
    tokenizer = write_tokenizer(tokens, merges, folder)
    number = {token: at for at, token in enumerate(tokens)}
    said = [
        number["<|0.00|>"],
        *tokenizer.encode(f" {sentence}").ids,
        number[f"<|{end_s:.2f}|>"],
        number["<|endoftext|>"],
    ]
    spec = import_module("ctranslate2.specs.whisper_spec").WhisperSpec(1, 2, 1, 2)
    positions = _signs(CONTEXT)
    projection = np.zeros((len(tokens), WIDTH), np.float32)
    for at, token in enumerate(said):
        projection[token] += 2 * positions[at]
    decoder, encoder = spec.decoder, spec.encoder
    decoder.position_encodings.encodings = positions
    decoder.projection.weight = projection
    decoder.embeddings.weight = np.zeros((len(tokens), WIDTH), np.float32)
    # The word at a position attends to a half second of its own, which is how faster-whisper finds its time.
    encoder.position_encodings.encodings = positions[1 + np.arange(FRAMES) // WORD_FRAMES]
    encoder.conv1.weight, encoder.conv1.bias = _zeros(WIDTH, MELS, 3), _zeros(WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = _zeros(WIDTH, WIDTH, 3), _zeros(WIDTH)
    for side in (encoder, decoder):
        _norm(side.layer_norm)
        for layer in side.layer:
            _attention(layer.self_attention, 3, 1)
            if side is decoder:
                _attention(layer.attention, 1, 2, 1)
                for linear in layer.attention.linear[:2]:
                    linear.weight[:WIDTH] = 3 * np.eye(WIDTH)
            _norm(layer.ffn.layer_norm)
            _linear(layer.ffn.linear_0, 4 * WIDTH, WIDTH)
            _linear(layer.ffn.linear_1, WIDTH, 4 * WIDTH)
    spec.register_vocabulary(tokens)
    config = spec.config
    config.suppress_ids, config.suppress_ids_begin = [], [number["<|endoftext|>"]]
    config.lang_ids = [number[f"<|{each}|>"] for each in LANGUAGES]
    config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))


def _signs(rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Make vectors that are unlike one another, and that layer norms leave as they are."""
    random = np.random.default_rng(0)
    row = np.repeat([1, -1], WIDTH // 2)
    return np.stack([random.permutation(row) for _ in range(rows)]).astype(np.float32)


def _zeros(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.zeros(shape, np.float32)


def _norm(norm: Any) -> None:
    norm.gamma, norm.beta = np.ones(WIDTH, np.float32), _zeros(WIDTH)


def _linear(linear: Any, rows: int, columns: int) -> None:
    linear.weight, linear.bias = _zeros(rows, columns), _zeros(rows)


def _attention(attention: Any, *rows: int) -> None:
    _norm(attention.layer_norm)
    for linear, times in zip(attention.linear, rows, strict=True):
        _linear(linear, times * WIDTH, WIDTH)
