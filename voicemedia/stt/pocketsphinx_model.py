"""What the acoustic model knows of speech, read from its own files: which spectra a voice makes, and which not.

Its 5376 Gaussians (128 for each phone; cepstra of many hours of human speech) are taken as one mixture. Of part of
a spectrum the mixture tells how the whole will look, and so by how much a line or a voice differs from what is
usual for the very sounds that are being said. Nothing is trained, and no data other than the model is needed.
"""

import struct
from functools import cache
from typing import Final

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

Block = NDArray[np.float64]

FILTERS: Final = 25
CEPSTRA: Final = 13
LIFTER: Final = 22
DOUBT: Final = 0.6
"Added to the variance of an energy (log) that is heard: keeps an estimate from leaning on small differences."
TEMPER: Final = 0.3
"Power of the likelihoods: neighboring energies err together, and are no 20 or 25 witnesses."
EACH: Final = 4
"One of so many Gaussians is taken: a quarter of the time, and the same is heard."


@cache
def to_cepstra() -> Block:
    """Return the matrix from log energies to liftered cepstra."""
    order = np.arange(CEPSTRA)[:, None]
    cosines = np.sqrt(2 / FILTERS) * np.cos(np.pi * order * (np.arange(FILTERS) + 0.5) / FILTERS)
    cosines[0] = np.sqrt(1 / FILTERS)
    return np.asarray(cosines * (1 + LIFTER / 2 * np.sin(order * np.pi / LIFTER)))


@cache
def to_energies() -> Block:
    """Return the matrix from liftered cepstra to (smooth) log energies."""
    return np.asarray(np.linalg.pinv(to_cepstra()), float)


def _gaussians(name: str) -> Block:
    """Read one side (`means`, `variances`) of the model's Gaussians of static cepstra, one a row."""
    with open(pocketsphinx.get_model_path(f"en-us/en-us/{name}"), "rb") as file:
        raw = file.read()
    at = raw.index(b"endhdr\n") + len(b"endhdr\n")
    magic, books, streams, densities = struct.unpack_from("<4i", raw, at)
    assert magic == 0x11223344, "a model of the other byte order"
    values = np.frombuffer(raw, "<f4", offset=at + 4 * (5 + streams))
    return values[: books * streams * densities * CEPSTRA].reshape(books, streams, -1)[:, 0].reshape(-1, CEPSTRA)


class Speech:
    """Spectra of speech, of which some filters are heard; all without their mean.

    :param heard: those filters.
    """

    def __init__(self, heard: slice) -> None:
        means = _gaussians("means").astype(float)[::EACH]
        # One covariance for all Gaussians: the nearest of them is then a matter of distances after one rotation.
        within = to_energies() @ np.diag(_gaussians("variances").mean(axis=0)) @ to_energies().T
        covariance = within[heard, heard]
        covariance = covariance + DOUBT * np.eye(len(covariance))
        rotation = np.linalg.cholesky(np.linalg.inv(covariance)) * np.sqrt(TEMPER)
        self._back = to_energies()[heard]
        # Single precision halves the time, which is that of one exponential a Gaussian and frame.
        self._rotation = rotation.astype("f4")
        centers = means @ self._back.T @ rotation
        self._centers = np.ascontiguousarray(centers.T, "f4")
        self._half_squares = ((centers**2).sum(axis=1) / 2).astype("f4")
        self._means = means.astype("f4")
        completion = np.linalg.solve(covariance, within[heard])
        completion[:, heard] = np.eye(len(covariance))
        self._completion = completion @ to_cepstra().T

    def expect(self, energies: Block) -> Block:
        """Take log energies that are heard; return the cepstra of the speech they are likely to be."""
        likely = (energies.astype("f4") @ self._rotation) @ self._centers - self._half_squares
        likely -= likely.max(axis=1, keepdims=True)
        np.exp(likely, out=likely)
        return np.asarray((likely @ self._means) / likely.sum(axis=1, keepdims=True), float)

    def heard(self, cepstra: Block) -> Block:
        """Return the energies that are heard of such speech."""
        return np.asarray(cepstra @ self._back.T)

    def complete(self, energies: Block, expected: Block) -> Block:
        """Return cepstra of energies that are heard, and of those that go with them where nothing is."""
        return np.asarray(expected + (energies - self.heard(expected)) @ self._completion)


@cache
def speech(heard_from: int, heard_to: int) -> Speech:
    """Return what is known of speech of which these filters are heard; made once, in 20 ms."""
    return Speech(slice(heard_from, heard_to))
