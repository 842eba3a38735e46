"""CRC-32C, the checksum of TFRecord files, in NumPy: bytes are cut into lanes that are summed side by side.

A CRC is linear over GF(2): the remainder of A followed by B is that of A shifted by the length of B, XOR that of B.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_LANE_BYTES = 256
_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as TFRecord files store it, rotated and shifted by a constant.

    Source:
        The TFRecord format: ((crc >> 15) | (crc << 17)) + 0xa282ead8, in 32 bits.
    """
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ONES


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    if len(data) < 2 * _LANE_BYTES:
        return _one_by_one(data)
    # Zeros in front leave a remainder that starts at zero as it is, so lanes are made equal by padding there; that
    # the sum starts at all ones is the same as inverting the first four bytes.
    pad = -len(data) % _LANE_BYTES
    padded = np.zeros(pad + len(data), np.uint8)
    padded[pad:] = np.frombuffer(data, np.uint8)
    padded[pad : pad + 4] ^= 0xFF
    lanes = np.ascontiguousarray(padded.view("<u4").reshape(-1, _LANE_BYTES // 4).T)
    low, high = _word_tables()
    remainders = np.zeros(lanes.shape[1], np.uint32)
    for words in lanes:
        remainders = remainders ^ words
        remainders = low[remainders & 0xFFFF] ^ high[remainders >> 16]
    return int(_joined(remainders)) ^ _ONES


def _joined(remainders: np.ndarray) -> int:
    """Return the remainder of all lanes in a row: neighbours are joined until one is left."""
    level = 0
    while len(remainders) > 1:
        if len(remainders) % 2:
            remainders = np.concatenate([np.zeros(1, np.uint32), remainders])
        shift, left = _shift(level), remainders[0::2]
        moved = np.zeros_like(left)
        for byte in range(4):
            moved ^= shift[byte][(left >> (8 * byte)) & 0xFF]
        remainders = moved ^ remainders[1::2]
        level += 1
    return int(remainders[0])


@functools.cache
def _table() -> np.ndarray:
    """Return the remainder of each byte, uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@functools.cache
def _word_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return what four bytes of zeros make of a remainder, by its lower and its upper half, uint32 [65536] each."""
    table, halves = _table(), np.arange(1 << 16, dtype=np.uint32)
    low, high = halves, halves << 16
    for _ in range(4):
        low, high = (table[half & 0xFF] ^ (half >> 8) for half in (low, high))
    return low, high


@functools.cache
def _shift(level: int) -> np.ndarray:
    """Return what 2^level lanes of zeros make of a remainder, by its bytes, uint32 [4,256]."""
    if level == 0:
        table = _table()
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        for _ in range(_LANE_BYTES):
            bits = table[bits & 0xFF] ^ (bits >> 8)
    else:
        half = _shift(level - 1)
        bits = np.concatenate([half[byte][1 << np.arange(8)] for byte in range(4)])
        bits = np.bitwise_xor.reduce([half[byte][(bits >> (8 * byte)) & 0xFF] for byte in range(4)])
    tables = np.zeros((4, 256), np.uint32)
    for place, image in enumerate(bits):
        byte, bit = divmod(place, 8)
        tables[byte][(np.arange(256) >> bit & 1).astype(bool)] ^= image
    return tables


def _one_by_one(data: bytes) -> int:
    table = _table()
    crc = _ONES
    for byte in data:
        crc = int(table[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc ^ _ONES
