#!/usr/bin/env python3
"""controls.py: how much each line of a log adds to what a compressor makes of the lines before it, per byte of the line.

usage: bench/logs/controls.py {xz,ppmd} LEARN <LOG: numbers of the lines after the first LEARN, the highest score first.
xz takes the 32 kB before a line, PPMd (order 6, Debian: python3-ppmd) all that came before.
"""
import io
import lzma
import sys

CONTEXT, TOGETHER = 32768, 50  # bytes before a line; lines that share them


def xz(lines):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 17}]

    def size(data):
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    text, costs = b"", []
    for i, line in enumerate(lines):
        if i % TOGETHER == 0:
            text = text[-CONTEXT:]
            base = size(text)
        more = size(text + line)
        costs.append(more - base)
        text += line
        base = more
    return costs


def ppm(lines):
    import ppmd

    coded, costs = io.BytesIO(), []
    encoder = ppmd.Ppmd7Encoder(coded, 6, 64 << 20)
    for line in lines:
        before = coded.tell()
        encoder.encode(line)
        costs.append(coded.tell() - before)
    return costs


def main():
    learn = int(sys.argv[2])
    lines = sys.stdin.buffer.readlines()
    costs = {"xz": xz, "ppmd": ppm}[sys.argv[1]](lines)
    scores = [cost / len(line) for cost, line in zip(costs, lines)]
    for i in sorted(range(learn, len(lines)), key=lambda i: (-scores[i], i)):
        print(i + 1)


main()
