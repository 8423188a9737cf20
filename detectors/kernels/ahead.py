"""Memory fetched ahead: the record that is next is on its way while one is worked on. It changes no value."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from detectors.compiling import inner

LINE = 64
"""Bytes that come at once."""


@intrinsic
def fetch_line(typing, array, row, offset):
    """Have the line come that lies so many bytes behind the beginning of a row of an array; where nothing lies there, nothing happens."""

    def code(context, builder, sig, args):
        of = context.make_array(sig.args[0])(context, builder, args[0])
        stride = cgutils.unpack_tuple(builder, of.strides)[0]
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        behind = builder.add(builder.mul(args[1], stride), args[2])
        place = builder.gep(builder.bitcast(of.data, byte), [behind])
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [place, number(0), number(3), number(1)])  # to read, to be kept near, data
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), code


@inner
def fetch(array, row, size):
    """The same of so many bytes from the beginning of a row on."""
    for offset in range(0, size - 1, LINE):
        fetch_line(array, row, np.int64(offset))
    fetch_line(array, row, np.int64(size - 1))
