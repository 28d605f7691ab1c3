"""Debian's dataset-fashion-mnist as levels of grey, for the scripts beside this one."""
import gzip
import struct

import numpy

FOLDER = "/usr/share/datasets/fashion-mnist/"
NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
SIDE = 28


def idx(name):
    with gzip.open(FOLDER + name) as file:
        data = file.read()
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * data[3]).reshape(shape)


def pictures(part, levels):
    """[n, SIDE, SIDE] levels and [n] labels of "train" or "t10k"."""
    grey = idx(part + "-images-idx3-ubyte.gz").astype(int)
    return (grey * (levels - 1) + 127) // 255, idx(part + "-labels-idx1-ubyte.gz").astype(int)


def shown(levels, n_levels):
    """Levels as the grey that a picture file shows."""
    return ((levels * 255 + (n_levels - 1) // 2) // (n_levels - 1)).astype(numpy.uint8)
