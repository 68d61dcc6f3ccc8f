"""ChaCha with 8 rounds (Bernstein 2008) as a source of random numbers, from a key of four u64: 64-bit block counter from 0, nonce 0."""

import struct

ROUNDS, MASK = 8, 0xFFFFFFFF
CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def block(key: tuple, counter: int) -> list:
    start = [*CONSTANTS, *key, counter & MASK, counter >> 32, 0, 0]
    x = list(start)

    def mix(to: int, by: int, turned: int, bits: int) -> None:
        x[to] = (x[to] + x[by]) & MASK
        word = x[turned] ^ x[to]
        x[turned] = ((word << bits) | (word >> (32 - bits))) & MASK

    for turn in range(ROUNDS):
        for a, b, c, d in COLUMNS if turn % 2 == 0 else DIAGONALS:
            mix(a, b, d, 16)
            mix(c, d, b, 12)
            mix(a, b, d, 8)
            mix(c, d, b, 7)
    return [(word + first) & MASK for word, first in zip(x, start)]


class Draws:
    def __init__(self, *parts: int):
        key = list(parts) + [0] * (4 - len(parts))
        self.key, self.counter, self.words = struct.unpack("<8I", struct.pack("<4Q", *key)), 0, []

    def word(self) -> int:
        """The next 64 bits, the lower half first."""
        if not self.words:
            self.words = block(self.key, self.counter)
            self.counter += 1
        low, high = self.words.pop(0), self.words.pop(0)
        return low | high << 32

    def below(self, count: int) -> int:
        return self.word() % count

    def some_of(self, places: int, count: int) -> list:
        """`count` of so many places, none twice while there are others left: the beginning of a Fisher-Yates shuffle."""
        order = list(range(places))
        for place in range(min(count, places)):
            other = place + self.below(places - place)
            order[place], order[other] = order[other], order[place]
        return [order[place % min(count, places)] for place in range(count)]
