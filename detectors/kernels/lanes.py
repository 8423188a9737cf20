"""Sixteen windows side by side: a vector of float32 that compiled code computes with, and the few operations that networks are made of.

Each operation is the same for all lanes and rounds once, so that a lane's bits depend on nothing that stands beside it, and are those of every CPU: LLVM splits
a vector where registers are narrower. What has no fused multiply-add (no x86 of the last ten years) calls the C library's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from detectors.compiling import inner

WIDTH = 16
"""Lanes of a vector: 64 bytes, a cache line."""
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
_MASK = ir.VectorType(ir.IntType(32), WIDTH)


class Lanes(types.Type):
    """Of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """To an element of a contiguous array; an index is never negative, and nothing looks at it."""
    data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
    return builder.gep(data, [args[1]])


@intrinsic
def load(typing, array, index):
    """The vector that begins at an element of an array which begins on a cache line."""

    def code(context, builder, sig, args):
        return builder.load(builder.bitcast(_pointer(context, builder, sig, args), _VECTOR.as_pointer()), align=64)

    return LANES(array, types.int64), code


@intrinsic
def store(typing, array, index, vector):
    """Put a vector where `load` finds it."""

    def code(context, builder, sig, args):
        at = builder.bitcast(_pointer(context, builder, sig, args), _VECTOR.as_pointer())
        builder.store(args[2], at, align=64)
        return context.get_dummy_value()

    return types.none(array, types.int64, LANES), code


@intrinsic
def spread(typing, array, index):
    """One element of an array in all lanes."""

    def code(context, builder, sig, args):
        return _in_all(builder, builder.load(_pointer(context, builder, sig, args)))

    return LANES(array, types.int64), code


@intrinsic
def number(typing, x):
    """A number in all lanes."""

    def code(context, builder, sig, args):
        return _in_all(builder, builder.fptrunc(args[0], ir.FloatType()))

    return LANES(types.float64), code


def _in_all(builder: Any, x: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, x, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_MASK, [0] * WIDTH))


def _none() -> Any:
    return ir.Constant(_VECTOR, [0.0] * WIDTH)


def _operation(of: Callable[[Any, list[Any]], Any], takes: int) -> Any:
    if takes == 1:

        @intrinsic
        def operation(typing, a):
            return LANES(LANES), lambda context, builder, sig, args: of(builder, args)

    elif takes == 2:

        @intrinsic
        def operation(typing, a, b):
            return LANES(LANES, LANES), lambda context, builder, sig, args: of(builder, args)

    else:

        @intrinsic
        def operation(typing, a, b, c):
            return LANES(LANES, LANES, LANES), lambda context, builder, sig, args: of(builder, args)

    return operation


def _of_builder(name: str) -> Any:
    return _operation(lambda builder, args: getattr(builder, name)(*args), 2)


def _of_llvm(name: str, takes: int) -> Any:
    def of(builder: Any, args: list[Any]) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * takes)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f32"), args)

    return _operation(of, takes)


def _chosen(sign: str) -> Any:
    def of(builder: Any, args: list[Any]) -> Any:
        return builder.select(builder.fcmp_ordered(sign, *args), *args)

    return _operation(of, 2)


plus, minus = _of_builder("fadd"), _of_builder("fsub")
times, over = _of_builder("fmul"), _of_builder("fdiv")
fma = _of_llvm("fma", 3)
"""a * b + c, rounded once."""
root, size = _of_llvm("sqrt", 1), _of_llvm("fabs", 1)
smaller, larger = _chosen("<"), _chosen(">")
positive = _operation(
    lambda builder, args: builder.select(builder.fcmp_ordered(">", args[0], _none()), args[1], _none()), 2
)
"""The second where the first is above 0, else 0."""


@inner
def clipped(x, limit):
    """To -limit..limit."""
    return larger(smaller(x, number(limit)), number(-limit))


@inner
def tanh(x):
    """To 2 units in the last place: a quotient of polynomials in x^2 (Eigen's `ptanh`, whose coefficients these are); beyond 7.9 it is 1 in float32."""
    x = clipped(x, 7.90531110763549805)
    y = times(x, x)
    p = fma(y, number(-2.76076847742355e-16), number(2.00018790482477e-13))
    p = fma(y, p, number(-8.60467152213735e-11))
    p = fma(y, p, number(5.12229709037114e-08))
    p = fma(y, p, number(1.48572235717979e-05))
    p = fma(y, p, number(6.37261928875436e-04))
    p = fma(y, p, number(4.89352455891786e-03))
    q = fma(y, number(1.19825839466702e-06), number(1.18534705686654e-04))
    q = fma(y, q, number(2.26843463243900e-03))
    q = fma(y, q, number(4.89352518554385e-03))
    return over(times(x, p), q)


@inner
def sigmoid(x):
    """1 / (1 + exp(-x)), by the tangent."""
    half = number(0.5)
    return fma(half, tanh(times(half, x)), half)
