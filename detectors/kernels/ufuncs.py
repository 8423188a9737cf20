"""numpy's own logarithms and powers for compiled code.

numpy brings functions of its own, chosen by the CPU, whose last bits are not those of the C library that compiled code would call: they differ in 5 to 10 %
of the results. So compiled code gets the addresses of the very loops that the ufuncs run, and calls them with one number at a time, or all of an array. They lie
in the ufunc as numpy's C API documents it (`PyUFuncObject`).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from detectors.compiling import inner

LOG10, LOG1P, EXPM1, POWER, LOG2 = range(5)
"""Rows of `loops()`."""


class _UFunc(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.c_char * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    )


@cache
def loops() -> NDArray[np.int64]:
    """(5, 2): the address of each function's loop over float64, and that of the data which it is called with.

    Raises
    ------
    RuntimeError
        This numpy's ufuncs are built otherwise.
    """
    return np.array([_loop(f) for f in (np.log10, np.log1p, np.expm1, np.power, np.log2)], np.int64)


def _loop(ufunc: np.ufunc) -> tuple[int, int]:
    inside = _UFunc.from_address(id(ufunc))
    told = (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes)
    at = ufunc.types.index("d" * ufunc.nin + "->d")
    if (inside.nin, inside.nout, inside.nargs, inside.ntypes) != told or not inside.functions[at]:
        msg = f"numpy {np.__version__} keeps its {ufunc.__name__} where compiled code cannot call it"
        raise RuntimeError(msg)
    return inside.functions[at] or 0, inside.data[at] or 0


def _called(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Code that calls a ufunc's loop: void (*)(char **args, const npy_intp *dimensions, const npy_intp *strides, void *data)."""
    function, data, *numbers = arguments
    byte, word, double = ir.IntType(8).as_pointer(), ir.IntType(64), ir.DoubleType()
    n = len(numbers) + 1
    places = [cgutils.alloca_once(builder, double) for _ in range(n)]
    for number, place in zip(numbers, places, strict=False):
        builder.store(number, place)
    _call(builder, function, data, [builder.bitcast(place, byte) for place in places], ir.Constant(word, 1))
    return builder.load(places[-1])


def _called_over(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The same, of all numbers of an array that lies without gaps, in their place."""
    function, data, array = arguments
    inside = context.make_array(signature.args[2])(context, builder, value=array)
    place = builder.bitcast(inside.data, ir.IntType(8).as_pointer())
    _call(builder, function, data, [place, place], inside.nitems)
    return context.get_dummy_value()


def _call(builder: Any, function: Any, data: Any, places: list[Any], n: Any) -> None:
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(64)
    count = cgutils.alloca_once_value(builder, n)
    strides = cgutils.alloca_once_value(builder, ir.Constant(ir.ArrayType(word, len(places)), [8] * len(places)))
    pointers = cgutils.alloca_once(builder, ir.ArrayType(byte, len(places)))
    for k, place in enumerate(places):
        builder.store(place, cgutils.gep_inbounds(builder, pointers, 0, k))
    loop = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word.as_pointer(), word.as_pointer(), byte])
    builder.call(
        builder.inttoptr(function, loop.as_pointer()),
        [
            cgutils.gep_inbounds(builder, pointers, 0, 0),
            count,
            cgutils.gep_inbounds(builder, strides, 0, 0),
            builder.inttoptr(data, byte),
        ],
    )


@intrinsic
def _one(typing, function, data, x):
    return types.float64(types.int64, types.int64, types.float64), _called


@intrinsic
def _over(typing, function, data, array):
    return types.void(types.int64, types.int64, array), _called_over


@intrinsic
def _two(typing, function, data, x, y):
    return types.float64(types.int64, types.int64, types.float64, types.float64), _called


@inner
def log10(loops, x):
    """`np.log10(x)`."""
    return _one(loops[LOG10, 0], loops[LOG10, 1], x)


@inner
def log1p(loops, x):
    """`np.log1p(x)`."""
    return _one(loops[LOG1P, 0], loops[LOG1P, 1], x)


@inner
def expm1(loops, x):
    """`np.expm1(x)`."""
    return _one(loops[EXPM1, 0], loops[EXPM1, 1], x)


@inner
def log2_all(loops, x):
    """`np.log2(x, out=x)` of an array that lies without gaps."""
    _over(loops[LOG2, 0], loops[LOG2, 1], x)


@inner
def ten_to(loops, x):
    """`10.0**x`."""
    return _two(loops[POWER, 0], loops[POWER, 1], 10.0, x)
